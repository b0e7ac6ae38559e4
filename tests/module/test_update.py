"""One update, against the same update worked out by plain autograd on every sequence by itself."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from lightning_gft import (
    DFTLoss,
    DynamicCoefficientRectifier,
    ExpertSource,
    GFTLitModule,
    GFTLoss,
    GroupBatch,
    GroupLoss,
    RewardAdvantage,
    SelfSource,
    SFTLoss,
    Source,
    TeacherSource,
    TokenBatch,
)
from lightning_gft.types import Need
from tests.conftest import quick
from tests.module.runs import ROWS, Passes, Rows, exact_loader, fit, fresh_weights, make_module, sgd, weights
from tests.reference import rectified, token_weights

REDUCTIONS = ["token-mean", "sequence-mean", "group-mean"]
Coefficient = Callable[[GroupBatch, int, float], float]


def reference_gradient(
    model: PreTrainedModel, groups: GroupBatch, reduction: str, coefficient: Coefficient, own_samples: bool = True
) -> tuple[dict[str, Tensor], float]:
    """Return gradient and loss of *all* sequences; ``coefficient`` tells what a token of sequence n counts."""
    taken = [own_samples or source != Source.SELF for source in groups.source.tolist()]
    mask = [[used and token for token in row] for used, row in zip(taken, groups.response_mask.tolist(), strict=True)]
    per_token = token_weights(mask, reduction, groups.group_index.tolist())
    loss = torch.zeros((), dtype=torch.float64)
    for n in range(len(groups)):
        length = int(groups.attention_mask[n].sum())
        logprobs = model(input_ids=groups.input_ids[n : n + 1, :length]).logits[0].log_softmax(dim=-1)
        for t in range(1, length):
            if mask[n][t]:
                logprob = logprobs[t - 1, groups.input_ids[n, t]]
                loss = loss - per_token[n] * coefficient(groups, n, logprob.exp().item()) * logprob
    loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}, loss.item()


def starting_model(module: GFTLitModule) -> PreTrainedModel:
    model = module.policy_loader.load_model().double()
    model.load_state_dict(fresh_weights(module), strict=False)
    return model.eval()


def published_gft(groups: GroupBatch, n: int, prob: float) -> float:
    return groups.advantages[n].item() * rectified(prob, 0.7)


def gft(groups: GroupBatch, n: int, prob: float) -> float:
    return groups.advantages[n].item() * (1.0 if groups.source[n] == Source.SELF else rectified(prob, 0.1))


MIXED: dict[str, Any] = {
    "expert": ExpertSource(),
    "teacher": TeacherSource(4),
    "self": SelfSource(2, max_new_tokens=6),
}


LOSSES: dict[str, tuple[Callable[..., GroupLoss], Coefficient, bool]] = {
    "gft": (GFTLoss, gft, True),
    "published gft": (
        lambda **given: GFTLoss(DynamicCoefficientRectifier(0.7), rectify="all", **given),
        published_gft,
        True,
    ),
    "sft": (SFTLoss, lambda *_: 1.0, False),
    "dft": (DFTLoss, lambda _, __, prob: prob, False),
}
QUICK = [
    *(("gft", reduction) for reduction in REDUCTIONS),
    *(("published gft", "token-mean"), ("sft", "sequence-mean"), ("dft", "group-mean")),
]


@pytest.mark.parametrize("case", quick(product(LOSSES, REDUCTIONS), *QUICK))
def test_update_equals_a_full_pass_over_all_sequences(case: tuple[str, str]):
    name, reduction = case
    loss, coefficient, own_samples = LOSSES[name]
    module = make_module(loss(reduction=reduction), MIXED, micro_batch_tokens=40)
    trainer = fit(module, precision="64-true")
    [groups] = module.sampler.made
    model = starting_model(module)
    gradient, expected_loss = reference_gradient(model, groups, reduction, coefficient, own_samples)
    expected = {name: p.detach() - 0.1 * gradient[name] for name, p in model.named_parameters()}
    torch.testing.assert_close(weights(module), expected, rtol=1e-6, atol=1e-7)
    norm = torch.stack([g.square().sum() for g in gradient.values()]).sum().sqrt().item()
    assert trainer.callback_metrics["train/grad_norm"].item() == pytest.approx(norm, rel=1e-5)
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(expected_loss, rel=1e-5)
    assert norm > 0.01


def test_all_equal_groups_are_not_run_but_counted():
    passes, module = Passes(), make_module()
    fit(module, precision="64-true", callbacks=[passes])
    [groups] = module.sampler.made
    assert sum(passes.sizes) == 12  # of 16: the third row's responses are all worth the same
    gradient, _ = reference_gradient(starting_model(module), groups, "token-mean", gft)
    start = fresh_weights(module)
    change = {name: (start[name] - value) / 0.1 for name, value in weights(module).items()}
    torch.testing.assert_close(change, gradient, rtol=1e-5, atol=1e-6)
    assert int(groups.response_mask.sum()) > int(groups.response_mask[groups.advantages != 0].sum())


def test_own_samples_of_a_demonstrations_only_loss_are_not_run():
    passes = Passes()
    fit(make_module(SFTLoss(), MIXED), callbacks=[passes])
    assert sum(passes.sizes) == 4 * 5


@pytest.mark.parametrize("reduction", quick(REDUCTIONS, "token-mean"))
def test_micro_batches_do_not_matter(reduction: str):
    trained = []
    for budget in (100_000, 60, 1):
        module = make_module(GFTLoss(reduction=reduction), policy=exact_loader(), micro_batch_tokens=budget)
        fit(module, precision="64-true", max_epochs=3)
        trained.append(weights(module))
    assert {value.dtype for value in trained[0].values()} == {torch.float64}
    for other in trained[1:]:
        torch.testing.assert_close(other, trained[0], rtol=0, atol=1e-10)
    start = fresh_weights(make_module(policy=exact_loader()))
    assert max((trained[0][name] - start[name]).abs().max() for name in start) > 1e-3


def test_micro_batches_do_not_matter_in_single_precision():
    trained = []
    for budget in (100_000, 1):
        module = make_module(micro_batch_tokens=budget)
        fit(module)
        trained.append(weights(module))
    torch.testing.assert_close(trained[1], trained[0], rtol=0, atol=1e-6)


class Ratios(GroupLoss):
    """Remembers how far log-probabilities are from the old policy's and the reference's."""

    def __init__(self) -> None:
        super().__init__()
        self.from_old: list[float] = []
        self.from_reference: list[float] = []

    def needs(self) -> frozenset[Need]:
        return frozenset({"advantages", "old_logprobs", "ref_logprobs"})

    def coefficients(self, tokens: TokenBatch) -> Tensor:
        assert len(tokens.logprobs) == len(tokens.old_logprobs) == len(tokens.ref_logprobs)
        self.from_old.append((tokens.logprobs - tokens.old_logprobs).abs().max().item())
        self.from_reference.append((tokens.logprobs - tokens.ref_logprobs).abs().max().item())
        return tokens.advantages * (tokens.logprobs - tokens.old_logprobs).exp()


def test_old_and_reference_logprobs():
    loss = Ratios()
    fit(make_module(loss, updates_per_batch=2), Rows(ROWS[:2], batch_size=1))
    first, second, third, fourth = zip(loss.from_old, loss.from_reference, strict=True)
    assert max(first) < 1e-5
    assert min(second) > 0.01  # the same batch again, after one update
    assert third[0] < 1e-5  # the next batch: its old policy is the present one, its reference is not
    assert third[1] > 0.01
    assert fourth[0] > 0.01


class Learned(Callback):
    """Remembers the learning rate and the global step after each batch."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float]] = []

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.seen.append((trainer.global_step, trainer.optimizers[0].param_groups[0]["lr"]))


