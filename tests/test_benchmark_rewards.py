"""The benchmark of verifiers compares answers that all differ, half of them right."""

import json

import pytest

from benchmarks import rewards
from benchmarks.verifiers import by_math_verify, by_trl
from lightning_gft.answers.judging import Judge, read_answer


def test_pairs_differ_and_every_second_is_right():
    drawn = rewards.draw_pairs(numbers=8, formulas=16, seed=0)
    for pairs in drawn.values():
        assert len({response for response, _ in pairs}) == len(pairs)
    judge = Judge()
    for name in ("numbers", "formulas"):
        verdicts = [judge.is_right(read_answer(response), [reference]) for response, reference in drawn[name]]
        assert verdicts == [number % 2 == 0 for number in range(len(verdicts))], name


@pytest.mark.parametrize("judge", [by_math_verify, by_trl])
def test_peers_are_asked_as_they_want_it(judge):
    assert judge((r"So $\boxed{\frac{2}{4}}$.", r"\frac{1}{2}")) == 1.0
    assert judge((r"So $\boxed{\frac{2}{5}}$.", r"\frac{1}{2}")) == 0.0


@pytest.mark.slow
def test_a_short_run_writes_its_record(tmp_path, monkeypatch):
    table = rewards._TABLE.read_text().splitlines()[::80]
    monkeypatch.setattr(rewards, "_TABLE", tmp_path / "table.jsonl")
    rewards._TABLE.write_text("\n".join(table))
    output = tmp_path / "record.json"
    assert rewards.main(["--numbers=4", "--formulas=2", "--rounds=1", "--workers=1", f"--output={output}"]) == 0
    record = json.loads(output.read_text())
    assert record["verdicts"].keys() == {"ours", "math-verify", "TRL"}
    assert all(row["pairs"] > 0 for row in record["verdicts"].values())
    assert record["speed"].keys() == {"numbers", "formulas", "mixed"}
    assert record["speed"]["numbers"]["ours"]["ours_over_it"] == 1.0
