"""Optional libraries, which only some parts need."""

from __future__ import annotations

from importlib.util import find_spec

from lightning_gft.errors import GFTImportError


def require(library: str, setting: str, extra: str) -> None:
    """Check that the library of a setting is installed.

    Args:
        library: Name of the library's module.
        setting: Setting that needs it.
        extra: Extra of this package that installs it.

    Raises:
        ModuleNotFoundError: If it is not installed.

    Example:
        >>> require("colossus", setting="lora", extra="lora")
        Traceback (most recent call last):
        lightning_gft.errors.GFTImportError: lora needs colossus, which is not installed: pip install ...
    """
    if find_spec(library) is None:
        raise GFTImportError(f"{setting} needs {library}, which is not installed: pip install 'lightning-gft[{extra}]'")
