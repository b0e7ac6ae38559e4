"""Data: from files or a generator to batches of tokenised prompts."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightning_gft.data.collate import collate_examples
from lightning_gft.data.columns import Columns
from lightning_gft.data.datamodule import PromptDataModule
from lightning_gft.data.examples import Example, ExampleEncoder, LengthLimits
from lightning_gft.data.filters import RowFilter
from lightning_gft.data.pass_rates import PassRateFilter
from lightning_gft.data.prompt_loader import PromptLoader
from lightning_gft.data.resumable import ResumableDataLoader
from lightning_gft.data.tokenization import PromptEncoder

if TYPE_CHECKING:
    from lightning_gft.data.group_datamodule import GroupDataModule
    from lightning_gft.data.loading import load_rows

__all__ = [
    "Columns",
    "Example",
    "ExampleEncoder",
    "GroupDataModule",
    "LengthLimits",
    "PassRateFilter",
    "PromptDataModule",
    "PromptEncoder",
    "PromptLoader",
    "ResumableDataLoader",
    "RowFilter",
    "collate_examples",
    "load_rows",
]

_READING_FILES = {"GroupDataModule": "group_datamodule", "load_rows": "loading"}
"""Names imported on first access, because their modules import ``datasets`` and with it pandas."""


def __getattr__(name: str) -> Any:
    if name not in _READING_FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_READING_FILES[name]}"), name)
