"""The errors that this package raises on purpose, with a message for the person who can put it right.

Each is also the builtin error that Python code catches. The command line shows the message alone, and a traceback for
every other error.
"""

from __future__ import annotations

__all__ = ["GFTError", "GFTImportError", "GFTRuntimeError", "GFTTypeError", "GFTValueError"]


class GFTError(Exception):
    """Base of the errors below.

    Example:
        >>> from lightning_gft.checks import check_count
        >>> try:
        ...     check_count("batch_size", 0)
        ... except GFTError as error:
        ...     print(isinstance(error, ValueError), error)
        True `batch_size`: expected a whole number of at least 1, got 0
    """


class GFTValueError(GFTError, ValueError):
    """A setting, a file or a row has a value that does not work.

    Example:
        >>> raise GFTValueError("`marker`: expected a text of at least one character, got ''")
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: `marker`: expected a text of at least one character, got ''
    """


class GFTTypeError(GFTError, TypeError):
    """A value is of another type than the one expected.

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
    """A library that a setting needs is not installed.

    Example:
        >>> issubclass(GFTImportError, ImportError)
        True
    """
