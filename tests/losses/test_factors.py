"""What each loss makes of the weight 1 / p, beside its advantage."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from lightning_gft import losses
from lightning_gft.losses import GroupLoss
from lightning_gft.rectifiers import ContinuousCoefficientRectifier, DynamicCoefficientRectifier
from lightning_gft.types import Source, TokenBatch


class Token(NamedTuple):
    """What is known of a token."""

    p: float
    old: float
    ref: float
    entropy: float
    advantage: float
    source: Source
    of_response: float
    """Ratio of its response."""

    @property
    def ratio(self) -> float:
        return self.p / self.old


Factor = Callable[[Token], float]


def clipped(low: float, high: float, of_response: bool = False) -> Factor:
    def factor(token: Token) -> float:
        ratio = token.of_response if of_response else token.ratio
        too_low, too_high = ratio < 1 - low and token.advantage < 0, ratio > 1 + high and token.advantage > 0
        return 0.0 if too_low or too_high else ratio

    return factor


def apart(demonstrations: Factor, own: Factor) -> Factor:
    return lambda token: own(token) if token.source == Source.SELF else demonstrations(token)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def one(token: Token) -> float:
    return 1.0


def p(token: Token) -> float:
    return token.p


def rectified(token: Token, threshold: float = 0.1) -> float:
    return token.p if token.p < threshold else 1.0


GRPO = clipped(0.2, 0.2)
CASES: dict[str, tuple[Callable[[], GroupLoss], Factor]] = {
    "SFTLoss": (losses.SFTLoss, one),
    "RFTLoss": (losses.RFTLoss, one),
    "DFTLoss": (losses.DFTLoss, p),
    "DFTLoss with a floor": (lambda: losses.DFTLoss(floor=0.3), lambda token: max(token.p, 0.3)),
    "AnchoredSFTLoss": (losses.AnchoredSFTLoss, p),
    "GFTLoss": (losses.GFTLoss, apart(rectified, one)),
    "GFTLoss as published": (
        lambda: losses.GFTLoss(DynamicCoefficientRectifier(0.7), rectify="all"),
        lambda token: rectified(token, 0.7),
    ),
    "GFTLoss by sign": (
        lambda: losses.GFTLoss(
            DynamicCoefficientRectifier(0.7), rectify="positive", otherwise=ContinuousCoefficientRectifier(0.4)
        ),
        lambda token: rectified(token, 0.7) if token.advantage > 0 else min(1.0, token.p / 0.4),
    ),
    "KLPenalty": (lambda: losses.KLPenalty(losses.GFTLoss(rectify="all"), beta=0.5), rectified),
    "ImportanceCorrection": (lambda: losses.ImportanceCorrection(losses.GFTLoss(rectify="all")), rectified),
    "GRPOLoss": (losses.GRPOLoss, GRPO),
    "GSPOLoss": (lambda: losses.GSPOLoss(0.2, 0.2), clipped(0.2, 0.2, of_response=True)),
    "CISPOLoss": (lambda: losses.CISPOLoss(epsilon_high=1.1), lambda token: min(token.ratio, 1.1)),
    "PSFTLoss": (losses.PSFTLoss, lambda token: 0.0 if token.ratio > 1.28 else token.ratio),
    "IWSFTLoss": (losses.IWSFTLoss, lambda token: min(max(token.p / token.ref, 0.2), 1.8)),
    "EAFTLoss": (losses.EAFTLoss, lambda token: min(1.0, token.entropy / 3)),
    "InfoSFTLoss": (
        losses.InfoSFTLoss,
        lambda token: token.p * max(0.0, 1 - logit(token.p) / logit(0.93)),
    ),
    "DistillationLoss": (losses.DistillationLoss, lambda token: min(token.ratio, 2.0)),
    "MixedLoss": (lambda: losses.MixedLoss(losses.SFTLoss(), losses.GFTLoss(rectify="all")), apart(one, rectified)),
    "HPTLoss": (losses.HPTLoss, apart(one, GRPO)),
    "RoutedLoss": (losses.RoutedLoss, apart(one, GRPO)),
    "CHORDLoss": (lambda: losses.CHORDLoss(mu=0.25), apart(one, GRPO)),
    "CHORDPhiLoss": (lambda: losses.CHORDPhiLoss(mu=0.25), apart(lambda token: token.p * (1 - token.p), GRPO)),
    "LUFFYLoss": (
        lambda: losses.LUFFYLoss(max_completion_length=8),
        apart(lambda token: 0.1 * token.p / (token.p + 0.1) ** 2, lambda token: token.ratio),
    ),
}


def some_tokens(number: int = 400) -> tuple[TokenBatch, list[Token]]:
    generator = torch.Generator().manual_seed(0)
    now, old, ref, teacher = (0.02 + 0.9 * torch.rand(4, number, generator=generator, dtype=torch.float64)).unbind()
    ratio = 0.5 + torch.rand(number, generator=generator, dtype=torch.float64)
    entropy = 4 * torch.rand(number, generator=generator, dtype=torch.float64)
    advantages = torch.randn(number, generator=generator, dtype=torch.float64)
    numbers = torch.arange(number)
    known: dict[str, Tensor] = {"old_logprobs": old.log(), "ref_logprobs": ref.log(), "teacher_logprobs": teacher.log()}
    known |= {"entropy": entropy, "sequence_logratio": ratio.log(), "sampling_logprobs": ref.log()}
    weights = torch.ones(number, dtype=torch.float64)
    tokens = TokenBatch(now.log(), advantages, numbers % len(Source), numbers, 0 * numbers, weights, **known)
    columns = (now, old, ref, entropy, advantages)
    rows = zip(*(column.tolist() for column in columns), [*Source] * number, ratio.tolist(), strict=False)
    return tokens, [Token(*row) for row in rows]


@pytest.mark.parametrize("name", CASES)
def test_factors_against_plain_python(name: str):
    make, factor = CASES[name]
    loss, (tokens, rows) = make(), some_tokens()
    actual = loss.factors(tokens, loss.coefficients(tokens))
    expected = [factor(row) for row in rows]
    assert actual.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    if factor is one:
        assert set(actual.tolist()) == {1.0}


def test_every_loss_is_among_them():
    made = {name for name in losses.__all__ if isinstance(getattr(losses, name), type)}
    assert {name.partition(" ")[0] for name in CASES} == made - {"GroupLoss", "LossWrapper"}


@pytest.mark.parametrize("name", ["GFTLoss", "GRPOLoss", "KLPenalty", "CISPOLoss"])
def test_without_an_advantage_the_factor_is_not_known(name: str):
    loss, (tokens, _) = CASES[name][0](), some_tokens()
    tokens.advantages[::3] = 0.0
    factors = loss.factors(tokens, loss.coefficients(tokens))
    assert torch.equal(factors.isnan(), tokens.advantages == 0)


def test_a_wrapper_that_changes_coefficients_changes_factors():
    class Halved(losses.LossWrapper):
        def coefficients(self, tokens: TokenBatch) -> Tensor:
            return 0.5 * self.loss.coefficients(tokens)

    tokens, _ = some_tokens()
    loss = Halved(losses.GFTLoss())
    within = loss.loss.factors(tokens, loss.loss.coefficients(tokens))
    torch.testing.assert_close(loss.factors(tokens, loss.coefficients(tokens)), 0.5 * within)
