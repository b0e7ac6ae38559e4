"""The errors that this package raises on purpose, with a message for the person who can correct the cause.

Each is also a builtin error, which Python code can catch. The command line shows only their message, and a traceback
for every other error.
"""

from __future__ import annotations

__all__ = ["GFTError", "GFTImportError", "GFTRuntimeError", "GFTTypeError", "GFTValueError"]


class GFTError(Exception):
    """Base class of the errors below.

    Example:
        >>> from lightning_gft.checks import check_count
        >>> try:
        ...     check_count("batch_size", 0)
        ... except GFTError as error:
        ...     print(isinstance(error, ValueError), error)
        True `batch_size`: expected a whole number of at least 1, got 0
    """


class GFTValueError(GFTError, ValueError):
    """A setting, a file or a row has an invalid value.

    Example:
        >>> raise GFTValueError("`marker`: expected a text of at least one character, got ''")
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: `marker`: expected a text of at least one character, got ''
    """


class GFTTypeError(GFTError, TypeError):
    """A value has another type than expected.

    Example:
        >>> issubclass(GFTTypeError, TypeError)
        True
    """


class GFTRuntimeError(GFTError, RuntimeError):
    """A run cannot continue, or a part is used before it is ready.

    Example:
        >>> issubclass(GFTRuntimeError, RuntimeError)
        True
    """


class GFTImportError(GFTError, ModuleNotFoundError):
    """A library that a setting requires is not installed.

    Example:
        >>> issubclass(GFTImportError, ImportError)
        True
    """
