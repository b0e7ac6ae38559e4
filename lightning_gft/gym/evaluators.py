"""Evaluators that run no code, for scorers of reasoning-gym that would otherwise run a response as Python."""

from __future__ import annotations

import ast
import operator
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType
from typing import Any

from lightning_gft.checks import shorten
from lightning_gft.errors import GFTValueError

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}
_NAMES = (
    "sqrt|cbrt|exp|log|ln|sin|cos|tan|sec|csc|cot|asin|acos|atan|asec|acsc|acot|sinh|cosh|tanh|asinh|acosh|atanh|"
    "erf|erfi|Si|Ci|Ei|li|Abs|pi|[A-Za-z]"
)
_EXPRESSION = re.compile(
    rf"(?:\s|(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?(?![\w.])|\d++(?=[A-Za-z])|(?:{_NAMES})(?![\w.])|[-+*/^(),])*+"
)
"""Numbers, letters, functions, operators and brackets, but no attribute, no text and no keyword of Python."""


def evaluate_literal(text: str) -> Any:
    """Return the value of a Python literal or a sum of whole numbers; a replacement for ``eval``.

    Raises:
        ValueError: If the text is anything else.
        SyntaxError: If the text is not Python.

    Example:
        >>> evaluate_literal("[[1, 0], [0, 1]]"), evaluate_literal("(0x12 + 0x1) << 0x1")
        ([[1, 0], [0, 1]], 38)
        >>> evaluate_literal("open('file')")
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: expected a literal, got "open('file')"
    """
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except ValueError as error:
        raise GFTValueError(f"expected a literal, got {shorten(text)}") from error


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        left, right = _value(node.left), _value(node.right)
        if type(left) is type(right) is int:
            return _BINARY[type(node.op)](left, right)
    return ast.literal_eval(node)


def parse_expression(parse: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap sympy's ``parse_expr``, which compiles and runs its input, so that it accepts mathematics only.

    Example:
        >>> read = parse_expression(lambda text: text)
        >>> read("2*x**2 - sin(x)/3")
        '2*x**2 - sin(x)/3'
        >>> read("().__class__")
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: expected an expression, got '().__class__'
    """

    def read(text: str, *args: Any, **kwargs: Any) -> Any:
        if not _EXPRESSION.fullmatch(text):
            raise GFTValueError(f"expected an expression, got {shorten(text)}")
        return parse(text, *args, **kwargs)

    return read


class _Library(ModuleType):
    """A stand-in for sympy whose parsers run no code."""

    def __init__(self, library: ModuleType) -> None:
        super().__init__(library.__name__)
        self._library = library
        self.parse_expr = parse_expression(library.parse_expr)
        self.sympify = parse_expression(library.sympify)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)


@contextmanager
def running_no_code(kind: type) -> Iterator[None]:
    r"""Context in which the modules of a class evaluate answers safely: module-level names shadow the builtins.

    The modules change for the whole process, so use the context only in a process that does nothing else meanwhile.

    Example:
        >>> scorer = ModuleType("scorer")
        >>> exec("class Scorer:\n    def score(self, answer): return eval(answer)", vars(scorer))
        >>> sys.modules["scorer"] = scorer
        >>> scorer.Scorer.__module__ = "scorer"
        >>> with running_no_code(scorer.Scorer):
        ...     scorer.Scorer().score("print(1)")
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: expected a literal, got 'print(1)'
    """
    changed = _replacements(kind)
    before = {
        module: {name: names[name] for name in safe if name in names} for module, (names, safe) in changed.items()
    }
    for names, safe in changed.values():
        names.update(safe)
    try:
        yield
    finally:
        for module, (names, safe) in changed.items():
            for name in safe:
                names.pop(name)
            names.update(before[module])


@lru_cache(maxsize=256)
def _replacements(kind: type) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return, for each module of a class, its names to replace and their replacements."""
    modules = {base.__module__ for base in kind.__mro__} - {"abc", "builtins", "collections.abc", "typing"}
    found = {}
    for module in sorted(modules):
        names = vars(sys.modules[module])
        safe: dict[str, Any] = {"eval": evaluate_literal, "exec": _reject_code, "compile": _reject_code}
        for name, value in names.items():
            if isinstance(value, ModuleType) and value.__name__ == "sympy":
                safe[name] = _Library(value)
            elif getattr(value, "__module__", "") == "sympy.parsing.sympy_parser" and name == "parse_expr":
                safe[name] = parse_expression(value)
        found[module] = names, safe
    return found


def _reject_code(*_: Any, **__: Any) -> None:
    raise GFTValueError("expected a scorer that runs no code, got one that does; leave the task out")
