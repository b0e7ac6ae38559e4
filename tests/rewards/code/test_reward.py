"""Programs run against unit tests, honest ones and those that would pass without solving anything."""

from __future__ import annotations

import pickle
import textwrap
import threading

import pytest

from lightning_gft.rewards import CodeExecutionReward, RewardError, score_responses
from lightning_gft.rewards.code.judging import Judge, Verdict
from lightning_gft.rewards.code.unit_tests import read_tests
from lightning_gft.sandbox.measure import measure
from lightning_gft.sandbox.process import SandboxedProcess

PATIENCE = 120.0
"""Seconds for what ends by itself, on a machine that is busy."""
ADD = "def add(a, b):\n    return a + b\n"
ASSERTS = "assert add(1, 2) == 3\nassert add(-1, 1) == 0\nassert add('a', 'b') == 'ab'"
PAIRS = {"inputs": ["1 2\n", "-1 1\n", "10 20\n"], "outputs": ["3\n", "0\n", "30\n"]}


@pytest.fixture(autouse=True, scope="module")
def _whole_sandbox() -> None:
    if measure().open:
        pytest.skip("no whole sandbox on this machine")


def reward(**options: object) -> CodeExecutionReward:
    return CodeExecutionReward(**{"runs_model_code": True, "seconds": PATIENCE, **options})


def score(tests: object, *programs: str, **options: object) -> list[float]:
    programs = tuple(textwrap.dedent(program) for program in programs)
    return score_with(reward(**options), tests, *programs)


def score_with(scorer: CodeExecutionReward, tests: object, *programs: str) -> list[float]:
    count = len(programs)
    return list(scorer(prompts=["p"] * count, responses=programs, references=[tests] * count))


def test_asserts():
    wrong = "def add(a, b):\n    return a - b"
    raises = "def add(a, b):\n    raise ValueError"
    assert score(ASSERTS, ADD, wrong, raises, "syntax error", "") == [1, 0, 0, 0, 0]
    assert score(ASSERTS, ADD, "def add(a, b):\n    return abs(a) + abs(b)", partial=True) == [1, 1 / 3]
    assert score([*ASSERTS.splitlines()], f"Here:\n```python\n{ADD}```\nIt adds.") == [1]


def test_functions_with_everything_that_tests_do_to_them():
    code = """
    from dataclasses import dataclass
    import math
    class Stack:
        def __init__(self):
            self.items = []
        def push(self, item):
            self.items.append(item)
            return self
    def sort(numbers):
        numbers.sort()
    def fail():
        raise KeyError("a")
    def count(n):
        yield from range(n)
    root = math.sqrt
    """
    tests = """
    stack = Stack().push(1)
    assert stack.push(2).items == [1, 2]
    numbers = [3, 1, 2]
    sort(numbers)
    assert numbers == [1, 2, 3]
    assert list(count(3)) == [0, 1, 2]
    assert abs(root(2) - 1.41421356) < 1e-6
    import math
    assert math.isclose(root(4), 2)
    try:
        fail()
        raised = False
    except KeyError:
        raised = True
    assert raised
    """
    assert score(textwrap.dedent(tests), code) == [1]


def test_standard_input_and_output():
    right = "a, b = map(int, input().split())\nprint(a + b)"
    twice = "a, b = map(int, input().split())\nprint(a + b)\nprint('done')"
    crash = right + "\nraise SystemExit(1)"
    early = right + "\nimport os, sys; sys.stdout.flush(); os._exit(0)"
    partly = "a, b = map(int, input().split())\nprint(abs(a) + b)"
    main = "def main():\n    print(sum(map(int, input().split())))\nif __name__ == '__main__':\n    main()"
    assert score(PAIRS, right, twice, crash, early, partly, main) == [1, 0, 0, 1, 0, 1]
    assert score(PAIRS, partly, partial=True) == [2 / 3]


def test_functions_by_name():
    tests = {"fn_name": "add", "inputs": [[1, 2], [[1], [2]]], "outputs": [[3], [1, 2]]}
    method = (
        "class Solution:\n    def add(self, a, b):\n        return tuple([*a, *b]) if isinstance(a, list) else a + b"
    )
    assert score(tests, ADD, method, "def ad(a, b): return 0", "add = 3") == [1, 1, 0, 0]


