"""Stored groups: a folder of Parquet shards, one row per response."""

from lightning_gft.stored.reading import StoredGroups, is_stored
from lightning_gft.stored.sampled import stored_groups
from lightning_gft.stored.schema import Origin, StoredGroup, StoredInfo, StoredResponse, tokenizer_fingerprint
from lightning_gft.stored.values import Padded, from_json, to_json
from lightning_gft.stored.writing import write_shard

__all__ = [
    "Origin",
    "Padded",
    "StoredGroup",
    "StoredGroups",
    "StoredInfo",
    "StoredResponse",
    "from_json",
    "is_stored",
    "stored_groups",
    "to_json",
    "tokenizer_fingerprint",
    "write_shard",
]
