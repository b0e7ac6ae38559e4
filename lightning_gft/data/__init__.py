"""Data: from files or a generator to batches of tokenised prompts."""

from lightning_gft.data.collate import collate_examples
from lightning_gft.data.columns import Columns
from lightning_gft.data.datamodule import PromptDataModule
from lightning_gft.data.examples import Example, ExampleEncoder, LengthLimits
from lightning_gft.data.group_datamodule import GroupDataModule
from lightning_gft.data.loading import load_rows
from lightning_gft.data.resumable import ResumableDataLoader
from lightning_gft.data.tokenization import PromptEncoder

__all__ = [
    "Columns",
    "Example",
    "ExampleEncoder",
    "GroupDataModule",
    "LengthLimits",
    "PromptDataModule",
    "PromptEncoder",
    "ResumableDataLoader",
    "collate_examples",
    "load_rows",
]
