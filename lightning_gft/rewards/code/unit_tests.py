"""Reads a row's unit tests: asserts, or inputs with their outputs."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lightning_gft.errors import GFTValueError
from lightning_gft.rewards.text import shown

Operation = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in", "is", "is not", "json"]
_OPERATIONS: dict[type[ast.cmpop], Operation] = {
    **{ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="},
    **{ast.In: "in", ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not"},
}
_DEFINITIONS = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Pass),
    *(ast.Assign, ast.AnnAssign, ast.AugAssign),
)


@dataclass(frozen=True)
class Step:
    """A request to a program under test.

    Args:
        kind: ``"run"`` executes a statement. ``"value"`` evaluates an expression, whose value is compared outside the
            sandbox with one that never enters it. ``"truth"`` evaluates the truth of an expression.
        code: The statement or the expression.
        operation: Comparison of the value with the expected one.
        expected: Right side of the comparison.
    """

    kind: Literal["run", "value", "truth"]
    code: str
    operation: Operation = "=="
    expected: Any = None


@dataclass(frozen=True)
class CallTest:
    """Steps that must all succeed, one after another."""

    steps: tuple[Step, ...]


@dataclass(frozen=True)
class OutputTest:
    """Standard input of a whole program, and its expected output."""

    stdin: str
    expected: str


UnitTests = Sequence[CallTest] | Sequence[OutputTest]


def read_tests(reference: Any) -> UnitTests:
    """Return the unit tests of a reference.

    Args:
        reference: A text of asserts; a list of such texts, each of which is one test; or ``{"inputs": [...],
            "outputs": [...]}``, with ``"fn_name"`` to call a function instead of running a program. The last two
            may also be JSON texts.

    Raises:
        ValueError: If the reference is anything else, or holds no test.

    Example:
        >>> read_tests("assert add(1, 2) == 3")[0].steps
        (Step(kind='value', code='add(1, 2)', operation='==', expected=3),)
        >>> read_tests({"inputs": ["1 2"], "outputs": ["3"]})
        [OutputTest(stdin='1 2', expected='3')]
    """
    data = _from_json(reference) if isinstance(reference, str) else reference
    tests: UnitTests = []
    if isinstance(data, str):
        tests = _tests_of_text(data)
    elif isinstance(data, list | tuple) and all(isinstance(text, str) for text in data):
        tests = [_test(_parsed(text)) for text in data]
    elif isinstance(data, Mapping) and _are_pairs(data):
        tests = _calls(data) if data.get("fn_name") else _outputs(data)
    if not tests or any(isinstance(test, CallTest) and not test.steps for test in tests):
        raise GFTValueError(
            "the unit tests of CodeExecutionReward: expected asserts, a list of them, or inputs and as many outputs, "
            f"got {shown(reference)}; correct the data, call the tests that are only defined, or name another "
            "tests_column"
        )
    return tests


def _from_json(text: str) -> Any:
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text  # Python, which may begin like JSON


def _are_pairs(data: Mapping[str, Any]) -> bool:
    inputs, outputs = data.get("inputs"), data.get("outputs")
    return isinstance(inputs, list | tuple) and isinstance(outputs, list | tuple) and len(inputs) == len(outputs)


def _outputs(data: Mapping[str, Any]) -> list[OutputTest]:
    return [
        OutputTest(_lines(given), _lines(expected))
        for given, expected in zip(data["inputs"], data["outputs"], strict=True)
    ]


def _lines(text: Any) -> str:
    return "\n".join(str(line) for line in text) if isinstance(text, list | tuple) else str(text)


def _calls(data: Mapping[str, Any]) -> list[CallTest]:
    """Return a call for each input, a list of arguments; the function may be a method of ``Solution``."""
    name = data["fn_name"]
    if not isinstance(name, str) or not name.isidentifier():
        raise GFTValueError(
            f"the unit tests of CodeExecutionReward: expected a function's name as fn_name, got {shown(name)}; correct "
            "the data"
        )
    function = f"(Solution().{name} if 'Solution' in globals() and {name!r} not in globals() else {name})"
    tests = []
    for arguments, expected in zip(data["inputs"], data["outputs"], strict=True):
        if not isinstance(arguments, list | tuple):
            raise GFTValueError(
                f"the unit tests of CodeExecutionReward: expected a list of arguments for {name}, got "
                f"{shown(arguments)}; write one argument as a list of one"
            )
        tests.append(CallTest((Step("value", f"{function}(*{list(arguments)!r})", "json", expected),)))
    return tests


def _tests_of_text(text: str) -> list[CallTest]:
    """Return a test for each assert, with the statements since the previous one; without any, one test of the text."""
    tests: list[CallTest] = []
    pending: list[ast.stmt] = []
    for statement in _parsed(text):
        pending.append(statement)
        if isinstance(statement, ast.Assert):
            tests.append(_test(pending))
            pending = []
    return tests if tests and not _checks_something(pending) else [*tests, _test(pending)]


def _parsed(text: str) -> list[ast.stmt]:
    try:
        return ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise GFTValueError(
            f"the unit tests of CodeExecutionReward: expected Python, got {shown(text)} ({error}); correct the data"
        ) from error


def _test(statements: Sequence[ast.stmt]) -> CallTest:
    """Return a test of some statements; it has no steps if they check nothing."""
    if not _checks_something(statements):
        return CallTest(())
    return CallTest(
        tuple(
            _assertion(statement.test) if isinstance(statement, ast.Assert) else Step("run", ast.unparse(statement))
            for statement in statements
        )
    )


def _checks_something(statements: Sequence[ast.stmt]) -> bool:
    """Return whether any statement is more than a definition: a test that is only defined can never fail."""
    return any(
        not isinstance(statement, _DEFINITIONS)
        and not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in statements
    )


def _assertion(test: ast.expr) -> Step:
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        operation, sides = _OPERATIONS[type(test.ops[0])], [test.left, test.comparators[0]]
        if operation in ("==", "!=") and _is_literal(sides[0]):
            sides.reverse()
        value, expected = sides
        if _is_literal(expected) and not _is_literal(value):
            return Step("value", ast.unparse(value), operation, ast.literal_eval(expected))
    return Step("truth", ast.unparse(test))


def _is_literal(expression: ast.expr) -> bool:
    try:
        ast.literal_eval(expression)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return False
    return True
