from __future__ import annotations

import pytest

from lightning_gft.data import Columns

ROW = {"problem": "1+1=", "solution": "so 2 #### 1 #### 2 ", "teachers": ["2", "3"], "level": 1}


def test_columns_play_their_parts() -> None:
    columns = Columns("problem", "solution", expert_column="solution", teacher_column="teachers")
    [example] = columns.read([ROW])
    assert example.prompt == "1+1="
    assert example.reference == ROW["solution"]
    assert example.demonstrations == {"expert": [ROW["solution"]], "teacher": ["2", "3"]}
    assert example.columns == ROW


def test_reference_follows_the_last_marker() -> None:
    [example] = Columns("problem", "solution", answer_marker="####").read([ROW])
    assert example.reference == "2"


def test_row_without_the_marker_is_named() -> None:
    rows = [ROW, {**ROW, "solution": "so 2"}]
    with pytest.raises(ValueError, match="row 1 has no answer_marker='####' in its 'solution': 'so 2'"):
        Columns("problem", "solution", answer_marker="####").read(rows)


def test_roles_without_a_column_are_absent_and_empty_cells_give_none() -> None:
    [example] = Columns("problem", None, teacher_column="teachers").read([{**ROW, "teachers": None}])
    assert example.reference is None
    assert example.demonstrations == {"teacher": []}


@pytest.mark.parametrize("cell", [7, ["2", None], {"text": "2"}])
def test_demonstration_that_is_no_text_is_named(cell: object) -> None:
    with pytest.raises(TypeError, match="row 0: 'teachers' must hold a text or a list of texts"):
        Columns("problem", teacher_column="teachers", answer_column=None).read([{**ROW, "teachers": cell}])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            Columns("problems", None),
            r"prompt_column='problems' is not .*'problem', 'solution', .*did you mean 'problem'",
        ),
        (Columns("problem"), r"answer_column='answer' is not .*set it to null"),
        (Columns("problem", None, expert_column="solutions"), r"expert_column='solutions'.*did you mean 'solution'"),
        (Columns("problem", None, teacher_column="qqqq"), r"teacher_column='qqqq' is not .*'level'$"),
    ],
)
def test_missing_column_is_named_with_those_that_there_are(columns: Columns, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        columns.check(list(ROW))
