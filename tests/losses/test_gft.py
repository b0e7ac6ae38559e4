"""Group fine-tuning that rectifies the tokens of some sources and signs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from lightning_gft.losses import GFTLoss
from lightning_gft.losses.chosen import Chosen
from lightning_gft.metrics import CoefficientsBySource
from lightning_gft.rectifiers import (
    AdaptiveCoefficientRectifier,
    CoefficientRectifier,
    ContinuousCoefficientRectifier,
    DynamicCoefficientRectifier,
    IdentityRectifier,
)
from lightning_gft.types import GroupBatch, Source, TokenBatch
from tests import reference

CHOICES: tuple[Chosen, ...] = get_args(Chosen)
every_choice = pytest.mark.parametrize("rectify", CHOICES)

# What rectifiers make, and the function of p whose gradient is C(p) times that of log p.
Surrogate = Callable[[Tensor], Tensor]
KINDS: dict[str, tuple[Callable[[], CoefficientRectifier], Surrogate]] = {
    "identity": (IdentityRectifier, torch.log),
    "dynamic": (lambda: DynamicCoefficientRectifier(0.6), lambda p: p if p < 0.6 else p.log()),
    "continuous": (lambda: ContinuousCoefficientRectifier(0.4), lambda p: p / 0.4 if p < 0.4 else p.log()),
    "adaptive": (
        lambda: AdaptiveCoefficientRectifier(0.3, initial_threshold=0.2),
        lambda p: p if p < 0.2 else p.log(),
    ),
}


def is_chosen(rectify: str, source: int, advantage: float) -> bool:
    if "demonstrations" in rectify and source == Source.SELF:
        return False
    if "own" in rectify and source != Source.SELF:
        return False
    if "positive" in rectify and advantage < 0:
        return False
    return not ("negative" in rectify and advantage > 0)


def mixed_groups(seed: int = 0) -> tuple[GroupBatch, Tensor]:
    """Return ragged groups in which every source has advantages of both signs, and some have none."""
    groups, logprobs = reference.random_groups(seed, sizes=(1, 6, 5, 8))
    advantages = groups.advantages.abs() + 0.1
    for source in Source:
        rows = (groups.source == source).nonzero()[:, 0]
        advantages[rows[::2]] *= -1
        advantages[rows[4]] = 0.0
    return replace(groups, advantages=advantages), logprobs


def tokens_of(groups: GroupBatch, logprobs: Tensor) -> TokenBatch:
    return groups.tokens(logprobs[groups.response_mask])


def where_chosen(rectify: str, tokens: TokenBatch) -> Tensor:
    pairs = zip(tokens.source.tolist(), tokens.advantages.tolist(), strict=True)
    return torch.tensor([is_chosen(rectify, *pair) for pair in pairs])


def made(rectify: Chosen, rectifier: str = "dynamic", otherwise: str = "continuous") -> GFTLoss:
    others = None if rectify == "all" else KINDS[otherwise][0]()
    return GFTLoss(KINDS[rectifier][0](), rectify=rectify, otherwise=others)


@every_choice
@pytest.mark.parametrize("rectifier", KINDS)
@pytest.mark.parametrize("otherwise", KINDS)
def test_gradient_is_that_of_functions_of_p_chosen_token_by_token(rectify: Chosen, rectifier: str, otherwise: str):
    groups, logprobs = mixed_groups()
    probs = logprobs.exp().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for n, t in groups.response_mask.nonzero().tolist():
        advantage = groups.advantages[n]
        kind = rectifier if is_chosen(rectify, int(groups.source[n]), float(advantage)) else otherwise
        total = total - advantage * KINDS[kind][1](probs[n, t])
    (of_probs,) = torch.autograd.grad(total / groups.response_mask.sum(), probs)
    values = logprobs.clone().requires_grad_()
    (actual,) = torch.autograd.grad(made(rectify, rectifier, otherwise)(values, groups), values)
    torch.testing.assert_close(actual, of_probs * probs.detach(), rtol=0, atol=1e-14)


@every_choice
def test_the_same_rectifier_for_both_is_the_paper_s_loss_to_the_bit(rectify: Chosen):
    groups, logprobs = mixed_groups(1)
    both = [DynamicCoefficientRectifier() for _ in range(2)]
    loss = GFTLoss(both[0], rectify=rectify, otherwise=None if rectify == "all" else both[1])
    tokens = tokens_of(groups, logprobs)
    paper = tokens.advantages * DynamicCoefficientRectifier(0.1).rectify(tokens.logprobs)
    assert torch.equal(loss.coefficients(tokens), paper)
    assert torch.equal(GFTLoss(rectify="all").coefficients(tokens), paper)


@pytest.mark.parametrize("settings", [{}, {"rectify": "demonstrations"}], ids=["default", "explicit"])
def test_own_samples_have_their_advantage_and_demonstrations_are_rectified(settings: dict[str, Any]):
    groups, logprobs = mixed_groups(2)
    tokens = tokens_of(groups, logprobs)
    loss = GFTLoss(DynamicCoefficientRectifier(2.0), **settings)
    own = tokens.source == Source.SELF
    assert 0 < own.sum() < len(tokens)
    coefficients = loss.coefficients(tokens)
    assert torch.equal(coefficients[own], tokens.advantages[own])
    assert torch.equal(coefficients[~own], (tokens.advantages * tokens.logprobs.exp())[~own])


def two_passes(loss: GFTLoss, tokens: TokenBatch) -> dict[str, float]:
    """Return what a run reports of weights, and what the loss does."""
    statistics = CoefficientsBySource()
    for part in (slice(0, 7), slice(7, 7), slice(7, None)):
        coefficients = loss.coefficients(tokens[part])
        loss.update(tokens[part], coefficients)
        statistics.update(tokens[part], loss.factors(tokens[part], coefficients))
    return {name: float(value) for name, value in {**statistics.compute(), **loss.compute()}.items()}


@every_choice
def test_the_run_reports_all_tokens_and_the_rectifier_of_the_others_its_own(rectify: Chosen):
    groups, logprobs = mixed_groups(3)
    tokens = tokens_of(groups, logprobs)
    figures = two_passes(made(rectify), tokens)
    chosen, counted = where_chosen(rectify, tokens), tokens.advantages != 0
    coefficients = [
        reference.rectified(p, 0.6) if by_rectifier else reference.continuous(p, 0.4)
        for p, by_rectifier in zip(tokens.logprobs[counted].exp().tolist(), chosen[counted].tolist(), strict=True)
    ]
    of_all = reference.weight_statistics(tokens.logprobs[counted].tolist(), coefficients)
    of_otherwise = reference.rectifier_statistics(
        tokens.logprobs[~chosen & counted].tolist(), lambda p: reference.continuous(p, 0.4)
    )
    expected = {**of_all, **{f"otherwise/{name}": value for name, value in of_otherwise.items()}}
    if rectify == "all":
        expected = of_all
    assert {name: value for name, value in figures.items() if "_by_source/" not in name} == pytest.approx(expected)


@every_choice
def test_figures_by_source_and_sign_are_those_of_loops(rectify: Chosen):
    groups, logprobs = mixed_groups(4)
    tokens = tokens_of(groups, logprobs)
    figures = two_passes(made(rectify), tokens)
    chosen = where_chosen(rectify, tokens)
    expected = {}
    for source in Source:
        for sign, holds in (("positive", tokens.advantages > 0), ("negative", tokens.advantages < 0)):
            rows = ((tokens.source == source) & holds).nonzero()[:, 0].tolist()
            given = [
                reference.rectified(p, 0.6) if chosen[row] else reference.continuous(p, 0.4)
                for row, p in ((row, tokens.logprobs[row].exp().item()) for row in rows)
            ]
            name = f"{source.name.lower()}_{sign}"
            expected[f"rectified_fraction_by_source/{name}"] = sum(c != 1 for c in given) / len(given)
            expected[f"coefficient_mean_by_source/{name}"] = sum(given) / len(given)
    by_sign = {name: value for name, value in figures.items() if name.endswith(("_positive", "_negative"))}
    assert by_sign == pytest.approx(expected)


def test_only_sources_and_signs_that_were_seen_are_reported():
    groups, logprobs = mixed_groups(5)
    tokens = tokens_of(groups, logprobs)
    seen = tokens[(tokens.source == Source.SELF) & (tokens.advantages < 0)]
    figures = two_passes(loss := GFTLoss(rectify="all"), seen)
    assert {name.partition("_by_source/")[2] for name in figures} == {"", "self", "self_negative"}
    for kind in ("self", "self_negative"):
        assert figures[f"rectified_fraction_by_source/{kind}"] == pytest.approx(figures["rectified_fraction"])
    assert not loss.compute()  # a rectifier within a loss leaves that to the run


@pytest.mark.parametrize("loss", [GFTLoss(), GFTLoss(rectify="all"), GFTLoss(rectify="positive")])
def test_without_a_second_rectifier_figures_have_no_other_names(loss: GFTLoss):
    groups, logprobs = mixed_groups(6)
    names = {name for name in two_passes(loss, tokens_of(groups, logprobs)) if "_by_source/" not in name}
    assert names == set(DynamicCoefficientRectifier().compute())


@every_choice
def test_an_adaptive_rectifier_takes_the_quantile_of_its_own_tokens(rectify: Chosen):
    groups, logprobs = mixed_groups(7)
    tokens = tokens_of(groups, logprobs)
    loss = GFTLoss(
        AdaptiveCoefficientRectifier(0.3),
        rectify=rectify,
        otherwise=None if rectify == "all" else AdaptiveCoefficientRectifier(0.6),
    )
    two_passes(loss, tokens)
    loss.step()
    chosen, counted = where_chosen(rectify, tokens), tokens.advantages != 0
    for rectifier, rows, fraction in ((loss.rectifier, chosen, 0.3), (loss.otherwise, ~chosen, 0.6)):
        if rectifier is not None:
            alone = AdaptiveCoefficientRectifier(fraction)
            alone.update(tokens.logprobs[rows & counted])
            alone.step()
            assert rectifier.threshold == alone.threshold != 0.7
            assert rectifier.num_steps == 1
    figures = loss.compute()
    assert figures["threshold"] == loss.rectifier.threshold
    assert rectify == "all" or figures["otherwise/threshold"] == loss.otherwise.threshold  # type: ignore[union-attr]


def test_the_state_of_both_rectifiers_is_saved(tmp_path: Any):
    def adaptive() -> GFTLoss:
        return GFTLoss(
            AdaptiveCoefficientRectifier(0.3, momentum=0.5),
            rectify="positive_own",
            otherwise=AdaptiveCoefficientRectifier(0.6, momentum=0.5),
        )

    trained, resumed = adaptive(), adaptive()
    groups, logprobs = mixed_groups(8)
    tokens = tokens_of(groups, logprobs)
    for _ in range(2):
        two_passes(trained, tokens)
        trained.step()
        trained.reset()
    names = ("threshold", "num_steps")
    assert set(trained.state_dict()) == {f"{part}.{name}" for part in ("rectifier", "otherwise") for name in names}
    torch.save(trained.state_dict(), tmp_path / "loss.pt")
    resumed.load_state_dict(torch.load(tmp_path / "loss.pt", weights_only=True))
    for loss in (trained, resumed):
        two_passes(loss, tokens)
        loss.step()
    assert torch.equal(resumed.coefficients(tokens), trained.coefficients(tokens))
    assert resumed.otherwise.threshold == trained.otherwise.threshold  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rectify": "teacher"}, "`rectify`: expected all, positive, negative, demonstrations.*got 'teacher'"),
        (
            {"rectify": "all", "otherwise": IdentityRectifier()},
            "`otherwise`: expected null with rectify='all', got IdentityRectifier; ",
        ),
    ],
)
def test_bad_settings_are_one_line(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message) as raised:
        GFTLoss(**settings)
    assert "\n" not in str(raised.value)


def test_a_constant_length_divides_each_response():
    groups, logprobs = mixed_groups(9)
    terms = groups.advantages[:, None] * DynamicCoefficientRectifier().rectify(logprobs) * logprobs
    expected = -(terms * groups.response_mask).sum() / 40 / len(groups)
    loss = GFTLoss(rectify="all", reduction="constant-length", max_completion_length=40)
    torch.testing.assert_close(loss(logprobs, groups), expected, rtol=0, atol=1e-14)
