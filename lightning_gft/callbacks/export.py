"""Exports the trained policy in Hugging Face's format."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import override

from lightning_gft.export import check_target, export_policy, whole_policy
from lightning_gft.module import GFTLitModule
from lightning_gft.policy import Dtype


class HuggingFaceExport(Callback):
    """Exports the policy at the end of training, with tokenizer and model card, for transformers or peft.

    Args:
        path: Folder to write to, new or empty; by default ``policy`` beside the logs of the run.
        torch_dtype: Data type of the written weights; by default that of the trained weights.
        merge: Whether to merge adapters into their full-precision base weights and write a plain model, instead of the
            adapter alone.

    Raises:
        ValueError: When a run starts, if ``merge`` is set for a policy without adapters.
        FileExistsError: When a run starts, if ``path`` exists and is not an empty folder.
        PermissionError: When a run starts, if ``path`` cannot be created.
        ValueError: When training ends, if the written policy differs from the trained one; the files are kept, see
            :func:`~lightning_gft.export.export_policy`.

    Example:
        >>> HuggingFaceExport("exported").path.name
        'exported'
    """

    def __init__(self, path: str | None = None, torch_dtype: Dtype | None = None, merge: bool = False) -> None:
        self.path = None if path is None else Path(path)
        self.torch_dtype = torch_dtype
        self.merge = merge

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        assert isinstance(pl_module, GFTLitModule)  # noqa: S101 (this package's callbacks serve its module)
        check_target(self._target(trainer))
        if self.merge:
            pl_module.policy_loader.check_merge()

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GFTLitModule)  # noqa: S101 (this package's callbacks serve its module)
        target, whole = self._target(trainer), whole_policy(pl_module, trainer.is_global_zero)
        if whole is not None:
            path = export_policy(pl_module, target, whole=whole, torch_dtype=self.torch_dtype, merge=self.merge)
            rank_zero_info(f"Policy written to {path}")

    def _target(self, trainer: Trainer) -> Path:
        folder = trainer.log_dir or trainer.default_root_dir  # a collective: all ranks read it together
        return self.path or Path(folder) / "policy"
