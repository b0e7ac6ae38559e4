"""The errors that this package raises on purpose, with a message for the person who can correct the cause.

Each is also a builtin error, which Python code can catch. The command line shows only their message, and a traceback
for every other error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = [
    "GFTError",
    "GFTImportError",
    "GFTRuntimeError",
    "GFTTypeError",
    "GFTUsageError",
    "GFTValueError",
]

_FIELD = re.compile(r"`([\w.-]+)`(?: of (\w+))?(?=(?: \((?:'.*?'|\".*?\")\))?: )")
"""The option that an error of this package begins with, and its class; the option's value may follow.

An error about a part as a whole begins with the part's class instead of an option.
"""

_LAST_FIELD = re.compile(r"`([\w.-]+)`: $")


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


class GFTUsageError(GFTValueError):
    """The arguments of a command, or a configuration file, cannot be read or name something that does not exist.

    It is raised before any part of a run is built; the command line exits with another status than for other errors.

    Example:
        >>> issubclass(GFTUsageError, ValueError)
        True
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


def place_of(message: str, options: Collection[str], classes: Collection[str] = ()) -> int | None:
    """Return where the message of an error names one of some options, or their part; ``None`` if it does nowhere.

    Args:
        message: Message of an error.
        options: Options of a part.
        classes: Names of the part's class and its bases. A message with the class of an option must have one of them;
            empty for any.

    Example:
        >>> place_of("train data: `prompt_column`: expected a column, got none", ["path", "prompt_column"])
        12
        >>> place_of("`path` of GroupWriter: expected a folder, got none", ["path"], ["GroupDataModule"])
        >>> place_of("`ExpertSource`: expected a column, got none", ["num_responses"], ["ExpertSource"])
        0
    """
    found = (match.start() for match in _FIELD.finditer(message) if _is_of(match, options, classes))
    return next(found, None)


def prefixed(
    message: str, path: str, options: Collection[str] = (), kind: str = "", classes: Collection[str] = ()
) -> str:
    """Return the message of an error so that it begins with the full setting that it is about.

    Args:
        message: Message that may begin with an option in backticks.
        path: Full setting of the part that the error is about.
        options: Options of the part.
        kind: Class of the part, shown if the message begins with none of its options.
        classes: Names of the part's class and its bases, as in :func:`place_of`.

    Example:
        >>> prefixed("`top_k` of SelfSource: expected 0, got -1", "model.sampler.sources.self", ["top_k"])
        '`model.sampler.sources.self.top_k`: expected 0, got -1'
        >>> prefixed("`SelfSource`: expected a tokenizer, got none", "sources.self", classes=["SelfSource"])
        '`sources.self`: expected a tokenizer, got none'
        >>> prefixed("Invalid learning rate: -1.0", "model.optimizer", ["lr"], "torch.optim.AdamW")
        '`model.optimizer` (torch.optim.AdamW): Invalid learning rate: -1.0'
    """
    match = _FIELD.match(message)
    field, rest = (match[1], message[match.end() :]) if match else ("", "")
    first, _, below = field.partition(".")
    if field in classes:
        return f"`{path}`{rest}"
    if match and _is_of(match, options, classes):
        return f"`{path}.{field}`{rest}"
    if match and path.endswith(f".{field}"):  # such as `stages.sft.optimizer` of trainer.callbacks[0]
        return f"`{path}`{rest}"
    if first == path.rpartition(".")[2]:  # such as `lora.r` of model.policy.lora
        return f"`{path}{below and f'.{below}'}`{rest}"
    if below and first == path.partition(".")[0]:  # the full setting already
        return message
    return f"`{path}`{kind and f' ({kind})'}: {message}"


def without_repeated(before: str, path: str) -> str:
    """Return what precedes the full setting in the message of an error, without a part of that setting at its end.

    Example:
        >>> without_repeated("train data: `sources.self`: ", "model.sampler.sources.self.teacher")
        'train data: '
        >>> without_repeated("`stages.sft`: ", "model.sampler")
        '`stages.sft`: '
    """
    match = _LAST_FIELD.search(before)
    return before[: match.start()] if match and f".{match[1]}." in f".{path}." else before


