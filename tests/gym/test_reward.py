"""The gym's scorers in real worker processes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from lightning_gft.data.loading import load_rows
from lightning_gft.gym.entries import GymEntry
from lightning_gft.gym.making import AnswerScorer, EntryMaker, EntryRequest
from lightning_gft.gym.reward import ReasoningGymReward
from lightning_gft.rewards import score_responses

Row = dict[str, Any]


def _row(task: str, index: int = 0, **config: Any) -> Row:
    made = EntryMaker()(EntryRequest(task, config, 5, index, tries_others=True))
    return {"prompt": made.entry["question"], "answer": made.entry["answer"], "entry": made.write()}


def _scores(reward: ReasoningGymReward, rows: Sequence[Row], answers: Sequence[str]) -> list[float]:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return [*reward(prompts=columns["prompt"], responses=answers, references=columns["answer"], **columns)]


def _tagged(*answers: str) -> list[str]:
    return [f"so it is <answer>{answer}</answer>" for answer in answers]


@pytest.fixture(scope="module")
def reward() -> Iterator[ReasoningGymReward]:
    """One worker for all tests."""
    reward = ReasoningGymReward(workers=1)
    yield reward
    reward.close()


def test_right_and_wrong_answers(reward: ReasoningGymReward) -> None:
    rows = [_row("chain_sum", index) for index in range(4)]
    reward.reset()
    assert _scores(reward, rows, _tagged(*(row["answer"] for row in rows))) == [1.0] * 4
    assert _scores(reward, rows, _tagged(*(row["answer"] + "7" for row in rows))) == [0.0] * 4
    assert reward.compute() == {"timeouts": 0, "memory": 0, "crashes": 0, "errors": 0, "no_answer": 0}
    assert _scores(reward, rows, [row["answer"] for row in rows]) == [0.0] * 4  # without tags
    assert reward.compute()["no_answer"] == 4
    reward.reset()
    assert reward.compute()["no_answer"] == 0


def test_an_answer_among_others_gets_part_of_the_score_only_where_asked_for(reward: ReasoningGymReward) -> None:
    row = _row("caesar_cipher")
    among = f"{row['answer']} or something else"
    assert _scores(reward, [row], _tagged(among)) == [0.0]
    share = AnswerScorer(threshold=None)((row["entry"], among))
    assert 0 < share < 1
    assert [AnswerScorer(share)((row["entry"], answer)) for answer in (among, "")] == [1.0, 0.0]


def test_the_settings_of_a_task_reach_its_scorer() -> None:
    entries = [GymEntry("puzzle24", {"max_value": most}, {"answer": "", "metadata": {}}).write() for most in (10, 6)]
    score = AnswerScorer(1.0)
    # With the second, 10 is none of the task's numbers.
    assert [score((entry, "(10 - 2) * 3 * 1")) for entry in entries] == [1.0, 0.0]


def test_what_hangs_or_raises_is_counted_and_costs_itself_alone() -> None:
    hangs, raises, right = _row("coin_flip"), _row("prime_factorization"), _row("chain_sum")
    reward = ReasoningGymReward("{answer}", seconds=600, workers=1, failed_score=-0.5)
    try:
        with pytest.warns(UserWarning, match="ReasoningGymReward raised ValueError"):
            assert _scores(reward, [raises, right], ["two times three", right["answer"]]) == [-0.5, 1.0]
        reward.pool.seconds = 0.5
        with pytest.warns(UserWarning, match="ReasoningGymReward took longer than"):
            assert _scores(reward, [hangs], ["1e999999999"]) == [-0.5]
        reward.pool.seconds = 600
        assert _scores(reward, [right], [right["answer"]]) == [1.0]
        assert reward.compute() == {"timeouts": 1, "memory": 0, "crashes": 0, "errors": 1, "no_answer": 0}
    finally:
        reward.close()


def test_rows_of_a_file_stay_scorable(reward: ReasoningGymReward, tmp_path: Path) -> None:
    rows = [_row("rearc"), _row("word_ladder"), _row("arc_1d")]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    for name in ("rows.jsonl", "rows.parquet"):
        back = [*load_rows(tmp_path / name)]
        assert back == rows
        for row in back:
            reward.check_row(row["answer"], row)
        assert _scores(reward, back, _tagged(*(row["answer"] for row in back))) == [1.0] * 3


def test_what_a_task_prints_goes_nowhere(reward: ReasoningGymReward, capfd: pytest.CaptureFixture[str]) -> None:
    row = _row("bf")
    capfd.readouterr()
    assert _scores(reward, [row], _tagged(row["answer"])) == [1.0]
    assert capfd.readouterr().out == ""


def test_rows_that_cannot_be_scored_are_refused_before_training(reward: ReasoningGymReward) -> None:
    with pytest.raises(ValueError, match=r"the data: expected a column 'entry', .*got 'prompt', 'answer'"):
        reward.check_row("5", {"prompt": "2 + 3 =", "answer": "5"})
    with pytest.raises(ValueError, match="the column 'entry': expected an entry"):
        reward.check_row("5", {"entry": "5"})
    with pytest.raises(ValueError, match="expected a task of the installed reasoning-gym, got 'chain_sums'; did you"):
        reward.check_row("5", {"entry": GymEntry("chain_sums", {}, {}).write()})
    entry = GymEntry("chain_sum", {}, {"answer": "5"}, {"own": 0.25})
    with pytest.raises(ValueError, match=r"an entry of chain_sum whose own answer scores 1, got one .* scores 0.25"):
        reward.check_row("5", {"entry": entry.write()})


def test_it_is_a_reward_like_any_other(reward: ReasoningGymReward) -> None:
    rows = [_row("spell_backward", index) for index in range(2)]
    total, parts = score_responses(
        {"gym": reward},
        prompts=[row["prompt"] for row in rows],
        responses=_tagged(rows[0]["answer"], "no"),
        references=[row["answer"] for row in rows],
        columns={name: [row[name] for row in rows] for name in rows[0]},
    )
    assert total.tolist() == parts["gym"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5])
def test_a_threshold_is_above_0_and_at_most_1(threshold: float) -> None:
    with pytest.raises(ValueError, match="`threshold` of ReasoningGymReward: expected a number above 0 and at most 1"):
        ReasoningGymReward(threshold=threshold)
