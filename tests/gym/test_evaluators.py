"""No answer is run as code, whatever the scorers of reasoning-gym do."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import reasoning_gym
from reasoning_gym import create_dataset
from reasoning_gym.games.puzzle24 import parse_expr

from lightning_gft.gym.entries import GymEntry
from lightning_gft.gym.evaluators import evaluate_literal, parse_expression, running_no_code
from lightning_gft.gym.making import AnswerScorer

RUN_ANSWERS = (
    *("binary_matrix", "countdown", "intermediate_integration", "n_queens", "polynomial_multiplication"),
    *("puzzle24", "simple_integration", "spiral_matrix", "string_insertion"),
)
"""Tasks whose scorers run an answer as Python."""
ATTACKS = [
    "open({mark!r}, 'w')",
    "__import__('os').system('touch {mark}')",
    "exec(\"open({mark!r}, 'w')\")",
    "[open({mark!r}, 'w')]",
    "[c for c in ().__class__.__base__.__subclasses__() if c.__name__ == '_wrap_close'][0]"
    ".__init__.__globals__['system']('touch {mark}')",
    "x.__class__.__init__.__globals__",
    "f(open({mark!r}, 'w'))",
]


@pytest.mark.parametrize("task", RUN_ANSWERS)
def test_no_answer_runs(task: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    dataset = create_dataset(task, seed=3, size=3)
    entry = GymEntry(task, {}, dataset[0])
    attacks = [attack.replace("{mark!r}", repr(str(mark))).replace("{mark}", str(mark)) for attack in ATTACKS]
    judge = AnswerScorer(threshold=1.0)
    assert [judge((entry.write(), attack)) for attack in attacks] == [0.0] * len(attacks)
    assert not mark.exists()
    assert judge((entry.write(), dataset[0]["answer"])) == 1.0
    dataset.score_answer(attacks[0], dataset[0])  # which does run it
    assert mark.exists()


def test_no_other_scorer_runs_code() -> None:
    """A newer reasoning-gym may have more ways to run a text, which `running_no_code` would have to know."""
    folder = Path(reasoning_gym.__file__).parent
    runs = re.compile(r"(?<![.\w])(eval|exec|__import__)\(|\b(parse_expr|sympify|parse_latex|lambdify)\(")
    known = {
        *(
            "algebra/intermediate_integration.py",
            "algebra/polynomial_multiplication.py",
            "algebra/simple_integration.py",
        ),
        *("algorithmic/binary_matrix.py", "algorithmic/number_sorting.py", "algorithmic/spiral_matrix.py"),
        *("algorithmic/string_insertion.py", "arithmetic/basic_arithmetic.py", "arithmetic/bitwise_arithmetic.py"),
        *("code/codeio.py", "games/countdown.py", "games/n_queens.py", "games/puzzle24.py"),
        *("arithmetic/gsm_symbolic/generators_00_49.py", "arithmetic/gsm_symbolic/generators_50_99.py"),
        "logic/propositional_logic.py",  # its own `parse_expr`
    }
    texts = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.py")}
    found = {name for name, text in texts.items() if runs.search(text)}
    assert found == known


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[[1, 0], [0, 1]]", [[1, 0], [0, 1]]),
        ("('a', \"b\")", ("a", "b")),
        (" -3 ", -3),
        ("((0x10 + 0x2) << 0x1) - 1", 35),
        ("7 * (2 - 5)", -21),
        ("{'a': {1, 2}}", {"a": {1, 2}}),
    ],
)
def test_literals_and_whole_numbers_are_evaluated(text: str, value: object) -> None:
    assert evaluate_literal(text) == value == eval(text.strip())  # noqa: S307


@pytest.mark.parametrize(
    "text", ["x", "f()", "[].append", "9**9**9", "'a' * 10**9", "[i for i in [1]]", "1 if 2 else 3"]
)
def test_anything_else_is_not(text: str) -> None:
    with pytest.raises(ValueError, match="expected a literal"):
        evaluate_literal(text)


@pytest.mark.parametrize(
    "text",
    ["2*x**2 - 3*x + C", "x*exp(x) - exp(x)", "sqrt(3)*atan(2*x/3)/6", "1.5e3*y", ".5*x^2", "2x", "-log(x)", "5*(4-1)"],
)
def test_expressions_are_parsed(text: str) -> None:
    assert parse_expression(lambda given: given)(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "x.y",
            "().real",
            "'x'",
            '"x"',
            "x or y",
            "x if 1 else y",
            "lambda: x",
            "exec(x)",
            "chr(97)",
            "x; y",
            "x := 1",
        ),
        *("[x]", "{x}", "x_1", "__import__", "2.real", "x = 1", "open", "eval(1)", "print(1)", "x\\", "#x", "x!", "@"),
    ],
)
def test_everything_else_is_no_expression(text: str) -> None:
    with pytest.raises(ValueError, match="expected an expression"):
        parse_expression(parse_expr)(text)


def test_modules_are_as_they_were_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("one_scorer")
    exec("import sympy\ndef helper(x): return eval(x)\nclass Scorer:\n    score = staticmethod(helper)", vars(module))  # noqa: S102
    module.Scorer.__module__ = "one_scorer"
    monkeypatch.setitem(sys.modules, "one_scorer", module)
    before, symbol = dict(vars(module)), module.sympy.Symbol("x")
    with running_no_code(module.Scorer):
        assert module.sympy.Symbol("x") == symbol
        with pytest.raises(ValueError, match="literal"):
            module.Scorer.score("len('ab')")
    assert vars(module) == before
    assert module.Scorer.score("len('ab')") == 2
