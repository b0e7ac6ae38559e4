"""A reference that is moved is the policy of that moment to the bit, and the policy itself is left alone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import AdamW

from lightning_gft import LoRA, Policy, PretrainedPolicy, Quantization, SamplingParams
from tests.conftest import quick
from tests.policy.passes import run
from tests.policy.test_adapters import groups, scored, stir, trainable
from tests.tiny import tiny_policy

CASES: dict[str, dict[str, Any]] = {
    "full": {},
    "full, tied": {"tied": True},
    "full, start kept": {"keep_reference": True},
    "lora": {"lora": LoRA(r=4)},
    "dora": {"lora": LoRA(r=4, use_dora=True)},
    "saved": {"lora": LoRA(r=4, modules_to_save=["norm"]), "keep_reference": True},
    "saved, tied": {"lora": LoRA(r=4, modules_to_save=["embed_tokens", "lm_head"]), "tied": True},
    "both tied adapted": {"lora": LoRA(r=4, target_modules=["embed_tokens", "lm_head"]), "tied": True},
    "continued": {"lora": LoRA(r=4), "continued": True},
    "continued, start kept": {"lora": LoRA(r=4), "continued": True, "keep_reference": True},
    "4 bits": {"lora": LoRA(r=4), "quantization": Quantization()},
    "8 bits": {"lora": LoRA(r=4), "quantization": Quantization(bits=8)},
}
QUICK = ("full, tied", "lora", "saved, tied", "4 bits")


def make(case: str, folder: Path) -> Policy:
    """Return a policy that has been trained a little."""
    given = dict(CASES[case])
    keep, tied = given.pop("keep_reference", False), given.pop("tied", False)
    base, lora = folder / "base", given.pop("lora", None)
    size = {"hidden_size": 64, "intermediate_size": 128} if "quantization" in given else {}
    tiny_policy(vocab_size=64, tie_word_embeddings=tied, **size).save_pretrained(base)
    if given.pop("continued", False):
        stir(PretrainedPolicy(str(base), lora=lora).load()).save_pretrained(folder / "adapter")
        lora = LoRA(adapter_path=str(folder / "adapter"))
    torch.manual_seed(0)
    return stir(PretrainedPolicy(str(base), lora=lora, **given).load(keep))


def drawn(policy: Policy) -> list[tuple[list[int], Any]]:
    responses = policy.generate([[3, 4, 5], [6]], 3, SamplingParams(max_new_tokens=6), seed=1)
    return [(list(response.token_ids), response.logprobs) for own in responses for response in own]


def observed(policy: Policy) -> tuple[Tensor, Any]:
    return scored(policy), drawn(policy)


def assert_same(actual: tuple[Tensor, Any], expected: tuple[Tensor, Any]) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.parametrize("case", quick(CASES, *QUICK))
def test_it_is_the_policy_of_that_moment(case: str, tmp_path: Path):
    policy = make(case, tmp_path)
    parameters = list(policy.parameters())
    before, training = observed(policy), trainable(policy)
    policy.move_reference()
    stir(policy)
    after = observed(policy)
    assert (after[0] - before[0]).abs().max() > 0.01
    for _ in range(2):
        with policy.reference():
            assert_same(observed(policy), before)
        assert_same(observed(policy), after)
    assert trainable(policy) == training
    assert all(one is other for one, other in zip(policy.parameters(), parameters, strict=True))
    policy.move_reference()
    with policy.reference():
        assert_same(observed(policy), after)


@pytest.mark.parametrize("case", ["full, start kept", "lora", "continued, start kept"])
def test_the_start_stays_what_it_is(case: str, tmp_path: Path):
    policy = make(case, tmp_path)
    with policy.as_loaded():
        start = observed(policy)
    with policy.reference():
        assert_same(observed(policy), start)
    policy.move_reference()
    stir(policy)
    now = observed(policy)
    with policy.reference():
        moved = observed(policy)
        with policy.as_loaded(), policy.as_loaded():
            assert_same(observed(policy), start)
        assert_same(observed(policy), moved)
    with policy.as_loaded():
        with policy.reference(), policy.reference():
            assert_same(observed(policy), moved)
        assert_same(observed(policy), start)
    assert_same(observed(policy), now)
    policy.reset_reference()
    with policy.reference():
        assert_same(observed(policy), start)


def test_moving_within_the_reference_is_of_the_policy_itself(tmp_path: Path):
    policy = make("full, start kept", tmp_path)
    now = observed(policy)
    with policy.reference():
        policy.move_reference()
        assert_same(observed(policy), now)
    assert_same(observed(policy), now)


@pytest.mark.parametrize("case", ["full", "lora"])
def test_a_gradient_is_none_of_its_business(case: str, tmp_path: Path):
    policy = make(case, tmp_path)
    expected = copy.deepcopy(policy)
    run(expected, groups()).loss.backward()
    policy.move_reference()
    loss = run(policy, groups()).loss
    moved = policy.references.state()
    with torch.no_grad():
        for value in moved.values():
            value.zero_()
    with policy.reference():
        scored(policy)
    loss.backward()
    for (name, weight), other in zip(policy.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, other.grad, rtol=0, atol=0, msg=name)
    assert all(value.abs().max() == 0 and not value.requires_grad for value in moved.values())


@pytest.mark.parametrize("case", ["lora", "continued, start kept"])
def test_an_adapter_that_was_frozen_stays_so(case: str, tmp_path: Path):
    policy = make(case, tmp_path)
    policy.move_reference()
    frozen = next(name for name, weight in policy.named_parameters() if weight.requires_grad)
    policy.get_parameter(frozen).requires_grad_(False)
    training = trainable(policy)
    for context in (policy.as_loaded, policy.reference):
        with context():
            pass
        assert frozen not in training == trainable(policy)


def test_an_optimizer_goes_on_with_its_parameters(tmp_path: Path):
    policy = make("lora", tmp_path)
    optimizer = AdamW([weight for weight in policy.parameters() if weight.requires_grad], lr=0.1)
    policy.move_reference()
    with policy.reference():
        scored(policy)
    before = scored(policy)
    run(policy, groups()).loss.backward()
    optimizer.step()
    assert (scored(policy) - before).abs().max() > 1e-3
    with policy.reference():
        torch.testing.assert_close(scored(policy), before, rtol=0, atol=0)


@pytest.mark.parametrize("case", ["full", "full, start kept", "lora", "4 bits"])
def test_it_costs_what_trains_and_no_more(case: str, tmp_path: Path):
    policy = make(case, tmp_path)
    count, names = sum(weight.numel() for weight in policy.parameters()), set(policy.state_dict())
    copied = policy.reference_model is not None
    assert copied == (case == "full, start kept")
    assert policy.references.state() == {}
    policy.move_reference()
    trained = sum(weight.numel() for weight in policy.parameters() if weight.requires_grad)
    assert sum(value.numel() for value in policy.references.state().values()) == trained
    assert sum(weight.numel() for weight in policy.parameters()) == count
    assert set(policy.state_dict()) == names
    policy.reset_reference()
    assert policy.references.state() == {}


def test_an_exception_within_it_passes_and_leaves_it(tmp_path: Path):
    policy = make("lora", tmp_path)
    policy.move_reference()
    stir(policy)
    before = observed(policy)
    with pytest.raises(KeyError), policy.reference():
        raise KeyError
    assert_same(observed(policy), before)


def test_a_copy_that_stops_half_way_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    policy = make("full", tmp_path)
    policy.move_reference()
    moved = observed(policy)
    stir(policy)
    before, calls, exchange = observed(policy), [], policy.references._exchange

    def fails_once(name: str, weight: Any) -> None:
        calls.append(name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        exchange(name, weight)

    monkeypatch.setattr(policy.references, "_exchange", fails_once)
    with pytest.raises(KeyboardInterrupt), policy.reference():
        pass
    assert_same(observed(policy), before)
    with policy.reference():
        assert_same(observed(policy), moved)


def test_it_is_moved_in_an_evaluation_and_used_in_training(tmp_path: Path):
    policy = make("full", tmp_path)
    with torch.inference_mode():  # as in Lightning's hooks of validation
        policy.move_reference()
        before = observed(policy)
    stir(policy)
    now = observed(policy)
    for inference in (False, True):
        with torch.inference_mode(inference), policy.reference():
            assert_same(observed(policy), before)
    run(policy, groups()).loss.backward()
    assert_same(observed(policy), now)


def test_autocast_sees_that_weights_have_changed(tmp_path: Path):
    policy = make("full", tmp_path)
    policy.move_reference()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = scored(policy)
    stir(policy)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # whose cache lasts as long
        after = scored(policy)
        with policy.reference():
            torch.testing.assert_close(scored(policy), before, rtol=0, atol=0)
        torch.testing.assert_close(scored(policy), after, rtol=0, atol=0)
    assert (after - before).abs().max() > 0.01


def test_without_a_start_there_is_one_line():
    policy = tiny_policy()
    for context in (policy.reference, policy.as_loaded):
        with (
            pytest.raises(RuntimeError, match=r"`keep_reference`: expected True.* module\.needs_reference"),
            context(),
        ):
            pass
    policy.move_reference()
    with policy.reference(), pytest.raises(RuntimeError, match="`keep_reference`"), policy.as_loaded():
        pass
    policy.reset_reference()
    with pytest.raises(RuntimeError, match="`keep_reference`"), policy.reference():
        pass


def test_a_weight_that_trains_since_is_refused(tmp_path: Path):
    policy = make("full", tmp_path)
    embedding = policy.model.get_input_embeddings().weight.requires_grad_(False)
    policy.move_reference()
    before = scored(policy)
    embedding.requires_grad_(True)
    with pytest.raises(RuntimeError, match=r"got 1 more, model\.embed_tokens\.weight for one; call move"):
        policy.reference().__enter__()
    torch.testing.assert_close(scored(policy), before, rtol=0, atol=0)
    policy.move_reference()
    with policy.reference():
        torch.testing.assert_close(scored(policy), before, rtol=0, atol=0)
