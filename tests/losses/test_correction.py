"""The correction for the sampling policy: its gradient, its limits, its place among wrappers, and its cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_gft import (
    CHORDLoss,
    GFTLoss,
    GroupLoss,
    GRPOLoss,
    GSPOLoss,
    HPTLoss,
    ImportanceCorrection,
    KLPenalty,
    MixedLoss,
    RFTLoss,
    RoutedLoss,
    SFTLoss,
)
from lightning_gft.losses.correction import Level
from lightning_gft.types import GroupBatch, Source
from tests import reference
from tests.module.runs import make_module
from tests.reference import objectives
from tests.reference.scenes import Scene

PREFIX = "sampling/importance_sampling_ratio"
LEVELS: list[Level] = ["token", "sequence"]


class DrawnElsewhere(Scene):
    """A scene whose own samples another policy drew; one of them does not say with which log-probabilities."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        own = self.groups.source == Source.SELF
        generator = torch.Generator().manual_seed(100 + seed)
        noise = torch.randn(self.old.shape, dtype=torch.float64, generator=generator)
        drawn = (self.old + 0.6 * noise).masked_fill(~own[:, None], torch.nan)
        self.unknown = int(own.nonzero()[0])
        drawn[self.unknown] = torch.nan
        self.groups: GroupBatch = replace(self.groups, sampling_logprobs=drawn)

    def weights(self, n: int, level: str, ceiling: float) -> list[float]:
        """Return the weight of each token of a response, by loops."""
        mask = self.groups.response_mask[n]
        pairs = [*zip(self.old[n][mask].tolist(), self.groups.sampling_logprobs[n][mask].tolist(), strict=True)]
        if any(math.isnan(drawn) for _, drawn in pairs):
            return [1.0] * len(pairs)
        ratios = [math.exp(old) / math.exp(drawn) for old, drawn in pairs]
        if level == "sequence":
            ratios = [math.prod(ratios)] * len(ratios)
        return [min(ratio, ceiling) for ratio in ratios]

    def rows(self, loss: GroupLoss) -> list[int]:
        return loss.takes_part(self.groups).nonzero()[:, 0].tolist()


def of_gft(response: reference.scenes.Response, own: bool) -> Tensor:
    weights = [1.0 if own or p >= 0.1 else p for p in response.now.exp().tolist()]
    return response.advantage * torch.tensor(weights, dtype=torch.float64) * response.now


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("ceiling", [1.0, 1.3, 50.0])
@pytest.mark.parametrize("seed", range(2))
def test_grpo_is_weighted_by_the_truncated_ratio(level: Level, ceiling: float, seed: int):
    scene = DrawnElsewhere(seed)
    loss = ImportanceCorrection(GRPOLoss(), level, ceiling)

    def objective(n: int, response: reference.scenes.Response) -> Tensor:
        weights = torch.tensor(scene.weights(n, level, ceiling), dtype=torch.float64)
        return weights * objectives.grpo(0.2)(response)

    expected = -scene.mean(objective, scene.rows(GRPOLoss()), "sequence-mean")
    actual = loss(scene.logprobs, scene.groups, old_logprobs=scene.old)
    torch.testing.assert_close(scene.gradient(actual), scene.gradient(expected), rtol=0, atol=1e-12)
    plain = GRPOLoss()(scene.logprobs, scene.groups, old_logprobs=scene.old)
    assert (scene.gradient(actual) - scene.gradient(plain)).abs().max() > 1e-4


