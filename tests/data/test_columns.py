from __future__ import annotations

from typing import Any

import pytest

from lightning_gft.data import Columns
from lightning_gft.data.columns import NumberedRows

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
    with pytest.raises(
        ValueError,
        match=r"row 1 .*, column 'solution': expected a text with answer_marker='####', got one without: 'so 2'",
    ):
        Columns("problem", "solution", answer_marker="####").read(rows)


def test_roles_without_a_column_are_absent_and_empty_cells_give_none() -> None:
    [example] = Columns("problem", None, teacher_column="teachers").read([{**ROW, "teachers": None}])
    assert example.reference is None
    assert example.demonstrations == {"teacher": []}


@pytest.mark.parametrize("cell", [7, ["2", None], {"text": "2"}])
def test_demonstration_that_is_no_text_is_named(cell: object) -> None:
    with pytest.raises(TypeError, match=r"row 0 \(counting from 0\), column 'teachers': expected a text or a list of"):
        Columns("problem", teacher_column="teachers", answer_column=None).read([{**ROW, "teachers": cell}])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            Columns("problems", None),
            r"`prompt_column`: expected .*'problem', 'solution', .*got 'problems'; did you mean problem",
        ),
        (Columns("problem"), r"`answer_column`: .*got 'answer'.*set it to null"),
        (
            Columns("problem", None, expert_column="solutions"),
            r"`expert_column`: .*got 'solutions'.*did you mean solution",
        ),
        (Columns("problem", "problems"), r"`answer_column`: .*'level', got 'problems'; set it to null"),
        (
            Columns("problem", None, expert_column="solution", teacher_column="solutions"),
            r"`teacher_column`: .*'level', got 'solutions'; if there are no teacher",
        ),
        (
            Columns("problem", None, teacher_column="qqqq"),
            r"`teacher_column`: .*'level', got 'qqqq'; if there are no teacher",
        ),
    ],
)
def test_missing_column_is_named_with_those_that_there_are(columns: Columns, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        columns.check(list(ROW))


@pytest.mark.parametrize("blank", ["", " \n", [""], ["", "\t"], []])
def test_blank_demonstration_is_missing(blank: object) -> None:
    columns = Columns("problem", None, teacher_column="teachers")
    rows = [{**ROW, "teachers": blank}, {**ROW, "teachers": ["2", *blank]}]
    assert [example.demonstrations for example in columns.read(rows)] == [{"teacher": []}, {"teacher": ["2"]}]


def test_blank_demonstrations_are_counted_by_role() -> None:
    columns = Columns("problem", None, expert_column="solution", teacher_column="teachers")
    rows = [{**ROW, "teachers": ["2", "", " "]}, {**ROW, "solution": None, "teachers": ""}]
    assert [text.left_out for text in columns.read(rows)] == [{"blank teacher texts": 2}, {"blank teacher texts": 1}]


def test_marker_in_a_list_of_answers_and_in_what_is_no_text() -> None:
    columns = Columns("problem", "solution", answer_marker="####")
    [example] = columns.read([{"problem": "1+1=", "solution": ["so #### 2", "or #### two"]}])
    assert example.reference == ["2", "two"]
    for answer in (2, None, {"text": "#### 2"}, ["#### 2", 2]):
        with pytest.raises(ValueError, match=r"row 0 .*: expected a text with answer_marker='####', got"):
            columns.read([{"problem": "1+1=", "solution": answer}])


def test_marker_that_yaml_took_for_a_comment_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r'`answer_marker`: expected a text, got null; in YAML, quote .* as in answer_marker: "####" .an empty',
    ):
        Columns(answer_marker=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prompt", "kind", "words"),
    [
        (None, TypeError, "got null"),
        (7, TypeError, "got int: 7"),
        ("", ValueError, "expected a prompt, got a blank one: ''"),
        (" \n", ValueError, "expected a prompt, got a blank one"),
        ([], ValueError, r"expected a prompt, got a blank one: \[\]"),
        ([{"role": "user", "content": ""}], ValueError, "expected a prompt, got a blank one"),
        (["hi"], TypeError, r"message 0 .*expected one like .*got 'hi'"),
        ([{"role": "user", "content": "hi"}, {"content": "hi"}], ValueError, "message 1 .*expected a role"),
        ([{"role": "user"}], ValueError, "message 0 .*expected content, got none in {'role': 'user'}"),
        ([{"role": "user", "content": None}], ValueError, "message 0 .*expected content"),
        ([{"role": "user", "content": 7}], TypeError, "a text or a list of parts"),
    ],
)
def test_row_without_a_proper_prompt_is_named(prompt: object, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=rf"^row 1 \(counting from 0\), column 'problem': .*{words}"):
        Columns("problem", None).read([ROW, {**ROW, "problem": prompt}])


def test_call_of_a_tool_needs_no_content() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "add"}]}
    messages = [{"role": "user", "content": "1+1="}, call, {"role": "tool", "content": "2"}]
    [example] = Columns("problem", None).read([{**ROW, "problem": messages}])
    assert example.prompt == messages


def test_long_cells_are_shortened() -> None:
    with pytest.raises(TypeError, match="teachers") as caught:
        Columns("problem", None, teacher_column="teachers").read([{**ROW, "teachers": [7] * 1000}])
    assert len(str(caught.value)) < 200


def test_chosen_rows_keep_their_numbers() -> None:
    rows = NumberedRows([ROW, {**ROW, "problem": ""}], positions=[3, 7])
    assert [example.row for example in Columns("problem", None).read(rows[:1])] == [0]
    with pytest.raises(ValueError, match="row 7 "):
        Columns("problem", None).read(rows)