CHEATS = {
    "leaves": "import sys; sys.exit(0)",
    "leaves at once": "import os; os._exit(0)",
    "leaves when called": "import os\ndef add(a, b):\n    os._exit(0)",
    "raises SystemExit when called": "def add(a, b):\n    raise SystemExit(0)",
    "is killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "equals everything": """
        class Any:
            def __eq__(self, other): return True
            def __ne__(self, other): return True
            def __bool__(self): return True
            def __hash__(self): return 3
        def add(a, b):
            return Any()
        """,
    "an int that equals everything": """
        class Any(int):
            def __eq__(self, other): return True
            def __hash__(self): return 3
        def add(a, b):
            return Any(7)
        """,
    "a str that equals everything": """
        class Any(str):
            def __eq__(self, other): return True
            def __hash__(self): return 3
        def add(a, b):
            return Any("x")
        """,
    "replaces builtins": """
        import builtins, json, operator
        builtins.compile = lambda *_, **__: builtins
        builtins.eval = builtins.exec = lambda *_: 3
        builtins.bool = lambda _: True
        builtins.isinstance = lambda *_: True
        json.dumps = lambda value, **_: '{"kind": "done", "value": "true"}'
        operator.eq = lambda *_: True
        def add(a, b):
            return 0
        """,
    "prints what passes": """
        import json, os
        def shout():
            for number in range(64):
                for kind in ("done", "value"):
                    try:
                        os.write(number, (json.dumps({"id": 0, "kind": kind, "value": "true"}) + "\\n").encode())
                    except OSError:
                        pass
        shout()
        def add(a, b):
            shout()
            return 0
        """,
    "looks for what is expected": """
        import gc, sys
        def add(a, b):
            frame = sys._getframe()
            while frame:
                for value in frame.f_locals.values():
                    if isinstance(value, dict) and "expected" in value:
                        return value["expected"]
                frame = frame.f_back
            for found in gc.get_objects():
                if isinstance(found, dict) and "expected" in found:
                    return found["expected"]
        """,
    "answers for the harness": """
        import json, os, threading
        def serve():
            for number in range(3, 64):
                try:
                    file = os.fdopen(number, "r+b", 0)
                    line = json.loads(file.readline())
                    line.update(kind="value", value="3", truth=True)
                    for out in range(3, 64):
                        try:
                            os.write(out, (json.dumps(line) + "\\n").encode())
                        except OSError:
                            pass
                except Exception:
                    pass
        threading.Thread(target=serve, daemon=True).start()
        import time; time.sleep(0.5)
        def add(a, b):
            return 0
        """,
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_no_cheat_passes_where_the_expected_value_stays_outside(cheat: str):
    scorer = reward(seconds=20)
    tests = "assert add(1, 2) == 3\nassert add(5, 7) == 12"
    assert score_with(scorer, tests, textwrap.dedent(CHEATS[cheat])) == [0]


@pytest.mark.parametrize("cheat", ["leaves", "leaves at once", "leaves when called", "raises SystemExit when called"])
def test_a_program_that_leaves_has_not_passed_what_is_checked_inside(cheat: str):
    tests = ["def check(f):\n    assert f(1, 2) == 3\ncheck(add)"]
    assert score(tests, CHEATS[cheat], ADD) == [0, 1]


def test_what_is_checked_inside_may_be_forged():
    """The limit that docs/rewards.md names: here the interpreter that is asked belongs to the program."""
    tests = ["def check(f):\n    assert f(1, 2) == 3\ncheck(add)"]
    assert score(tests, CHEATS["equals everything"]) == [1]


def test_failures_are_counted_by_kind():
    scorer = reward(seconds=3, memory_mb=300)
    programs = [
        ADD,
        "while True: pass",
        "x = bytearray(1 << 33)",
        "def add(a, b):\n    return bytearray(1 << 33)",
        "raise ValueError",
        "import os; os._exit(3)",
        "```cpp\nint x;\n```",
    ]
    assert score_with(scorer, "assert add(1, 2) == 3", *programs)[1:] == [0] * 6
    counts = scorer.compute()
    assert counts.pop("seconds") > 0
    assert counts == {"programs": 6, "no_code": 1, "timeouts": 1, "memory": 2, "errors": 2}
    score_with(
        scorer, PAIRS, "while True: pass", "x = bytearray(1 << 33)", "raise ValueError", "print('x' * (1 << 24))"
    )
    assert {name: scorer.compute()[name] for name in ("timeouts", "memory", "errors")} == {
        "timeouts": 2,
        "memory": 3,
        "errors": 3,
    }
    scorer.reset()
    assert set(scorer.compute().values()) == {0}


def test_a_wrong_answer_is_no_failure():
    scorer = reward()
    score_with(scorer, ASSERTS, "def add(a, b):\n    return 0", "def add(a, b):\n    assert False")
    score_with(scorer, PAIRS, "print(5)")
    counts = scorer.compute()
    assert (counts["programs"], counts["timeouts"], counts["errors"]) == (3, 0, 0)


def test_after_a_test_that_takes_too_long_the_others_are_not_run():
    judge = Judge(seconds=2, memory_mb=1024, whole=False, stopped=threading.Event())
    slow = "import time\ndef add(a, b):\n    if a == 2: time.sleep(1e6)\n    return a + b"
    verdict = judge(slow, read_tests([f"assert add({n}, 0) == {n}" for n in range(1, 20)]))
    assert verdict.end == "timeouts"
    assert verdict.run <= 2  # fewer on a machine so busy that the definition took too long
    verdict = judge("while True: pass", read_tests(PAIRS))
    assert verdict == Verdict(passed=0, run=1, end="timeouts")


def test_programs_run_at_once(monkeypatch):
    together = threading.Barrier(8, timeout=PATIENCE)
    ask = SandboxedProcess.ask
    monkeypatch.setattr(SandboxedProcess, "ask", lambda *of: (together.wait(), ask(*of))[1])
    assert score_with(reward(workers=8), "assert add(1, 2) == 3", *[ADD] * 8) == [1] * 8


def test_memory_is_each_programs_own():
    hog = "x = bytearray(200 << 20)\nprint(3)"
    assert score({"inputs": ["", ""], "outputs": ["3", "3"]}, hog, hog, memory_mb=400) == [1, 1]


def test_tests_of_a_column():
    scorer = reward(tests_column="tests")
    batch = {"prompts": ["p"], "responses": [ADD], "references": [None]}
    assert scorer(**batch, tests=[ASSERTS]) == [1]
    scorer.check_row(None, {"tests": ASSERTS})
    with pytest.raises(ValueError, match=r"`tests_column`: expected a column of the data \(answer\), got 'tests'"):
        scorer.check_row(None, {"answer": ASSERTS})
    with pytest.raises(ValueError, match="the unit tests of CodeExecutionReward: expected asserts"):
        reward().check_row("def check(f): assert f(1)", {})


def test_it_runs_nothing_unless_asked():
    for given in (False, None, 1, "yes"):
        with pytest.raises(ValueError, match="`runs_model_code` of CodeExecutionReward: expected true, got"):
            CodeExecutionReward(runs_model_code=given)
    with pytest.raises(
        ValueError, match="`allow` of CodeExecutionReward: expected a list of network, files, processes"
    ):
        reward(allow="network")
    with pytest.warns(UserWarning, match="runs programs that a model has written.*kept from network, files, processes"):
        reward().setup()


def test_it_travels_between_processes():
    again = pickle.loads(pickle.dumps(reward()))  # noqa: S301
    assert score_with(again, ASSERTS, ADD) == [1]


def test_an_unreadable_row_in_mid_run_is_an_error_and_no_zero():
    with pytest.raises(RewardError, match="the unit tests of CodeExecutionReward"):
        score_responses({"code": reward()}, prompts=["p"], responses=[ADD], references=["x ="], columns={})
