"""Rewards: what scores a response, and how several of them make one number.

The names stand in ``__init__.pyi`` and are imported when they are first asked for, so that a worker process which needs
one module of this package imports that alone.
"""

from pathlib import Path

from lightning_gft.lazy import homes, lazily

_HOMES = homes(Path(__file__).with_suffix(".pyi"))
__all__ = [*_HOMES]
__getattr__ = lazily(globals(), _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
