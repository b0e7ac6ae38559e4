"""Names on the Hugging Face hub: loading from it or its cache, and local folders that look like such names."""

from lightning_gft.hub.cache import hub_or_cache
from lightning_gft.hub.folders import check_local, expand_home, may_be_folder, near, no_such_folder

__all__ = ["check_local", "expand_home", "hub_or_cache", "may_be_folder", "near", "no_such_folder"]
