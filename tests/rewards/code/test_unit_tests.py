"""Reading unit tests, programs and outputs; no program runs here."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import pytest

from lightning_gft.rewards.code.comparing import holds, same_output
from lightning_gft.rewards.code.extraction import find_code
from lightning_gft.rewards.code.unit_tests import CallTest, OutputTest, Step, read_tests


def test_each_assert_is_a_test_with_what_leads_to_it():
    tests = read_tests("import math\nx = [1]\nassert f(x) == [2], 'message'\nassert g(3)\n")
    assert tests == [
        CallTest((Step("run", "import math"), Step("run", "x = [1]"), Step("value", "f(x)", "==", [2]))),
        CallTest((Step("truth", "g(3)"),)),
    ]


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("assert f(1) == -2", Step("value", "f(1)", "==", -2)),
        ("assert 3 == f(1)", Step("value", "f(1)", "==", 3)),
        ("assert f(1) != (1, 'a')", Step("value", "f(1)", "!=", (1, "a"))),
        ("assert f(1) is None", Step("value", "f(1)", "is", None)),
        ("assert f(1) in [1, 2]", Step("value", "f(1)", "in", [1, 2])),
        ("assert f(1) <= 1.5", Step("value", "f(1)", "<=", 1.5)),
        # The expected value is no literal: both sides must be evaluated inside.
        ("assert f(1) == g(2)", Step("truth", "f(1) == g(2)")),
        ("assert f(1) == 2 ** 5", Step("truth", "f(1) == 2 ** 5")),
        ("assert 1 < f(1) < 3", Step("truth", "1 < f(1) < 3")),
        ("assert 3 in f(1)", Step("truth", "3 in f(1)")),
        ("assert not f(1)", Step("truth", "not f(1)")),
    ],
)
def test_an_expected_literal_stays_outside(text: str, step: Step):
    assert read_tests(text) == [CallTest((step,))]
    assert read_tests([text, text]) == [CallTest((step,))] * 2
    assert read_tests(json.dumps([text])) == [CallTest((step,))]


def test_a_text_without_asserts_at_its_top_is_one_test():
    text = "def check(f):\n    assert f(1) == 2\ncheck(add)"
    (test,) = read_tests(text)
    assert [step.kind for step in test.steps] == ["run", "run"]


def test_inputs_and_outputs():
    pairs = {"inputs": ["1\n2", ["3", "4"]], "outputs": ["3", ["7"]]}
    expected = [OutputTest("1\n2", "3"), OutputTest("3\n4", "7")]
    assert read_tests(pairs) == read_tests(json.dumps(pairs)) == expected
    (call,) = read_tests({"fn_name": "add", "inputs": [[1, [2]]], "outputs": [[3]]})
    (step,) = call.steps
    assert (step.operation, step.expected) == ("json", [3])
    assert step.code.endswith("(*[1, [2]])")


@pytest.mark.parametrize(
    "reference",
    [
        *(None, 5, "", "   ", [], [""], ["assert f(1) == 1", ""], [1], {}, {"inputs": []}, "[]", "{}"),
        *({"inputs": ["1"], "outputs": []}, {"inputs": "1", "outputs": "1"}, {"inputs": [], "outputs": []}),
        *({"fn_name": "f", "inputs": [1], "outputs": [1]}, {"fn_name": "f()", "inputs": [[1]], "outputs": [1]}),
        *("assert f(1) ==", "def f(:", "(" * 5000, "assert f('\0')"),
        # What is defined and never called would pass whatever the program does.
        *("def check(f):\n    assert f(1) == 2", "import math", "x = 3", "'a docstring'", ["def test(): assert 0"]),
        "class Test(unittest.TestCase):\n    def test(self):\n        assert False",
    ],
)
def test_what_is_no_test_is_refused(reference):
    with pytest.raises(ValueError, match="the unit tests of CodeExecutionReward: expected"):
        read_tests(reference)


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ("x = 1", "x = 1"),
        ("```python\nx = 1\n```", "x = 1\n"),
        ("```\nx = 1\n```\n", "x = 1\n"),
        ("```py title=a\nx = 1\n```", "x = 1\n"),
        ("~~~python\nx = '```'\n~~~", "x = '```'\n"),
        ("a\n```python\nx = 1\n```\nb\n```python\nx = 2\n```\nc", "x = 2\n"),
        ("```python\nx = 1\n```\nIt prints:\n```text\n1\n```", "x = 1\n"),
        ("```python\nx = 1", "x = 1"),  # cut, or ended by a stop string
        ("````python\nx = '''\n```\n'''\n````", "x = '''\n```\n'''\n"),
        ("1. So:\n   ```python\n   if x:\n       y = 1\n   ```", "if x:\n    y = 1\n"),
        ("```cpp\nint x;\n```", None),
        ("", None),
        (" \n", None),
    ],
)
def test_the_program_in_a_response(response: str, code: str | None):
    assert find_code(response) == code


@pytest.mark.parametrize(
    ("written", "expected", "same"),
    [
        *(("3\n", "3", True), ("3", "3\n\n", True), ("1 2 \n3\n", "1 2\n3", True), ("1  2", "1 2", True)),
        *(("3", "4", False), ("", "3", False), ("3 4", "3", False), ("3\n4", "3 4", False), ("YES", "Yes", False)),
        *(("0.3333333333", "0.333333", True), ("0.34", "0.333333", False), ("3", "3.0", True), ("3.0", "3", False)),
        *(("nan", "1.0", False), ("1e400", "1.0", False), ("inf", "1e400", False), ("1000000.4", "1000000.0", True)),
        *(("10000000000000001", "10000000000000002", False), ("1_0.0", "10.0", False), ("", "", True)),
    ],
)
def test_outputs(written: str, expected: str, same: bool):
    assert same_output(written, expected) == same


def test_comparisons_are_pythons_own():
    assert holds(1, "==", True)
    assert not holds(1, "is", True)
    assert holds(None, "is", None)
    assert not holds([1], "==", (1,))
    assert not holds("a", "<", 1)
    assert not holds([1], "in", {1})  # which Python cannot ask
    assert not holds(5, "in", 5)
    assert not holds(float("nan"), "==", float("nan"))
    assert holds([(1, 2)], "json", [[1, 2]])
    assert not holds([3], "json", 3)


@pytest.mark.parametrize(
    ("value", "expected", "same"),
    [
        (0.1 + 0.2, 0.3, True),
        (Decimal("0.3"), 0.3, True),
        (2, 2.0, True),
        (1e12 + 1, 1e12, True),
        (0.3001, 0.3, False),
        (math.nan, 0.3, False),
        (math.inf, 1e300, False),
        ("0.3", 0.3, False),
        (2.0000001, 2, False),
        (2.0, 2, True),
        (True, 1, True),
        (True, [True], True),
        (1, True, True),
        (1, "1", False),
        (None, 0.0, False),
        ((1, (0.1 + 0.2,)), [1, [0.3]], True),
        ([0.3], [0.3, 0.3], False),
        ([1, 2], [[1, 2]], True),
        ({"a": (0.1 + 0.2,)}, {"a": [0.3]}, True),
        ({"a": 0.3, "b": 1}, {"a": 0.3}, False),
        ({1}, [1], False),
    ],
)
def test_results_of_calls_are_compared_as_json_has_them(value, expected, same):
    assert holds(value, "json", expected) is same


@pytest.mark.parametrize(("value", "expected"), [(0.1 + 0.2, 0.3), ((1, 2), [1, 2])])
def test_what_is_asserted_means_what_it_does_in_python(value, expected):
    assert not holds(value, "==", expected)
