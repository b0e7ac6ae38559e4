"""Names that a package imports on first access."""

from __future__ import annotations

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def homes(stub: Path) -> dict[str, str]:
    """Return the defining module of each name that the stub of a package imports.

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
    """Return the ``__getattr__`` of a package that imports its names on first access.

    Args:
        package: The package's globals, which receive the imported names.
        names: Modules by name, as returned by :func:`homes`.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package['__name__']!r} has no attribute {name!r}")
        home = names[name]
        value = import_module(f"{home}.{name}") if home == package["__name__"] else getattr(import_module(home), name)
        package[name] = value  # later accesses find it directly
        return value

    return get
