"""An engine with weights of its own draws from the policy, from its start and from its reference."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from lightning_gft import LoRA, TransformersEngine
from tests.policy.test_adapters import scored, stir
from tests.policy.test_reference import drawn
from tests.tiny import tiny_loader


class Server(TransformersEngine):
    """Draws with weights of its own, which it takes over when it knows of a change."""

    def __init__(self) -> None:
        super().__init__()
        self.model: Any = None
        self.transfers = 0

    def weights_changed(self) -> None:
        self.model = None

    def generate(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        if self.model is None:
            self.model = copy.deepcopy(model)
            self.transfers += 1
        return super().generate(self.model, *args, **kwargs)


@pytest.mark.parametrize("lora", [None, LoRA(r=2)], ids=["full", "lora"])
def test_an_engine_with_weights_of_its_own_draws_in_every_role(lora: LoRA | None):
    loader = tiny_loader(vocab_size=64)
    loader.lora = lora
    torch.manual_seed(0)
    policy, served = loader.load(keep_reference=True), Server()
    policy.engine = served
    drawn(policy)
    stir(policy)
    policy.move_reference()
    stir(policy)
    policy.weights_changed()
    for context in (policy.as_loaded, policy.reference):
        policy.engine = TransformersEngine()
        with context():
            expected = drawn(policy)
        now = drawn(policy)
        policy.engine = served
        with context():
            scored(policy)
        assert drawn(policy) == now
        transfers = served.transfers
        scored(policy)
        with context():
            assert drawn(policy) == expected
            assert drawn(policy) == expected
        assert drawn(policy) == now
        assert served.transfers == transfers + 2
