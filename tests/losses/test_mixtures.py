"""Objectives of demonstrations and own samples together, against what their papers maximise."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from lightning_gft import (
    Annealing,
    CHORDLoss,
    CHORDPhiLoss,
    GroupLoss,
    GRPOLoss,
    HPTLoss,
    LUFFYLoss,
    RoutedLoss,
    SFTLoss,
    Source,
)
from lightning_gft.types import TokenBatch
from tests.reference import objectives
from tests.reference.scenes import Objective, Response, Scene

SEEDS = range(3)


def split(scene: Scene, rows: list[int] | None = None) -> tuple[list[int], list[int]]:
    """Return demonstrations and own samples among some rows."""
    rows = list(range(len(scene.groups))) if rows is None else rows
    own = [n for n in rows if scene.groups.source[n] == Source.SELF]
    return [n for n in rows if n not in own], own


def assert_same_gradient(loss: GroupLoss, scene: Scene, objective: torch.Tensor) -> None:
    actual = scene.gradient(loss(scene.logprobs, scene.groups, old_logprobs=scene.old))
    torch.testing.assert_close(actual, -scene.gradient(objective), rtol=0, atol=1e-12)
    assert actual.abs().max() > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("own", "of_own"),
    [(None, objectives.ratio), (GRPOLoss(), objectives.grpo(0.2))],
    ids=["as released", "with a clip"],
)
def test_luffy(own: Any, of_own: Objective, seed: int):
    scene, gamma = Scene(seed), 0.1
    loss = LUFFYLoss(gamma, own, max_completion_length=20)
    demonstrations, samples = split(scene)
    total = torch.zeros((), dtype=torch.float64)
    for n in demonstrations:
        total = total + objectives.luffy(gamma)(scene.response(n)).sum()
    for n in samples:
        total = total + of_own(scene.response(n)).sum()
    assert_same_gradient(loss, scene, total / len(scene.groups) / 20)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("make", "of_demonstrations"), [(CHORDLoss, objectives.likelihood), (CHORDPhiLoss, objectives.phi)]
)
@pytest.mark.parametrize("reduction", ["token-mean", "sequence-mean"])
def test_chord(make: Any, of_demonstrations: Objective, reduction: str, seed: int):
    scene = Scene(seed)
    demonstrations, own = split(scene)
    imitation = scene.mean(lambda _, response: of_demonstrations(response), demonstrations, reduction)
    policy = scene.mean(lambda _, response: objectives.grpo(0.2)(response), own, reduction)
    assert_same_gradient(make(0.3, reduction=reduction), scene, 0.7 * policy + 0.3 * imitation)


def test_chord_has_sft_and_grpo_as_its_ends():
    scene = Scene(seed=5)
    imitation = CHORDLoss(mu=1.0)(scene.logprobs, scene.groups, old_logprobs=scene.old)
    torch.testing.assert_close(imitation, SFTLoss()(scene.logprobs, scene.groups), rtol=0, atol=1e-12)
    policy = CHORDLoss(mu=0.0)(scene.logprobs, scene.groups, old_logprobs=scene.old)
    grpo = GRPOLoss(reduction="token-mean")(scene.logprobs, scene.groups, old_logprobs=scene.old)
    torch.testing.assert_close(policy, grpo, rtol=0, atol=1e-12)


def test_mu_follows_its_schedule_and_resumes_exactly():
    schedule = Annealing(0.9, 0.05, 4)
    loss, scene = CHORDLoss(mu=schedule), Scene(seed=6)
    values, reported = [], []
    for _ in range(3):
        values.append(loss(scene.logprobs, scene.groups, old_logprobs=scene.old))
        loss.step()
        reported.append(loss.compute()["mu"].item())
    assert reported == [schedule.at(step) for step in range(3)]
    for step, value in enumerate(values):
        fixed = CHORDLoss(mu=schedule.at(step))
        assert value == fixed(scene.logprobs, scene.groups, old_logprobs=scene.old)
    resumed = CHORDLoss(mu=schedule)
    assert list(loss.state_dict()) == ["mu.num_steps"]
    resumed.load_state_dict(copy.deepcopy(loss.state_dict()))
    for each in (loss, resumed):
        assert each.mu.now == schedule.at(3)
        each.step()
        assert each.mu.now == schedule.at(4)
    assert loss.to(torch.bfloat16).mu.num_steps == 4  # which half precision leaves as it is


def test_chord_hands_its_parts_their_coefficients_without_mu():
    heard: list[torch.Tensor] = []

    class Heard(SFTLoss):
        def update(self, tokens: TokenBatch, coefficients: torch.Tensor) -> None:
            heard.append(coefficients)

    scene, loss = Scene(seed=7), CHORDLoss(mu=0.25)
    loss.demonstrations = Heard()
    mask = scene.groups.response_mask
    tokens = scene.groups.tokens(scene.logprobs[mask])
    tokens.old_logprobs = scene.old[mask]
    loss.update(tokens, loss.coefficients(tokens))
    assert set(heard[0].tolist()) == {1.0}
    assert "clip_ratio/high_mean" in loss.compute()


def hpt(scene: Scene, gate: int, leave_out_solved: bool, reduction: str) -> tuple[torch.Tensor, float, float]:
    """Return what is maximised, and the shares of prompts by SFT and of solved ones, prompt by prompt."""
    rows: list[int] = []
    imitated = solved = 0
    for of_prompt in scene.prompts().values():
        demonstrations, own = split(scene, of_prompt)
        correct = sum(scene.groups.rewards[n].item() >= 1 for n in own)
        if correct <= gate:
            imitated += 1
            rows += demonstrations
        elif correct == len(own) and leave_out_solved:
            solved += 1
        else:
            rows += own

    def objective(n: int, response: Response) -> torch.Tensor:
        is_own = scene.groups.source[n] == Source.SELF
        return objectives.grpo(0.2)(response) if is_own else objectives.likelihood(response)

    prompts = len(scene.prompts())
    return scene.mean(objective, rows, reduction), imitated / prompts, solved / prompts


SIZES = (4, 4, 3, 5, 4, 4, 6, 3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("gate", [0, 1])
@pytest.mark.parametrize("reduction", ["group-mean", "token-mean"])
def test_hpt(gate: int, reduction: Any, seed: int):
    scene = Scene(seed, SIZES)
    loss = HPTLoss(gate, reduction=reduction)
    objective, imitated, _ = hpt(scene, gate, False, reduction)
    assert_same_gradient(loss, scene, objective)
    loss.update_groups(scene.groups)
    assert loss.compute()["frac_sft_prompts"] == imitated
    assert 0 < imitated < 1


@pytest.mark.parametrize("seed", SEEDS)
def test_routed(seed: int):
    scene, loss = Scene(seed, SIZES), RoutedLoss()
    objective, imitated, solved = hpt(scene, 0, True, "group-mean")
    assert_same_gradient(loss, scene, objective)
    loss.update_groups(scene.groups)
    assert loss.compute()["frac_sft_prompts"] == imitated
    assert loss.compute()["frac_solved_prompts"] == solved
    assert solved > 0
    loss.reset()
    assert loss.compute()["frac_solved_prompts"] == 0


def test_a_prompt_without_own_samples_is_imitated():
    scene = Scene(seed=8)
    scene.groups.source[:] = Source.EXPERT
    for loss in (HPTLoss(), RoutedLoss()):
        actual = loss(scene.logprobs, scene.groups, old_logprobs=scene.old)
        torch.testing.assert_close(actual, SFTLoss("group-mean")(scene.logprobs, scene.groups), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LUFFYLoss(0.0, max_completion_length=9), "`gamma` of LUFFYLoss: expected a number above 0, got 0.0"),
        (
            lambda: LUFFYLoss(reduction="token-mean", max_completion_length=9),
            "`max_completion_length`: expected a number of tokens with reduction='constant-length' and null with "
            "another, got 9 with 'token-mean'; set both or neither",
        ),
        (lambda: CHORDLoss(1.2), "`mu` of CHORDLoss: expected a number from 0 to 1, got 1.2"),
        (lambda: CHORDPhiLoss(-1), "`mu` of CHORDPhiLoss: expected a number from 0 to 1, got -1"),
        (lambda: CHORDLoss(Annealing(1.5, 0, 9)), "`mu.start` of CHORDLoss: expected a number from 0 to 1, got 1.5"),
        (lambda: CHORDLoss(Annealing(0.5, -1, 9)), "`mu.end` of CHORDLoss: expected a number from 0 to 1, got -1"),
        (lambda: HPTLoss(-1), "`gate` of HPTLoss: expected a whole number of at least 0, got -1"),
        (lambda: RoutedLoss(float("inf")), "`correct_reward` of RoutedLoss: expected a finite number, got inf"),
        (
            lambda: HPTLoss(gate=4).check_group(num_responses=8, num_own=4),
            "`gate` of HPTLoss: expected less than the 4 own samples of a prompt, got 4, with which SFT takes every "
            "prompt; lower it or raise num_generations",
        ),
    ],
)
def test_bad_settings_are_one_line(make: Any, message: str):
    with pytest.raises(ValueError) as raised:
        make()
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "loss",
    [LUFFYLoss(max_completion_length=9), CHORDLoss(), HPTLoss(), RoutedLoss()],
    ids=lambda loss: type(loss).__name__,
)
def test_both_kinds_of_sources_are_needed(loss: GroupLoss):
    name = type(loss).__name__
    loss.check_group(num_responses=8, num_own=7)
    with pytest.raises(ValueError, match=f"expected demonstrations for {name}, got own samples alone"):
        loss.check_group(num_responses=8, num_own=8)
    with pytest.raises(ValueError, match=f"expected own samples for {name}, got demonstrations alone"):
        loss.check_group(num_responses=8, num_own=0)
