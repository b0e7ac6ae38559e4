"""What this package raises for users is recognisable, and still the builtin error that their code catches."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest

import lightning_gft
from lightning_gft import errors
from lightning_gft.checks import check_count

PACKAGE = Path(lightning_gft.__file__).parent
BUILTIN = {"ValueError", "TypeError", "RuntimeError", "ImportError", "ModuleNotFoundError", "Exception"}


def test_package_raises_its_own_errors():
    raised = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
        and node.exc.func.id in BUILTIN
    ]
    assert not raised, "raise the class of lightning_gft.errors instead"


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"GFTError"}))
def test_own_error_is_caught_as_the_builtin_one_and_travels_between_processes(name):
    kind = getattr(errors, name)
    again = pickle.loads(pickle.dumps(kind("`a`: expected b")))  # noqa: S301
    assert (type(again), str(again)) == (kind, "`a`: expected b")
    assert issubclass(kind, errors.GFTError)
    assert any(base.__module__ == "builtins" for base in kind.__mro__[: kind.__mro__.index(Exception)])


def test_checks_raise_own_errors():
    with pytest.raises(errors.GFTTypeError):
        check_count("a", "b")
    with pytest.raises(errors.GFTValueError):
        check_count("a", 0)
