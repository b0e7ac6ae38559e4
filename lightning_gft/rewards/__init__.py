"""Rewards: they score responses, and their total combines several of them.

The names are declared in ``__init__.pyi`` and imported on first access. A worker process that needs one module of this
package therefore imports only that one.
"""

from pathlib import Path

from lightning_gft.lazy import homes, lazily

_HOMES = homes(Path(__file__).with_suffix(".pyi"))
__all__ = [*_HOMES]
__getattr__ = lazily(globals(), _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
