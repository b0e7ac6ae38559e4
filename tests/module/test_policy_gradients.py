"""Several updates on a batch with ratios, against the published objectives and plain autograd."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from lightning_gft import (
    GFTLoss,
    GroupBatch,
    GroupLoss,
    GRPOLoss,
    GSPOLoss,
    IdentityRectifier,
    PSFTLoss,
    SelfSource,
    SFTLoss,
    Source,
    TeacherSource,
)
from tests.conftest import quick
from tests.module.runs import Passes, exact_loader, fit, fresh_weights, make_module, weights
from tests.reference.policy_gradients import OfResponse, averaged, clipped, clipped_response, proximal

OWN: dict[str, Any] = {"self": SelfSource(4, max_new_tokens=6)}
SOURCES: dict[str, Any] = {"teacher": TeacherSource(4), **OWN}
UPDATES = 3
CASES: dict[str, tuple[GroupLoss, OfResponse]] = {  # so narrow that ratios leave them after an update
    "grpo": (GRPOLoss(0.01, 0.02), clipped(0.01, 0.02)),
    "gspo": (GSPOLoss(0.01, 0.02), clipped_response(0.01, 0.02)),
    "psft": (PSFTLoss(0.02, reduction="sequence-mean"), proximal(0.02)),
}


def response_logprobs(model: PreTrainedModel, groups: GroupBatch, rows: list[int]) -> list[Tensor]:
    found = []
    for n in rows:
        length = int(groups.attention_mask[n].sum())
        ids, mask = groups.input_ids[n, :length], groups.response_mask[n, 1:length]
        logprobs = model(input_ids=ids[None]).logits[0, :-1].log_softmax(dim=-1)
        found.append(logprobs.gather(1, ids[1:, None])[mask, 0])
    return found


def by_hand(module: Any, groups: GroupBatch, objective: OfResponse, demonstrations: bool) -> dict[str, Tensor]:
    """Return the weights after gradient ascent on the objective."""
    model = module.policy_loader.load_model().double()
    model.load_state_dict(fresh_weights(module), strict=False)
    model.eval()
    rows = [n for n, source in enumerate(groups.source.tolist()) if (source != Source.SELF) == demonstrations]
    old = [logprobs.detach() for logprobs in response_logprobs(model, groups, rows)]
    for _ in range(UPDATES):
        now = response_logprobs(model, groups, rows)
        of_group = groups.group_index[rows].tolist()
        value = averaged(objective, now, old, groups.advantages[rows].tolist(), of_group, "sequence-mean")
        parameters = list(model.parameters())
        with torch.no_grad():
            for parameter, slope in zip(parameters, torch.autograd.grad(value, parameters), strict=True):
                parameter += 0.1 * slope
    return dict(model.named_parameters())


@pytest.mark.parametrize(
    "case",
    quick(product(CASES, [100_000, 60, 1]), ("grpo", 100_000), ("grpo", 1), ("gspo", 60), ("psft", 60)),
)
def test_updates_on_a_batch_climb_the_published_objective(case: tuple[str, int]):
    name, budget = case
    loss, objective = CASES[name]
    module = make_module(loss, SOURCES, policy=exact_loader(), updates_per_batch=UPDATES, micro_batch_tokens=budget)
    trainer = fit(module, precision="64-true")
    [groups] = module.sampler.made
    expected = by_hand(module, groups, objective, demonstrations=name == "psft")
    torch.testing.assert_close(weights(module), expected, rtol=0, atol=1e-8)  # weights of a mean are in fp32
    start = fresh_weights(module)
    assert max((expected[name] - start[name]).abs().max() for name in start) > 1e-3
    assert trainer.callback_metrics["train/clip_ratio/region_mean"] > 0
    assert trainer.callback_metrics["train/ratio_max"] > 1.02


@pytest.mark.parametrize(
    ("loss", "simpler", "sources"),
    [
        (GRPOLoss(), GFTLoss(IdentityRectifier(), reduction="sequence-mean"), OWN),
        (GSPOLoss(), GFTLoss(IdentityRectifier(), reduction="sequence-mean"), OWN),
        (PSFTLoss(), SFTLoss(), SOURCES),
    ],
    ids=["grpo", "gspo", "psft"],
)
def test_one_update_is_that_of_the_simpler_objective_and_costs_the_same(
    loss: GroupLoss, simpler: GroupLoss, sources: Any, monkeypatch: pytest.MonkeyPatch
):
    trained, sizes = [], []
    for objective in (loss, simpler):
        module, passes = make_module(objective, sources, micro_batch_tokens=60), Passes()
        monkeypatch.setattr("lightning_gft.policy.Policy.score", lambda *_: pytest.fail("a pass without gradient"))
        fit(module, callbacks=[passes], max_epochs=2)
        trained.append(weights(module))
        sizes.append(passes.sizes)
    assert sum(sizes[0]) > 0
    assert sizes[0] == sizes[1]
    torch.testing.assert_close(trained[0], trained[1], rtol=0, atol=0)
