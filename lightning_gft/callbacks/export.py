"""Writing the trained policy in Hugging Face's format."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import override

from lightning_gft.export import check_target, export_policy, whole_policy
from lightning_gft.module import GFTLitModule
from lightning_gft.policy import Dtype


class HuggingFaceExport(Callback):
    """Writes the policy at the end of training, with tokenizer and model card, to be loaded with transformers or peft.

    Args:
        path: Folder to write to, new or empty; by default ``policy`` beside the logs of the run.
        torch_dtype: Data type of the written weights; by default the one that they were trained in.
        merge: Add adapters to the full-precision weights that they belong to, and write a plain model; else the adapter
            alone is written.

    Raises:
        ValueError: When a run starts, if ``merge`` is asked for and there are no adapters.
        FileExistsError: Likewise, if there is something at ``path``.
        PermissionError: Likewise, if it cannot be made.
        ValueError: When training ends, if what was written is not the policy; the files are kept, see
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
        folder = trainer.log_dir or trainer.default_root_dir  # asked of all ranks at once
        return self.path or Path(folder) / "policy"
