"""Writing the trained policy in Hugging Face's format."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from lightning_gft.module import GFTLitModule


class HuggingFaceExport(Callback):
    """Writes model, configuration and tokenizer at the end of training, to be loaded with transformers.

    Args:
        path: Folder to write to; made if it does not exist.
        torch_dtype: Data type of the written weights; by default the one that they were trained in.

    Example:
        >>> HuggingFaceExport("exported").path.name
        'exported'
    """

    def __init__(self, path: str, torch_dtype: Literal["float32", "bfloat16", "float16"] | None = None) -> None:
        self.path = Path(path)
        self.torch_dtype = torch_dtype

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GFTLitModule)  # noqa: S101 (this package's callbacks serve its module)
        if trainer.is_global_zero:
            pl_module.policy.save_pretrained(self.path, self.torch_dtype)
