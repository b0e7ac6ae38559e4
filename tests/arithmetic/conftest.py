"""The data tests' fixtures, for the embedded task too."""

from tests.data.conftest import _cache, make_tokenizer, tokenizer

__all__ = ["_cache", "make_tokenizer", "tokenizer"]
