from __future__ import annotations

from typing import Any

import pytest

from lightning_gft import extras
from lightning_gft.gym.datamodule import ReasoningGymDataModule
from lightning_gft.gym.reward import ReasoningGymReward
from lightning_gft.gym.tasks import GymTask, Task


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("chain_sums", {}, "`tasks.chain_sums`: expected a task of reasoning-gym, .* did you mean chain_sum?"),
        ("easy", {"task": "sum_chain"}, "`tasks.easy`: .* 'sum_chain'; did you mean chain_sum?"),
        ("xyzzy", {}, "it has 105, from ab to zebra_puzzles"),
        ("composite", {}, "expected a task of reasoning-gym, got 'composite'"),
        ("a/b", {"task": "chain_sum"}, "`tasks`: expected names without a slash, got 'a/b'"),
        ("chain_sum", {"config": {"min_term": 1}}, "`tasks.chain_sum.config.min_term`: .*did you mean min_terms?"),
        ("chain_sum", {"config": {"colour": 1}}, "it has allow_negation, max_digits, max_terms, min_digits, min_terms"),
        ("chain_sum", {"config": {"seed": 1}}, "the datamodule chooses it; set its seed"),
        ("chain_sum", {"config": {"min_terms": 9}}, "`tasks.chain_sum.config`: .*max_terms must be >= min_terms"),
        ("chain_sum", {"config": {"min_terms": "two"}}, "`tasks.chain_sum.config`: expected what chain_sum accepts"),
        ("chain_sum", {"levels": 11}, "`tasks.chain_sum.levels`: expected a whole number from 0 to 10, got 11"),
        ("chain_sum", {"levels": {"num_term": 1}}, "`tasks.chain_sum.levels.num_term`: .*did you mean num_terms?"),
        ("chain_sum", {"levels": {"num_terms": 99}}, "`tasks.chain_sum.levels.num_terms`: .* from 0 to 10, got 99"),
        ("chain_sum", {"levels": []}, "`tasks.chain_sum.levels`: expected at least one level"),
        ("chain_sum", {"levels": "hard"}, "`tasks.chain_sum.levels`: expected a number, or one for each attribute"),
        ("list_functions", {"levels": 1}, "`tasks.list_functions.levels`: .*has no curriculum; use config"),
    ],
)
def test_what_cannot_be_generated_is_refused_at_once(name: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        ReasoningGymDataModule({name: GymTask(**settings)})


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_weights_are_not_negative(weight: float) -> None:
    with pytest.raises(ValueError, match="`weight` of GymTask: expected a number of at least 0"):
        GymTask(weight=weight)


@pytest.mark.parametrize("tasks", [{}, None, "chain_sum"])
def test_there_is_a_task(tasks: Any) -> None:
    with pytest.raises(TypeError, match="`tasks`: expected settings of at least one task by its name"):
        ReasoningGymDataModule(tasks)


def test_settings_of_a_task_are_a_gym_task() -> None:
    with pytest.raises(TypeError, match=r"`tasks.sums`: expected GymTask\(...\) or null, got \{'task': 'chain_sum'\}"):
        ReasoningGymDataModule({"sums": {"task": "chain_sum"}})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("levels", "terms", "digits"),
    [
        (0, (2, 2), (1, 1)),
        (2, (2, 4), (1, 3)),
        ({"num_terms": 3}, (2, 5), (1, 1)),
        ({"num_terms": 0, "*": 4}, (2, 2), (1, 5)),
    ],
)
def test_levels_are_those_of_the_curriculum(levels: Any, terms: tuple[int, int], digits: tuple[int, int]) -> None:
    (config,) = Task("chain_sum", GymTask(levels=levels)).configs
    assert (config["min_terms"], config["max_terms"]) == terms
    assert (config["min_digits"], config["max_digits"]) == digits


def test_config_wins_over_levels() -> None:
    task = Task("sums", GymTask("chain_sum", levels=[0, 3], config={"max_digits": 7}))
    assert [(config["max_terms"], config["max_digits"]) for config in task.configs] == [(2, 7), (5, 7)]


@pytest.mark.parametrize("part", [lambda: ReasoningGymDataModule({"chain_sum": None}), ReasoningGymReward])
def test_a_missing_library_is_one_error(part: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"needs reasoning_gym, .* pip install 'lightning-gft\[gym\]'"):
        part()
