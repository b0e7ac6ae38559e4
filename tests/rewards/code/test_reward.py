"""Programs run against unit tests."""

from __future__ import annotations

import pickle
import textwrap
import threading

import pytest

from lightning_gft.rewards import CodeExecutionReward, RewardError, score_responses
from lightning_gft.rewards.code.testing import ProgramTester, Verdict
from lightning_gft.rewards.code.unit_tests import read_tests
from lightning_gft.sandbox.process import SandboxedProcess
from tests.rewards.code.programs import ADD, PATIENCE, reward, score, score_with

pytestmark = pytest.mark.usefixtures("whole_sandbox")

ASSERTS = "assert add(1, 2) == 3\nassert add(-1, 1) == 0\nassert add('a', 'b') == 'ab'"
PAIRS = {"inputs": ["1 2\n", "-1 1\n", "10 20\n"], "outputs": ["3\n", "0\n", "30\n"]}


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


def test_decimals_by_name_are_compared_as_in_written_output():
    tests = {"fn_name": "add", "inputs": [[0.1, 0.2]], "outputs": [0.3]}
    assert score(tests, ADD, "def add(a, b):\n    return a + b + 0.001") == [1, 0]
    assert score("assert add(0.1, 0.2) == 0.3", ADD) == [0]


def test_failures_are_counted_by_kind():
    scorer = reward(memory_mb=300)
    programs = [
        ADD,
        "x = bytearray(1 << 33)",
        "def add(a, b):\n    return bytearray(1 << 33)",
        "raise ValueError",
        "import os; os._exit(3)",
        "```cpp\nint x;\n```",
    ]
    assert score_with(scorer, "assert add(1, 2) == 3", *programs)[1:] == [0] * 5
    scorer.seconds = 0.5
    assert score_with(scorer, "assert add(1, 2) == 3", "while True: pass") == [0]
    assert score_with(scorer, PAIRS, "while True: pass") == [0]
    scorer.seconds = PATIENCE
    counts = scorer.compute()
    assert counts.pop("seconds") > 0
    assert counts == {"programs": 7, "no_code": 1, "timeouts": 2, "memory": 2, "errors": 2}
    score_with(scorer, PAIRS, "x = bytearray(1 << 33)", "raise ValueError", "print('x' * (1 << 24))")
    counts = {name: scorer.compute()[name] for name in ("timeouts", "memory", "errors")}
    assert counts == {"timeouts": 2, "memory": 3, "errors": 3}
    scorer.reset()
    assert set(scorer.compute().values()) == {0}


def test_a_wrong_answer_is_no_failure():
    scorer = reward()
    score_with(scorer, ASSERTS, "def add(a, b):\n    return 0", "def add(a, b):\n    assert False")
    score_with(scorer, PAIRS, "print(5)")
    counts = scorer.compute()
    assert (counts["programs"], counts["timeouts"], counts["errors"]) == (3, 0, 0)


def test_after_a_test_that_takes_too_long_the_others_are_not_run():
    tester = ProgramTester(seconds=0.5, memory_mb=1024, stops_early=False, stopped=threading.Event())
    slow = "import time\ndef add(a, b):\n    if a == 2: time.sleep(1e6)\n    return a + b"
    verdict = tester(slow, read_tests([f"assert add({n}, 0) == {n}" for n in range(1, 20)]))
    assert verdict.end == "timeouts"
    assert verdict.run <= 2  # fewer on a machine so busy that the definition took too long
    verdict = tester("while True: pass", read_tests(PAIRS))
    assert verdict == Verdict(passed=0, run=1, end="timeouts")


def test_programs_run_at_once(monkeypatch):
    together = threading.Barrier(8, timeout=PATIENCE)
    ask = SandboxedProcess.ask
    monkeypatch.setattr(SandboxedProcess, "ask", lambda *of: (together.wait(), ask(*of))[1])
    programs = [f"{ADD}# {number}" for number in range(8)]
    assert score_with(reward(workers=8), "assert add(1, 2) == 3", *programs) == [1] * 8


def test_what_is_said_twice_is_run_once(monkeypatch):
    started = []
    start = SandboxedProcess.__init__
    monkeypatch.setattr(SandboxedProcess, "__init__", lambda *of, **how: (started.append(of), start(*of, **how))[1])
    scorer = reward()
    batch = {
        "prompts": ["p"] * 4,
        "responses": [ADD, ADD, "```c\n```", ADD],
        "references": ["assert add(1, 2) == 3"] * 4,
    }
    batch["references"][3] = "assert add(1, 2) == 4"
    assert scorer(**batch) == [1, 1, 0, 0]
    assert len(started) == 2
    assert (scorer.compute()["programs"], scorer.compute()["no_code"]) == (3, 1)


def test_memory_is_each_programs_own():
    hog = "x = bytearray(200 << 20)\nprint(3)"
    assert score({"inputs": ["", ""], "outputs": ["3", "3"]}, hog, hog, memory_mb=400) == [1, 1]


@pytest.mark.parametrize(("threads", "memory_mb"), [(20, 512), (100, 256)])
def test_threads_do_not_use_up_the_memory(threads, memory_mb):
    program = f"""
    import threading
    def f(x):
        together = threading.Barrier({threads} + 1)
        threads = [threading.Thread(target=together.wait) for _ in range({threads})]
        for thread in threads:
            thread.start()
        together.wait()
        return x + 1
    """
    assert score("assert f(1) == 2", program, memory_mb=memory_mb) == [1]


def test_a_thread_recurses_as_deep_as_python_lets_it():
    program = """
    import functools, threading
    @functools.cache
    def depth(n):
        return n and 1 + depth(n - 1)
    def f(n):
        found = []
        thread = threading.Thread(target=lambda: found.append(depth(n)))
        thread.start()
        thread.join()
        return found
    """
    assert score("assert f(400) == [400]", program, memory_mb=64) == [1]


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
    with pytest.warns(UserWarning, match="runs programs that a model has written.*them from network, files, processes"):
        reward().setup()


def test_it_travels_between_processes():
    again = pickle.loads(pickle.dumps(reward()))  # noqa: S301
    assert score_with(again, ASSERTS, ADD) == [1]


def test_an_unreadable_row_in_mid_run_is_an_error_and_no_zero():
    with pytest.raises(RewardError, match="the unit tests of CodeExecutionReward"):
        score_responses({"code": reward()}, prompts=["p"], responses=[ADD], references=["x ="], columns={})


@pytest.mark.parametrize(
    "attempt", ["os.mkdir('a')", "os.chmod('f', 0o600)", "os.utime('f')", "subprocess.run(['true'])"]
)
def test_what_a_right_program_cannot_do_is_an_error(attempt):
    program = f"import os, subprocess\ndef f():\n    open('f', 'w').close()\n    {attempt}\n    return 1"
    scorer = reward()
    assert score_with(scorer, "assert f() == 1", program, program.replace(attempt, "os.rename('f', 'g')")) == [0, 1]
    assert scorer.compute()["errors"] == 1