@pytest.mark.parametrize("level", LEVELS)
def test_of_gft_own_samples_are_weighted_and_demonstrations_stay(level: Level):
    scene = DrawnElsewhere(2)

    def objective(n: int, response: reference.scenes.Response) -> Tensor:
        own = scene.groups.source[n] == Source.SELF
        weights = scene.weights(n, level, 2.0) if own else [1.0] * len(response.now)
        return torch.tensor(weights, dtype=torch.float64) * of_gft(response, bool(own))

    expected = -scene.mean(objective, range(len(scene.groups)), "token-mean")
    actual = ImportanceCorrection(GFTLoss(), level)(scene.logprobs, scene.groups, old_logprobs=scene.old)
    torch.testing.assert_close(scene.gradient(actual), scene.gradient(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("level", LEVELS)
def test_within_a_penalty_it_weighs_the_loss_alone(level: Level):
    scene = DrawnElsewhere(3)
    loss = KLPenalty(ImportanceCorrection(GRPOLoss(), level), 0.1)

    def objective(n: int, response: reference.scenes.Response) -> Tensor:
        weights = torch.tensor(scene.weights(n, level, 2.0), dtype=torch.float64)
        return weights * objectives.grpo(0.2)(response) - 0.1 * objectives.k3(response)

    expected = -scene.mean(objective, scene.rows(GRPOLoss()), "sequence-mean")
    actual = loss(scene.logprobs, scene.groups, old_logprobs=scene.old, ref_logprobs=scene.ref)
    torch.testing.assert_close(scene.gradient(actual), scene.gradient(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "within",
    [lambda own: MixedLoss(SFTLoss(), own), lambda own: RoutedLoss(own=own), lambda own: HPTLoss(own=own)],
    ids=["mixed", "routed", "hpt"],
)
def test_within_a_mixture_it_is_the_mixture_with_weights(within: Callable[[GroupLoss], GroupLoss], level: Level):
    scene = DrawnElsewhere(4)
    loss, plain = within(ImportanceCorrection(GRPOLoss(), level)), within(GRPOLoss())

    def objective(n: int, response: reference.scenes.Response) -> Tensor:
        if scene.groups.source[n] != Source.SELF:
            return objectives.likelihood(response)
        weights = torch.tensor(scene.weights(n, level, 2.0), dtype=torch.float64)
        return weights * objectives.grpo(0.2)(response)

    expected = -scene.mean(objective, scene.rows(plain), loss.reduction)
    actual = loss(scene.logprobs, scene.groups, old_logprobs=scene.old)
    torch.testing.assert_close(scene.gradient(actual), scene.gradient(expected), rtol=0, atol=1e-12)
    assert {scene.groups.source[n].item() == Source.SELF for n in scene.rows(plain)} == {False, True}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "within",
    [GFTLoss(), GRPOLoss(), GSPOLoss(), RFTLoss(), CHORDLoss(mu=0.3), HPTLoss(), KLPenalty(GRPOLoss(), 0.2)],
    ids=lambda loss: type(loss).__name__,
)
@pytest.mark.parametrize("known", ["the same", "none", "nothing"])
def test_where_nothing_differs_or_is_known_it_is_the_loss_to_the_bit(within: GroupLoss, level: Level, known: str):
    scene = Scene(5)
    drawn = {"the same": scene.old, "none": torch.full_like(scene.old, torch.nan), "nothing": None}[known]
    groups = replace(scene.groups, sampling_logprobs=drawn)
    given = {name: values for name, values in scene.known.items() if name in {*within.needs(), "old_logprobs"}}
    actual = ImportanceCorrection(within, level)(scene.logprobs, groups, **given)
    expected = within(scene.logprobs, groups, **given)
    assert torch.equal(actual, expected)
    assert torch.equal(scene.gradient(actual), scene.gradient(expected))


@pytest.mark.parametrize("seed", range(3))
def test_below_the_ceiling_the_expected_gradient_is_that_of_own_samples(seed: int):
    generator = torch.Generator().manual_seed(seed)
    logits = (2 * torch.randn(7, dtype=torch.float64, generator=generator)).requires_grad_()
    drawn = (2 * torch.randn(7, dtype=torch.float64, generator=generator)).log_softmax(dim=0)
    logprobs, worth = logits.log_softmax(dim=0), torch.randn(7, dtype=torch.float64, generator=generator)
    tokens = reference.random_groups(0)[0].tokens()[torch.zeros(7, dtype=torch.long)]
    tokens = replace(tokens, logprobs=logprobs.detach(), old_logprobs=logprobs.detach(), sampling_logprobs=drawn)
    tokens = replace(tokens, advantages=worth, source=torch.full((7,), Source.SELF))
    coefficients = ImportanceCorrection(GFTLoss(), ceiling=1e9).coefficients(tokens)
    # Each token is drawn by the other policy, and its expected value under this one is maximised.
    gradient = torch.autograd.grad((drawn.exp() * coefficients * logprobs).sum(), logits, retain_graph=True)[0]
    expected = torch.autograd.grad((logprobs.exp() * worth).sum(), logits)[0]
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("level", LEVELS)
def test_an_impossible_token_leaves_coefficients_and_figures_finite(level: Level):
    groups, never = reference.random_groups(0)[0], -torch.inf
    tokens = groups.tokens()[torch.zeros(4, dtype=torch.long)]
    now, drawn = torch.tensor([never, -1.0, never, -1.0]), torch.tensor([-1.0, never, never, torch.nan])
    tokens = replace(
        tokens, logprobs=now, old_logprobs=now, sampling_logprobs=drawn, advantages=torch.ones(4),
        source=torch.full((4,), Source.SELF), sequence=torch.arange(4), position=torch.zeros(4).long(),
    ).with_logratios(frozenset({"sampling_logratio"}))  # fmt: skip
    loss = ImportanceCorrection(GFTLoss(), level)
    coefficients = loss.coefficients(tokens)
    assert coefficients.tolist() == [0.0, 2.0, 1.0, 1.0]
    loss.update(tokens, coefficients)
    assert {name.removeprefix(PREFIX)[1:]: float(value) for name, value in loss.compute().items()} == pytest.approx(
        {"min": 0.0, "mean": 1.0, "max": 2.0, "truncated_fraction": 1 / 3, "unknown_fraction": 0.25}
    )


@pytest.mark.parametrize("level", LEVELS)
def test_figures_are_those_of_own_tokens_or_responses(level: Level):
    scene = DrawnElsewhere(6)
    groups, mask = scene.groups, scene.groups.response_mask
    loss = ImportanceCorrection(GFTLoss(), level, ceiling=1.2)
    tokens = replace(groups.tokens(scene.logprobs[mask]), old_logprobs=scene.old[mask]).with_logratios(loss.needs())
    for part in (groups.source[tokens.sequence] == Source.SELF, groups.source[tokens.sequence] != Source.SELF):
        loss.update(tokens[part], loss.coefficients(tokens[part]))
    own = [n for n in scene.rows(GRPOLoss()) if n != scene.unknown]
    weights = [weight for n in own for weight in scene.weights(n, level, 1.2)[: None if level == "token" else 1]]
    unknown = int(mask[scene.unknown].sum()) if level == "token" else 1
    assert {name: float(value) for name, value in loss.compute().items()} == pytest.approx(
        {
            f"{PREFIX}/min": min(weights),
            f"{PREFIX}/mean": sum(weights) / len(weights),
            f"{PREFIX}/max": 1.2,
            f"{PREFIX}/truncated_fraction": weights.count(1.2) / len(weights),
            f"{PREFIX}/unknown_fraction": unknown / (len(weights) + unknown),
        }
    )
    loss.reset()
    assert {float(value) for value in loss.compute().values()} == {0.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": "response"}, "`level` of ImportanceCorrection: expected token or sequence, got 'response'; choose"),
        ({"ceiling": 0.5}, "`ceiling` of ImportanceCorrection: expected a number of at least 1, got 0.5"),
    ],
)
def test_bad_settings_are_one_line(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        ImportanceCorrection(GFTLoss(), **settings)


def test_groups_without_own_samples_are_refused():
    with pytest.raises(ValueError, match=r"expected own samples for ImportanceCorrection, got demonstrations alone"):
        make_module(ImportanceCorrection(SFTLoss()))
