"""What a page leaves out of a configuration: whose machine a run was on, and what opens something there."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

REMOVED = "(removed)"
_SECRET = re.compile(
    r"(?:^|[_.-])(?:api_?key|access_?key|private_?key|secret|token|password|passwd|passphrase|credentials?|auth|authorization|"
    r"user|username|user_name|email|entity|account|host|hostname|host_name|master_addr|address|ip|dsn|headers?|env|"
    r"environ|environment)$",
    re.IGNORECASE,
)
"""Names of settings whose texts are never shown."""
_KEYS = re.compile(
    r"\b(?:hf|sk|pk|rk|gh[pousr]|glpat|xox[abpors]|AKIA|ASIA|ya29|github_pat|dop_v1|nvapi|wandb_v1)[_.-]?[A-Za-z0-9_.-]{12,}"
    r"|\beyJ[\w-]{8,}\.[\w.-]+"
    r"|(?i:\bbearer\s+)\S+"
    r"|\b(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9+]{32,}={0,2}"
)
"""Texts that look like keys, by their known beginnings or as a long word with digits in it."""
_URL = re.compile(r"\b([a-z][a-z0-9+.-]*)://[^\s\"'<>]*", re.IGNORECASE)
_PATH = re.compile(
    r"(?<![\w./<~$}])(?:~|\$\w+|\$\{\w+\})?(?:/[\w.@+=,%-]+){2,}/?|(?<!\w)[A-Za-z]:\\[\w.@+=,%\\ -]+|\\\\[\w.$\\-]+"
)
_ADDRESS = re.compile(
    r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?(?![\w.])|\b[\w.+-]+@[\w-]+\.[\w.-]+|\b[\w-]+(?:\.[\w-]+)*\.(?:local|internal|lan|corp)\b"
)
_REVISION = re.compile(r"(?:^|[_.-])(?:revision|commit|sha)$")


def redacted(value: Any, name: str = "") -> Any:
    """Return a configuration without what belongs to a person or a machine.

    Args:
        value: A part of it.
        name: The name of the setting.

    Example:
        >>> redacted({"path": "/home/joe/data/train.jsonl", "api_key": "abc", "lr": 0.1})
        {'path': 'train.jsonl', 'api_key': '(removed)', 'lr': 0.1}
        >>> redacted("http://joe:pw@10.0.0.7:8000/v1?key=1")
        'http://(removed)'
    """
    if isinstance(value, Mapping):
        return {
            redacted(str(key)): redacted(of, name if _SECRET.search(name) else str(key)) for key, of in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [redacted(of, name) for of in value]
    if not isinstance(value, str):
        return value
    if _SECRET.search(name):
        return REMOVED
    return _without_owner(value) if _REVISION.search(name) else _without_owner(_KEYS.sub(REMOVED, value))


def _without_owner(text: str) -> str:
    if re.fullmatch(r"(?:~|/)[^\n<>]*", text) and "\n" not in text and len(text) > 1:
        return _last(text)
    text = _URL.sub(lambda match: f"{match[1]}://{REMOVED}", text)
    text = _PATH.sub(lambda match: _last(match[0]), text)
    text = _ADDRESS.sub(REMOVED, text)
    return (
        re.sub(rf"(?<!\w)(?:{'|'.join(map(re.escape, _own_names()))})(?!\w)", REMOVED, text) if _own_names() else text
    )


def _last(path: str) -> str:
    return PureWindowsPath(path).name if "\\" in path else PurePosixPath(path).name or path


@cache
def _own_names() -> tuple[str, ...]:
    """Return the names of this machine and of whoever writes the page, which may be those of the run."""
    names = {socket.gethostname(), socket.gethostname().partition(".")[0]}
    with suppress(OSError, KeyError, ImportError):  # a process may have no user with a name
        names.add(getpass.getuser())
    return tuple(sorted((name for name in names if len(name) > 2 and name not in _COMMON), key=len, reverse=True))


_COMMON = ("root", "localhost", "user", "admin", "main")
"""Names that tell of no one, and stand in configurations with other meanings."""
