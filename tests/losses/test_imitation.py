"""Objectives on demonstrations, and on own samples that are correct, against their formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_gft import (
    AnchoredSFTLoss,
    DFTLoss,
    EAFTLoss,
    GroupLoss,
    InfoSFTLoss,
    IWSFTLoss,
    RFTLoss,
    SFTLoss,
    Source,
)
from tests.reference import objectives
from tests.reference.scenes import Objective, Scene

REDUCTIONS = ["token-mean", "sequence-mean", "group-mean"]
CASES: dict[str, tuple[Any, Objective]] = {
    "dft": (DFTLoss, objectives.dft(0.0)),
    "dft with a floor": (lambda reduction: DFTLoss(reduction, floor=0.1), objectives.dft(0.1)),
    "infosft": (lambda reduction: InfoSFTLoss(0.93, reduction), objectives.infosft(0.93)),
    "infosft with a low cutoff": (lambda reduction: InfoSFTLoss(0.6, reduction), objectives.infosft(0.6)),
    "eaft": (lambda reduction: EAFTLoss(1.0, 1.2, reduction), objectives.eaft(1.0, 1.2)),
    "eaft with an exponent": (lambda reduction: EAFTLoss(0.5, 3.0, reduction), objectives.eaft(0.5, 3.0)),
    "iw_sft": (lambda reduction: IWSFTLoss(reduction=reduction), objectives.iw_sft(0.2, 1.8)),
    "rft": (lambda reduction: RFTLoss(reduction=reduction), objectives.likelihood),
}


def rows_of(loss: GroupLoss, scene: Scene) -> list[int]:
    """Return demonstrations, or with RFT own samples that are worth at least 1."""
    sources, rewards = scene.groups.source.tolist(), scene.groups.rewards.tolist()
    if isinstance(loss, RFTLoss):
        return [n for n, source in enumerate(sources) if source == Source.SELF and rewards[n] >= 1]
    return [n for n, source in enumerate(sources) if source != Source.SELF]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_those_of_the_formula(name: str, reduction: str):
    make, objective = CASES[name]
    loss, scene = make(reduction=reduction), Scene(seed=len(name))
    rows = rows_of(loss, scene)
    assert 0 < len(rows) < len(scene.groups)
    known = {key: value for key, value in scene.known.items() if key in loss.needs()}
    actual = loss(scene.logprobs, scene.groups, **known)
    expected = -scene.mean(lambda _, response: objective(response), rows, reduction)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(scene.gradient(actual), scene.gradient(expected), rtol=0, atol=1e-12)
    assert scene.gradient(actual).abs().max() > 0


def test_anchored_sft_descends_on_dft_and_k3():
    scene, loss = Scene(seed=3), AnchoredSFTLoss(beta=0.3, floor=0.05)

    def objective(_: int, response: Any) -> Tensor:
        return objectives.dft(0.05)(response) - 0.3 * objectives.k3(response)

    actual = loss(scene.logprobs, scene.groups, ref_logprobs=scene.ref)
    expected = -scene.mean(objective, rows_of(loss, scene), "token-mean")
    torch.testing.assert_close(scene.gradient(actual), scene.gradient(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("loss", "limit"),
    [
        (DFTLoss(floor=1.0), SFTLoss()),
        (EAFTLoss(alpha=0.0), SFTLoss()),
        (IWSFTLoss(1.0, 1.0), SFTLoss()),
        (AnchoredSFTLoss(beta=0.0), DFTLoss()),
    ],
    ids=["floor 1", "alpha 0", "no range", "beta 0"],
)
def test_limits(loss: GroupLoss, limit: GroupLoss):
    scene = Scene(seed=4)
    known = {key: value for key, value in scene.known.items() if key in loss.needs()}
    actual, expected = loss(scene.logprobs, scene.groups, **known), limit(scene.logprobs, scene.groups)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(scene.gradient(actual), scene.gradient(expected), rtol=0, atol=1e-14)


def coefficients(
    loss: GroupLoss, probabilities: list[float], dtype: torch.dtype = torch.float64, **known: Tensor
) -> Any:
    tokens = Scene().groups.tokens()[torch.zeros(len(probabilities), dtype=torch.long)]
    tokens.logprobs = torch.tensor(probabilities, dtype=torch.float64).log().to(dtype)
    for name, value in known.items():
        setattr(tokens, name, value)
    return loss.coefficients(tokens)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_infosft_is_zero_at_both_ends_and_from_its_cutoff_on(dtype: torch.dtype):
    given = coefficients(InfoSFTLoss(0.9), [0.0, 1e-30, 0.1, 0.5, 0.8999, 0.9001, 0.999999, 1.0], dtype)
    assert given[[0, 5, 6, 7]].tolist() == [0, 0, 0, 0]
    assert given[1].item() == pytest.approx(0, abs=1e-27)
    assert given[2].item() == pytest.approx(0.2)  # 0.1 and 0.9 have opposite log-odds
    assert given[3].item() == pytest.approx(0.5)
    assert 0 < given[4] < 1e-3


def test_infosft_of_a_certainty_that_rounding_has_lifted_above_1_is_zero():
    tokens = Scene().groups.tokens()[:1]
    tokens.logprobs = torch.full((1,), 6e-8)
    assert InfoSFTLoss().coefficients(tokens).tolist() == [0]


def test_dft_lifts_what_is_improbable_to_its_floor():
    assert coefficients(DFTLoss(floor=0.1), [0.0, 0.05, 0.1, 0.4]).tolist() == pytest.approx([0.1, 0.1, 0.1, 0.4])
    assert coefficients(DFTLoss(), [0.0, 0.05]).tolist() == pytest.approx([0.0, 0.05])


def test_eaft_is_bounded_by_1():
    entropy = torch.tensor([-1e-7, 0.0, 1.5, 3.0, 11.0])
    assert coefficients(EAFTLoss(), [0.5] * 5, entropy=entropy).tolist() == [0, 0, 0.5, 1, 1]


def test_a_token_that_was_and_is_impossible_has_not_moved():
    never = torch.full((1,), -torch.inf, dtype=torch.float64)
    assert coefficients(IWSFTLoss(), [0.0], ref_logprobs=never).tolist() == [1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DFTLoss(floor=-0.1), "`floor` of DFTLoss: expected a number from 0 to 1, got -0.1"),
        (lambda: DFTLoss(floor=1.5), "`floor` of DFTLoss: expected a number from 0 to 1, got 1.5"),
        (lambda: InfoSFTLoss(0.5), "`cutoff` of InfoSFTLoss: expected a number above 0.5 and below 1, got 0.5"),
        (lambda: InfoSFTLoss(1.0), "`cutoff` of InfoSFTLoss: expected a number above 0.5 and below 1, got 1.0"),
        (lambda: EAFTLoss(alpha=-1.0), "`alpha` of EAFTLoss: expected a number of at least 0, got -1.0"),
        (lambda: EAFTLoss(max_entropy=0.0), "`max_entropy` of EAFTLoss: expected a number above 0, got 0.0"),
        (lambda: IWSFTLoss(min_weight=-1), "`min_weight` of IWSFTLoss: expected a number of at least 0, got -1"),
        (lambda: IWSFTLoss(0.5, 0.4), "`max_weight` of IWSFTLoss: expected a number of at least 0.5, got 0.4"),
        (lambda: RFTLoss(float("nan")), "`correct_reward` of RFTLoss: expected a finite number, got nan"),
        (lambda: AnchoredSFTLoss(beta=-0.1), "`beta` of AnchoredSFTLoss: expected a number of at least 0, got -0.1"),
        (lambda: AnchoredSFTLoss(floor=2), "`floor` of DFTLoss: expected a number from 0 to 1, got 2"),
    ],
)
def test_bad_settings_are_one_line(make: Any, message: str):
    with pytest.raises(ValueError) as raised:
        make()
    assert str(raised.value) == message


def test_sources_that_a_loss_learns_nothing_from_are_one_line():
    with pytest.raises(
        ValueError, match=r"^`sampler.sources`: expected demonstrations for EAFTLoss, got own .*Source$"
    ):
        EAFTLoss().check_group(num_responses=4, num_own=4)
    with pytest.raises(ValueError, match=r"^`sampler.sources`: expected own samples for RFTLoss, .*Source$"):
        RFTLoss().check_group(num_responses=4, num_own=0)
    for loss in (EAFTLoss(), RFTLoss(), AnchoredSFTLoss()):
        loss.check_group(num_responses=2, num_own=1)
