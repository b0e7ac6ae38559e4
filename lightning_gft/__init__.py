"""Group Fine-Tuning for language models, as PyTorch Lightning modules.

Public names are imported when they are first asked for: ``import lightning_gft`` alone is quick, and
``lightning_gft.functional`` needs nothing but torch. The names stand in ``__init__.pyi``, and nowhere else.
"""

from pathlib import Path

from lightning_gft.lazy import homes, lazily

__version__ = "0.1.0"

_HOMES = homes(Path(__file__).with_suffix(".pyi"))
__all__ = [*_HOMES, "__version__"]
__getattr__ = lazily(globals(), _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
