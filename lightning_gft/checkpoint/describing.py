"""What a run was made of, in words, for its checkpoints and for the card of what is exported from them."""

from __future__ import annotations

import inspect
from dataclasses import is_dataclass
from pathlib import Path

_PLAIN = (bool, int, float, str)


def describe(part: object) -> str:
    """Return a part of a run with what it was made with, as far as it is plain.

    Args:
        part: Anything that keeps its arguments under their names.

    Example:
        >>> from lightning_gft import NumericReward
        >>> describe(NumericReward(marker="####"))
        "NumericReward(marker='####', tolerance=1e-06, weight=1.0)"
    """
    if is_dataclass(part):
        return repr(part)
    names = [name for name in inspect.signature(type(part).__init__).parameters if hasattr(part, name)]
    shown = [f"{name}={_shown(getattr(part, name))}" for name in names if isinstance(getattr(part, name), _PLAIN)]
    shown += [repr(value) for value in vars(part).values() if is_dataclass(value)]
    return f"{type(part).__name__}({', '.join(shown)})"


def _shown(value: object) -> str:
    """Return a value as Python writes it, but only the last part of a path, which means nothing elsewhere."""
    is_path = isinstance(value, str) and "/" in value and Path(value).exists()
    return repr(Path(str(value)).name if is_path else value)
