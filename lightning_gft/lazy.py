"""Names that a package imports when they are first asked for."""

from __future__ import annotations

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def homes(stub: Path) -> dict[str, str]:
    """Return the module that defines each name which the stub of a package imports.

    Example:
        >>> import lightning_gft
        >>> homes(Path(lightning_gft.__file__).with_suffix(".pyi"))["SFTLoss"]
        'lightning_gft.losses'
    """
    return {
        alias.name: statement.module
        for statement in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(statement, ast.ImportFrom) and statement.module
        for alias in statement.names
    }


def lazily(package: dict[str, Any], names: dict[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package that imports its names when they are first asked for.

    Args:
        package: The package's globals.
        names: From :func:`homes`.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package['__name__']!r} has no attribute {name!r}")
        home = names[name]
        value = import_module(f"{home}.{name}") if home == package["__name__"] else getattr(import_module(home), name)
        package[name] = value  # found directly from now on
        return value

    return get