def replaced(message: str, option: str, setting: str) -> str:
    """Return the message of an error with a setting in place of the option that follows from it.

    Example:
        >>> replaced("`path` of GroupWriter: expected a new folder, got groups", "path", "trainer.default_root_dir")
        '`trainer.default_root_dir`: expected a new folder, got groups'
    """
    return _FIELD.sub(lambda match: f"`{setting}`" if match[1] == option else match[0], message)


def _is_of(match: re.Match[str], options: Collection[str], classes: Collection[str]) -> bool:
    option, kind = match.groups()
    if option in classes:
        return True
    return option.partition(".")[0] in options and not (kind and classes and kind not in classes)


def remedies(*clauses: str) -> str:
    """Return the end of an error with several remedies; what follows a question is a sentence of its own.

    Args:
        clauses: Remedies, each with or without a semicolon before it; empty ones are left out.

    Example:
        >>> remedies("; did you mean batch_size?", "there are batch_size, seed")
        '; did you mean batch_size? There are batch_size, seed'
        >>> remedies("", "use a list", "or one name")
        '; use a list; or one name'
    """
    joined = ""
    for clause in filter(None, (clause.removeprefix("; ") for clause in clauses)):
        joined += f" {clause[0].upper()}{clause[1:]}" if joined.endswith("?") else f"; {clause}"
    return joined


Namer = Callable[[BaseException], None]
_NAMER: ContextVar[Namer | None] = ContextVar("namer", default=None)
_SETTINGS: ContextVar[tuple[tuple[str, Collection[str]], ...]] = ContextVar("settings", default=())
_OF_CHECKS = (ValueError, GFTTypeError)
"""Errors of checks; any other may be a mistake in the code, which keeps its class and its traceback."""
OF_FACTORIES = (AssertionError, TypeError, ValueError)
"""Errors of a factory of an optimizer or a schedule, most of which are about its arguments."""


@contextmanager
def completing_errors(name: Namer) -> Iterator[None]:
    """Context in which errors get the full settings that they are about, which only the code around it knows.

    Args:
        name: Changes the message of an error.

    Example:
        >>> def name(error: BaseException) -> None:
        ...     error.args = (f"`model.loss`: {error}",)
        >>> with completing_errors(name):
        ...     raise ValueError("no learning rate")
        Traceback (most recent call last):
        ValueError: `model.loss`: no learning rate
    """
    token = _NAMER.set(name)
    try:
        yield
    except Exception as error:
        name(error)
        raise
    finally:
        _NAMER.reset(token)


def with_setting(error: BaseException) -> BaseException:
    """Return an error that will not be raised, named by the context around it; see :func:`completing_errors`."""
    if name := _NAMER.get():
        name(error)
    return error


@contextmanager
def naming_errors(
    path: str, options: Collection[str] = (), kinds: tuple[type[Exception], ...] = _OF_CHECKS
) -> Iterator[None]:
    """Context in which errors begin with the setting of a part, of a function or of one of their options.

    Args:
        path: Setting of what is checked or called, as in ``stages.sft``.
        options: Its options, which errors name without it.
        kinds: Classes of these errors, by default those of checks; a factory that gets wrong arguments may raise more.

    Example:
        >>> with naming_errors("stages.sft", options=["max_steps"]):
        ...     raise ValueError("`max_steps`: expected a length, got none")
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: `stages.sft.max_steps`: expected a length, got none
        >>> with naming_errors("model.optimizer"):
        ...     raise ValueError("Invalid learning rate: -1.0")
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: `model.optimizer`: Invalid learning rate: -1.0
    """
    token = _SETTINGS.set((*_SETTINGS.get(), (path, options)))
    try:
        yield
    except kinds as error:
        if getattr(error, "gft_named", False):  # by the command line, which knows the full setting
            raise
        kind = GFTTypeError if isinstance(error, TypeError) else GFTValueError
        raise kind(prefixed(str(error), path, options)) from error
    finally:
        _SETTINGS.reset(token)


def named(warning: str) -> str:
    """Return the text of a warning as each :func:`naming_errors` around it would name an error.

    Example:
        >>> with naming_errors("stages.sft.lr_scheduler"):
        ...     named("`lr_scheduler`: the warm-up is longer than the run")
        '`stages.sft.lr_scheduler`: the warm-up is longer than the run'
        >>> named("`lr_scheduler`: the warm-up is longer than the run")
        '`lr_scheduler`: the warm-up is longer than the run'
    """
    for path, options in reversed(_SETTINGS.get()):
        warning = prefixed(warning, path, options)
    return warning
