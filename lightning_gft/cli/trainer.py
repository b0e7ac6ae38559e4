"""Lightning's trainer with one more thing that the command line can ask of it."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import LightningDataModule, Trainer

from lightning_gft.export import check_target, export_policy
from lightning_gft.module import GFTLitModule
from lightning_gft.policy import Dtype


class GFTTrainer(Trainer):
    """Lightning's trainer, which also exports."""

    def export(
        self,
        model: GFTLitModule,
        path: str,
        ckpt_path: str,
        torch_dtype: Dtype | None = None,
        merge: bool = False,
        datamodule: LightningDataModule | None = None,
    ) -> None:
        """Write the policy in Hugging Face's format, as a checkpoint holds it.

        Args:
            model: The module whose policy it is.
            path: Folder to write to, new or empty.
            ckpt_path: Checkpoint to take the weights from.
            torch_dtype: Data type of the written weights; by default the one that they were trained in.
            merge: Add adapters to the full-precision weights that they belong to, and write a plain model; else the
                adapter alone is written.
            datamodule: Named in the model card.
        """
        check_target(Path(path))
        if merge:
            model.policy_loader.check_merge()
        model.run.load_weights(ckpt_path)
        written = export_policy(model, Path(path), torch_dtype=torch_dtype, merge=merge, data=datamodule)
        print(f"Policy written to {written}")
