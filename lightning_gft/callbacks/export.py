"""Writing the trained policy in Hugging Face's format."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from lightning_gft.callbacks.targets import check_target
from lightning_gft.module import GFTLitModule


class HuggingFaceExport(Callback):
    """Writes model, configuration and tokenizer at the end of training, to be loaded with transformers.

    Args:
        path: Folder to write to, new or empty.
        torch_dtype: Data type of the written weights; by default the one that they were trained in.

    Raises:
        FileExistsError: When a run starts, if there is something at ``path``.
        PermissionError: Likewise, if it cannot be made.

    Example:
        >>> HuggingFaceExport("exported").path.name
        'exported'
    """

    def __init__(self, path: str, torch_dtype: Literal["float32", "bfloat16", "float16"] | None = None) -> None:
        self.path = Path(path)
        self.torch_dtype = torch_dtype

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            check_target(self.path)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GFTLitModule)  # noqa: S101 (this package's callbacks serve its module)
        if trainer.is_global_zero:
            pl_module.policy.save_pretrained(self.path, self.torch_dtype)
