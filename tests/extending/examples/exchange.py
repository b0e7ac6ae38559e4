"""Another loss and another sampler from a step on, in one fit."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_gft import GroupLoss, GroupSampler


class Exchange(Callback):
    """Exchanges loss and sampler once a number of optimizer steps has been taken.

    Args:
        step: Optimizer steps before the exchange.
        loss: What the policy is trained by from then on.
        sampler: What builds groups from then on.
    """

    def __init__(self, step: int, loss: GroupLoss, sampler: GroupSampler) -> None:
        self.step = step
        self.loss, self.sampler = loss, sampler

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.exchange(trainer, pl_module)  # of a run that is resumed after that step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.exchange(trainer, pl_module)

    def exchange(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.global_step >= self.step and module.loss is not self.loss:
            module.loss, module.sampler = self.loss.to(module.device), self.sampler