def test_every_update_counts_as_a_step_and_steps_the_scheduler():
    learned = Learned()
    module = make_module(
        updates_per_batch=3, lr_scheduler=lambda optimizer: LambdaLR(optimizer, lambda step: 1.0 / (1 + step))
    )
    fit(module, Rows(batch_size=2), callbacks=[learned])
    assert learned.seen == [(3, pytest.approx(0.1 / 4)), (6, pytest.approx(0.1 / 7))]


def test_tokens_are_counted_over_the_run():
    module = make_module(updates_per_batch=2)
    trainer = fit(module, Rows(batch_size=1), max_epochs=2)
    lengths = [int(groups.attention_mask.sum()) for groups in module.sampler.made]
    assert len(lengths) == 8
    assert trainer.callback_metrics["train/num_tokens"] == sum(lengths)


def test_several_updates_on_a_batch_are_several_steps_of_the_same_gradient_rule():
    module = make_module(updates_per_batch=3)
    fit(module, precision="64-true")
    assert len(module.sampler.made) == 1
    model = starting_model(module)
    for _ in range(3):
        gradient, _ = reference_gradient(model, module.sampler.made[0], "token-mean", gft)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter -= 0.1 * gradient[name]
        model.zero_grad()
    torch.testing.assert_close(weights(module), dict(model.named_parameters()), rtol=1e-5, atol=1e-6)


def test_gradient_is_clipped_and_its_norm_logged_from_before():
    norms, changes = [], []
    for limit in (None, 0.01, 1e6):
        module = make_module(gradient_clip_val=limit, optimizer=sgd(1.0))
        trainer = fit(module, precision="64-true")
        start = fresh_weights(module)
        changes.append(sum((value - start[name]).square().sum() for name, value in weights(module).items()).sqrt())
        norms.append(trainer.callback_metrics["train/grad_norm"].item())
    assert norms == pytest.approx([norms[0]] * 3)
    assert norms[0] > 0.1
    assert changes == pytest.approx([norms[0], 0.01, norms[0]], rel=1e-3)


def test_what_needs_no_gradient_does_not_reach_the_optimizer():
    given: list[int] = []

    def optimizer(parameters: Any) -> torch.optim.Optimizer:
        parameters = list(parameters)
        given.append(len(parameters))
        assert all(parameter.requires_grad for parameter in parameters)
        return sgd()(parameters)

    module = make_module(optimizer=optimizer)
    fit(module)
    assert module.policy.reference_model is not None
    assert given == [len(weights(module))]


def test_group_of_one_learns_from_its_reward_alone():
    module = make_module(GFTLoss(), {"teacher": TeacherSource(1)}, advantage=RewardAdvantage())
    fit(module, Rows([{**row, "teacher": row["teacher"][:1]} for row in ROWS]), precision="64-true")
    [groups] = module.sampler.made
    assert groups.advantages.tolist() == groups.rewards.tolist()
    model = starting_model(module)
    gradient, _ = reference_gradient(model, groups, "token-mean", gft)
    expected = {name: p.detach() - 0.1 * gradient[name] for name, p in model.named_parameters()}
    torch.testing.assert_close(weights(module), expected, rtol=1e-6, atol=1e-7)
