"""A loss around another: what it does not say comes from the one within."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft import CHORDLoss, GFTLoss, KLPenalty, LossWrapper, SFTLoss
from lightning_gft.checkpoint.describing import describe
from lightning_gft.types import GroupBatch, TokenBatch
from tests.reference.scenes import Scene


class Same(LossWrapper):
    """Changes nothing."""

    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return self.loss.coefficients(tokens)


class Right(Same):
    """Takes what is worth 1 alone."""

    def takes_part(self, groups: GroupBatch) -> Tensor:
        return super().takes_part(groups) & (groups.rewards >= 1)


def test_a_wrapper_that_changes_nothing_is_the_loss():
    scene = Scene()
    for within in (SFTLoss("group-mean"), GFTLoss(), CHORDLoss(mu=0.2)):
        known = {"old_logprobs": scene.old} if "old_logprobs" in within.needs() else {}
        loss = Same(within)
        assert loss(scene.logprobs, scene.groups, **known) == within(scene.logprobs, scene.groups, **known)
        assert torch.equal(loss.trained(scene.groups), within.trained(scene.groups))
        assert loss.needs() == within.needs()


def test_a_wrapper_may_take_less_than_the_loss_within():
    scene = Scene(seed=1)
    rows = Right(SFTLoss()).takes_part(scene.groups).nonzero()[:, 0].tolist()
    assert 0 < len(rows) < SFTLoss().takes_part(scene.groups).sum()
    for reduction in ("token-mean", "sequence-mean", "group-mean"):
        actual = Right(SFTLoss(reduction))(scene.logprobs, scene.groups)
        expected = -scene.mean(lambda _, response: response.now, rows, reduction)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


def test_a_loss_in_shares_keeps_them():
    scene, within = Scene(seed=2), CHORDLoss(mu=0.4)
    weights, counts = Right(within).reduce(scene.groups)
    assert counts.shape == (2,)
    assert (weights[scene.groups.rewards < 1] == 0).all()


def test_a_loss_within_a_loss_is_described_in_one_line():
    assert describe(KLPenalty(SFTLoss(), 0.1)) == (
        "KLPenalty(loss=SFTLoss(reduction='token-mean'), beta=0.1, direction='forward')"
    )
    assert describe(CHORDLoss(mu=0.2)).startswith("CHORDLoss(mu=0.2, own=GRPOLoss(epsilon=0.2, ")
