"""Names the component of a configuration whose constructor has raised an error."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lightning_gft.errors import GFTError, GFTValueError

_FIELD = re.compile(r"`(?P<quoted>[\w.]+)`(?: of \w+)?(?=: )|(?P<plain>[a-z_][\w.]*)(?=: expected |=)")
"""The setting that an error of this package begins with."""

Instantiator = Callable[..., Any]


def naming(instantiate: Instantiator, config: Namespace) -> Instantiator:
    """Wrap an instantiator of jsonargparse, so that errors of a constructor name the component's full setting.

    Args:
        instantiate: Called with a class and the arguments of its constructor.
        config: All settings of the command, in which the component is looked up.
    """

    @functools.wraps(instantiate)
    def build(kind: type, *args: Any, **arguments: Any) -> Any:
        try:
            return instantiate(kind, *args, **arguments)
        except (GFTError, MisconfigurationException, ValueError) as error:
            path, name = find(kind, arguments, config)
            raise named(error, path, arguments, name) from error

    return build


@contextmanager
def naming_setting(path: str) -> Iterator[None]:
    """Context in which a library's error about a value begins with a setting.

    Example:
        >>> with naming_setting("trainer"):
        ...     raise ValueError("invalid limit_val_batches")
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: `trainer`: invalid limit_val_batches
    """
    try:
        yield
    except (MisconfigurationException, ValueError) as error:
        if isinstance(error, GFTError):
            raise
        raise GFTValueError(f"`{path}`: {error}") from error


def named(error: Exception, path: str, arguments: Mapping[str, Any], name: str) -> Exception:
    """Return an error that begins with the full setting that it is about.

    Args:
        error: Raised by the constructor of a component.
        path: Setting of the component; empty if it is not known.
        arguments: Arguments of the constructor.
        name: Name of the component's class.

    Returns:
        An error of the same class if it is one of this package, and otherwise a :class:`GFTValueError`.

    Example:
        >>> error = GFTValueError("`top_k` of SelfSource: expected a whole number of at least 0, got -1")
        >>> named(error, "model.sampler.sources.self", {"top_k": -1}, "lightning_gft.SelfSource")
        GFTValueError('`model.sampler.sources.self.top_k`: expected a whole number of at least 0, got -1')
        >>> named(ValueError("Invalid learning rate: -1.0"), "model.optimizer", {"lr": -1.0}, "torch.optim.AdamW")
        GFTValueError('`model.optimizer` (torch.optim.AdamW): Invalid learning rate: -1.0')
    """
    kind = type(error) if isinstance(error, GFTError) else GFTValueError
    return kind(_message(str(error), path, arguments, name, isinstance(error, GFTError)))


def _message(message: str, path: str, arguments: Mapping[str, Any], name: str, ours: bool) -> str:
    if not path:
        return message if ours else f"{name}: {message}"
    if ours and (match := _FIELD.match(message)):
        field = match["quoted"] or match["plain"]
        first, _, below = field.partition(".")
        rest = message[match.end() :]
        if first in arguments:
            return f"`{path}.{field}`{rest}"
        if first == path.rpartition(".")[2]:  # such as `lora.r` of model.policy.lora
            return f"`{path}{below and f'.{below}'}`{rest}"
        if first == path.partition(".")[0]:  # the full setting already
            return message
    return f"`{path}` ({name}): {message}"


def find(kind: type, arguments: Mapping[str, Any], config: Namespace) -> tuple[str, str]:
    """Return where a configuration has a component, and the name of its class there.

    A component is the first place of its class with the same plain arguments: two of them fail alike.

    Args:
        kind: Class of the component.
        arguments: Arguments of its constructor; those that are components are built already.
        config: All settings of a command.

    Example:
        >>> from torch.optim import SGD
        >>> config = Namespace(model=Namespace(optimizer=Namespace(class_path="torch.optim.SGD",
        ...     init_args=Namespace(lr=-1.0))))
        >>> find(SGD, {"lr": -1.0}, config), find(SGD, {"lr": -2.0}, config)
        (('model.optimizer', 'torch.optim.SGD'), ('', 'torch.optim.sgd.SGD'))
    """
    for path, class_path, settings in _components(config, ""):
        is_kind = class_path.rpartition(".")[2] == kind.__name__ if class_path else settings
        if path and is_kind and all(name in arguments and _agree(settings[name], arguments[name]) for name in settings):
            return path, class_path or kind.__name__
    return "", f"{kind.__module__}.{kind.__qualname__}"


def _components(node: Any, path: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the path, the class path and the arguments of all mappings in a configuration."""
    if isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from _components(value, f"{path}[{number}]")
        return
    if not isinstance(node, Namespace | dict):
        return
    settings: dict[str, Any] = dict(vars(node) if isinstance(node, Namespace) else node)
    class_path = str(settings.get("class_path") or "")
    if class_path:
        init_args = settings.get("init_args") or {}
        settings = dict(vars(init_args) if isinstance(init_args, Namespace) else init_args)
    yield path, class_path, settings
    for name, value in settings.items():
        yield from _components(value, f"{path}.{name}" if path else str(name))


def _agree(setting: Any, argument: Any) -> bool:
    return not isinstance(setting, str | int | float | None) or setting == argument
