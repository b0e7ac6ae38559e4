"""An engine that notes each change of weights, as one that keeps a copy of them on a server would."""

from typing import Any

import torch
from torch import Tensor

from lightning_gft import TransformersEngine


class NotingEngine(TransformersEngine):
    """Counts how often the weights have changed, and between which draws."""

    def __init__(self) -> None:
        super().__init__()
        self.policy: Any = None
        self.running = False
        self.versions: list[int] = []
        self.version = 0

    def attach(self, policy: Any) -> None:
        self.policy = policy

    def setup(self) -> None:
        self.running = True

    def close(self) -> None:
        self.running = False

    def weights_changed(self) -> None:
        self.version += 1

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        self.versions.append(self.version)
        return super().generate(*args, **kwargs)

    def compute(self) -> dict[str, Tensor]:
        return {"weight_version": torch.tensor(float(self.version))}  # no count, so ranks are not added up
