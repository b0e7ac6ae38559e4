"""Programs that would pass without solving anything."""

from __future__ import annotations

import textwrap

import pytest

from tests.rewards.code.programs import ADD, reward, score, score_with

pytestmark = pytest.mark.usefixtures("whole_sandbox")

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
    scorer = reward(seconds=3 if cheat == "answers for the harness" else 20)  # it takes the question, too
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
