"""What is known of response tokens, flattened."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import get_args

import pytest
import torch

from lightning_gft import GroupBatch, TokenBatch
from lightning_gft.types import Need
from tests.reference import random_groups

SEQUENCE: frozenset[Need] = frozenset({"sequence_logratio"})


def known(groups: GroupBatch) -> GroupBatch:
    values = torch.randn(2, *groups.input_ids.shape, dtype=torch.float64)
    return replace(groups, sampling_logprobs=values[0], teacher_logprobs=values[1])


@pytest.mark.parametrize("seed", range(3))
def test_tokens_are_those_of_the_responses_one_by_one(seed: int):
    groups, logprobs = random_groups(seed)
    groups = known(groups)
    weights = torch.linspace(0.5, 1.5, len(groups), dtype=torch.float64)
    tokens = groups.tokens(logprobs[groups.response_mask].requires_grad_(), weights)
    number = 0
    for n in range(len(groups)):
        position = 0
        for t in range(groups.input_ids.shape[1]):
            if not groups.response_mask[n, t]:
                continue
            assert tokens.sequence[number] == n
            assert tokens.position[number] == position
            assert tokens.source[number] == groups.source[n]
            assert tokens.advantages[number] == groups.advantages[n]
            assert tokens.weights[number] == weights[n]
            assert tokens.logprobs[number] == logprobs[n, t]
            assert tokens.sampling_logprobs[number] == groups.sampling_logprobs[n, t]
            assert tokens.teacher_logprobs[number] == groups.teacher_logprobs[n, t]
            number, position = number + 1, position + 1
    assert len(tokens) == number > len(groups)
    assert not tokens.logprobs.requires_grad


def test_before_the_policy_has_run_logprobs_are_nan():
    groups, _ = random_groups(0, dtype=torch.bfloat16)
    tokens = groups.tokens()
    assert tokens.logprobs.isnan().all()
    assert {tokens.logprobs.dtype, tokens.weights.dtype} == {torch.float32}
    assert tokens.weights.eq(1).all()
    later = {*get_args(Need), "sampling_logprobs"} - {"advantages"}
    assert all(getattr(tokens, name) is None for name in later)


def test_a_sequence_without_response_has_no_token():
    groups, _ = random_groups(1)
    mask = groups.response_mask.clone()
    mask[3] = False
    tokens = replace(groups, response_mask=mask).tokens()
    assert 3 not in tokens.sequence
    assert len(replace(groups, response_mask=torch.zeros_like(mask)).tokens()) == 0


NINE = torch.arange(9)


@pytest.mark.parametrize(
    "index", [slice(3, 8), torch.tensor([5, 0, 2]), NINE % 3 == 0], ids=["slice", "numbers", "mask"]
)
def test_some_of_the_tokens(index: slice | torch.Tensor):
    groups, logprobs = random_groups(2)
    tokens = known(groups).tokens(logprobs[groups.response_mask])
    if isinstance(index, torch.Tensor) and index.dtype == torch.bool:
        tokens = tokens[: len(index)]
    some = tokens[index]
    for field in fields(TokenBatch):
        value = getattr(tokens, field.name)
        assert value is None or torch.equal(getattr(some, field.name), value[index]), field.name
        assert (value is None) == (getattr(some, field.name) is None)


def logratios(tokens: TokenBatch) -> list[float]:
    """Return for each token the mean of its response's differences, by loops."""
    result = []
    for own in tokens.sequence.tolist():
        differences = [
            (now - old).item()
            for sequence, now, old in zip(tokens.sequence.tolist(), tokens.logprobs, tokens.old_logprobs, strict=True)
            if sequence == own
        ]
        result.append(sum(differences) / len(differences))
    return result


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shuffled", [False, True])
def test_log_ratio_of_a_response(seed: int, shuffled: bool):
    groups, logprobs = random_groups(seed)
    tokens = groups.tokens(logprobs[groups.response_mask])
    tokens = replace(tokens, old_logprobs=torch.randn_like(tokens.logprobs))
    if shuffled:  # as in a pack, of some whole responses
        tokens = tokens[(tokens.sequence >= 4).nonzero()[:, 0]]
        tokens = tokens[torch.randperm(len(tokens))]
    assert tokens.with_logratios(SEQUENCE).sequence_logratio.tolist() == pytest.approx(logratios(tokens))
    assert tokens.sequence_logratio is None


def test_log_ratio_of_a_response_with_impossible_tokens():
    groups, logprobs = random_groups(0)
    tokens = groups.tokens(logprobs[groups.response_mask])
    now, old, never = tokens.logprobs.clone(), tokens.logprobs.clone(), -torch.inf
    of = [(tokens.sequence == n).nonzero().squeeze(1) for n in range(4)]
    assert min(map(len, of)) >= 2
    now[of[0][0]] = old[of[0][0]] = never  # has been impossible before
    now[of[1][0]] = old[of[2][0]] = never
    now[of[3][0]] = old[of[3][1]] = never
    ratio = replace(tokens, logprobs=now, old_logprobs=old).with_logratios(SEQUENCE).sequence_logratio
    assert ratio.isfinite().all()
    assert [ratio[rows[0]].sign().item() for rows in of] == [0, -1, 1, 0]


def test_log_ratio_to_sampling_is_the_sum_over_a_response():
    groups, logprobs = random_groups(2)
    tokens = known(groups).tokens(logprobs[groups.response_mask])
    drawn = tokens.sampling_logprobs
    drawn[(tokens.sequence == 3).nonzero()[0]] = torch.nan
    old = torch.randn_like(drawn)
    for given, compared in ((None, tokens.logprobs), (old, old)):  # within the first update the policy is the old one
        actual = replace(tokens, old_logprobs=given).with_logratios(frozenset({"sampling_logratio"})).sampling_logratio
        expected = [(compared - drawn)[tokens.sequence == n].sum().item() for n in tokens.sequence.tolist()]
        assert actual.tolist() == pytest.approx(expected, nan_ok=True)
        assert torch.equal(actual.isnan(), tokens.sequence == 3)
    assert tokens.with_logratios(frozenset()) is tokens


def test_log_ratio_to_sampling_of_an_impossible_token_is_finite():
    groups, logprobs = random_groups(0)
    tokens = groups.tokens(logprobs[groups.response_mask])
    drawn = tokens.logprobs.clone()
    drawn[0] = -torch.inf
    for now in (tokens.logprobs, drawn):
        ratio = replace(tokens, logprobs=now, sampling_logprobs=drawn).with_logratios(frozenset({"sampling_logratio"}))
        assert ratio.sampling_logratio.isfinite().all()
        assert (ratio.sampling_logratio == 0).all() == (now is drawn)
    unknown = tokens.with_logratios(frozenset({"sampling_logratio"})).sampling_logratio
    assert unknown.isnan().all()


def test_log_ratio_of_no_token():
    groups, _ = random_groups(3)
    tokens = groups.tokens()[:0]
    tokens = replace(tokens, old_logprobs=tokens.logprobs)
    assert tokens.with_logratios(SEQUENCE).sequence_logratio.shape == (0,)


def test_log_ratio_needs_something_to_compare_with():
    groups, _ = random_groups(4)
    with pytest.raises(ValueError, match=r"`old_logprobs`: expected a tensor \[m\] where sequence_logratio is needed"):
        groups.tokens().with_logratios(SEQUENCE)