TURNS = [
    {"role": "system", "content": "brief"},
    {"role": "user", "content": "1+1="},
    {"role": "assistant", "content": "so #### 2"},
]
SHARED = [
    {"from": "system", "value": "brief"},
    {"from": "human", "value": "1+1="},
    {"from": "gpt", "value": "so #### 2"},
]


@pytest.mark.parametrize("turns", [TURNS, SHARED, [{**turn, "from": None, "value": None} for turn in TURNS]])
def test_the_last_turn_of_a_conversation_is_the_expert_s(turns: list[dict[str, object]]) -> None:
    columns = Columns(answer_column="messages", answer_marker="####", conversation_column="messages")
    columns.check(["messages"])
    [example] = columns.read([{"messages": turns}])
    prompt = [{key: turn[key] for key in ("role", "content")} for turn in example.prompt]  # type: ignore[index]
    assert prompt == TURNS[:-1]
    assert example.demonstrations == {"expert": ["so #### 2"]}
    assert example.reference == "2"
    [evaluated] = columns.without_demonstrations().read([{"messages": turns}])
    assert (evaluated.prompt, evaluated.reference) == (example.prompt, "2")
    assert evaluated.demonstrations == {}


def test_a_conversation_of_several_turns_has_one_demonstration() -> None:
    turns = [*TURNS, *TURNS[1:]]
    [example] = Columns(answer_column=None, conversation_column="messages").read([{"messages": turns}])
    assert example.prompt == turns[:-1]
    assert example.demonstrations == {"expert": ["so #### 2"]}


def test_a_conversation_without_an_answer_is_a_prompt() -> None:
    [example] = Columns("prompt", "messages", conversation_column="messages").read([{"messages": TURNS[:2]}])
    assert example.prompt == TURNS[:2]
    assert example.demonstrations == {"expert": []}
    assert example.reference is None


def test_an_answer_that_is_more_than_a_text_stays_a_message() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add", "strict": None}}]}
    [example] = Columns(answer_column=None, conversation_column="messages").read([{"messages": [*TURNS[:2], call]}])
    assert example.demonstrations == {"expert": [call]}  # JSON's null stays


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        (
            [{"from": "narrator", "value": "1"}],
            r"column 'messages': message 0 .*expected to be from one of human.*'narrator'",
        ),
        ("1+1=", r"column 'messages': expected a list of messages, got '1\+1='"),
        (TURNS[2:], r"column 'messages': expected a prompt, got a blank one"),
    ],
)
def test_a_conversation_that_is_none_is_named(turns: object, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match="^row 0 .*" + words):
        Columns(answer_column=None, conversation_column="messages").read([{"messages": turns}])


def test_a_conversation_stands_for_prompt_and_expert() -> None:
    with pytest.raises(
        ValueError, match=r"`expert_column`: expected none beside conversation_column='messages'.*, got 'solution'"
    ):
        Columns(expert_column="solution", conversation_column="messages")
    with pytest.raises(ValueError, match=r"`prompt_column`: expected none beside.*, got 'problem'"):
        Columns("problem", conversation_column="messages")
    with pytest.raises(ValueError, match=r"`answer_column`: .*got 'answer'.*or to 'messages' for the last message"):
        Columns(conversation_column="messages").check(["messages"])
    with pytest.raises(ValueError, match=r"`conversation_column`: .*got 'message'.*did you mean messages"):
        Columns(answer_column=None, conversation_column="message").check(["messages"])


def test_a_completion_is_one_message_of_the_assistant_s() -> None:
    columns = Columns("problem", None, expert_column="completion")
    [example] = columns.read([{**ROW, "completion": TURNS[2:]}])
    assert example.demonstrations == {"expert": ["so #### 2"]}
    with pytest.raises(ValueError, match=r"row 0 .*column 'completion': expected one message of the assistant, got 3"):
        columns.read([{**ROW, "completion": TURNS}])
    with pytest.raises(ValueError, match=r"the last message: expected one of role 'assistant', got 'user'"):
        columns.read([{**ROW, "completion": TURNS[1:2]}])


@pytest.mark.parametrize(
    ("cells", "variables"),
    [
        ({"tools": [{"name": "add", "strict": None}]}, {"tools": [{"name": "add", "strict": None}]}),
        (
            {"tools": '[{"name": "add"}]', "documents": [{"text": "a"}]},
            {"tools": [{"name": "add"}], "documents": [{"text": "a"}]},
        ),
        ({"tools": None, "documents": ["a", "b"]}, {}),
        ({"tools": "a hammer"}, {"tools": "a hammer"}),
    ],
)
def test_tools_and_documents_go_to_the_template(cells: dict[str, object], variables: dict[str, object]) -> None:
    [example] = Columns("problem", None).read([{**ROW, **cells}])
    assert example.variables == variables


def test_columns_that_play_a_part_do_not_go_to_the_template() -> None:
    [example] = Columns("tools", None).read([{"tools": [{"role": "user", "content": "hi"}]}])
    assert example.variables == {}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"prompt_column": None},
            "`prompt_column`: expected a column unless conversation_column is set, got null; name",
        ),
        ({"prompt_column": ""}, "`prompt_column`: expected the name of a column, got an empty text"),
        ({"answer_column": 7}, "`answer_column`: expected the name of a column, got 7; write a text"),
        (
            {"conversation_column": ["messages"]},
            r"`conversation_column`: expected the name of a column, got \['messages'",
        ),
    ],
)
def test_a_role_names_a_column(columns: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        Columns(**columns)


def test_no_prompt_column_is_wanted_beside_a_conversation() -> None:
    columns = Columns(None, None, conversation_column="messages")
    assert columns.prompt_source == "messages"
    assert columns.read([{"messages": [{"role": "user", "content": "1+1="}]}])[0].demonstrations == {"expert": []}
