"""Finds the parts of a text that belong to a person or a machine."""

from __future__ import annotations

import getpass
import re
import socket
from contextlib import suppress
from functools import cache

REMOVED = "(removed)"
_KEYS = re.compile(
    r"-----BEGIN[\s\S]*"
    r"|\b(?:hf|sk|pk|rk|gh[pousr]|glpat|xox[abpors]|AKIA|ASIA|AIza|ya29|github_pat|dop_v1|nvapi|wandb_v1)[_.-]?[A-Za-z0-9_.-]{12,}"
    r"|\beyJ[\w-]{8,}\.[\w.-]+"
    r"|(?i:\bbearer\s+)\S+|(?i:\bauthorization\s*:).*"
    r"|(?i:[\w-]*(?:password|passwd|secret|token|key)\s*=\s*)\S+|(?i:--[\w-]*(?:password|secret|token|key)\s+)\S+"
    r"|\b(?=[A-Za-z+/]*\d)(?=[\d+/]*[A-Za-z])[A-Za-z0-9+]{32,}={0,2}"
    r"|\b(?=[a-z\d+/]*[A-Z])(?=[A-Z\d+/]*[a-z])(?=[A-Za-z+/]*\d)[A-Za-z0-9+/]{40,}={0,2}"
)
"""Texts that look like keys: by a known prefix, by the text before them, or as a long word with digits."""
_URL = re.compile(r"\b([a-z][a-z0-9+.-]*)://[^\s\"'<>]*", re.IGNORECASE)
_PATH = re.compile(
    r"(?<![\w./<~$}])(?:~\w*|\$\w+|\$\{\w+\}|\.\.?)?(?:/[\w.@+=,%-]+){2,}/?"
    r"|(?<![\w./])(?:~[A-Za-z]\w*|(?:~\w*|\$\w+|\$\{\w+\}|\.\.|/?home|/?[Uu]sers)(?:/[\w.@+=,%-]+)+)/?"
    r"|(?<!\w)[A-Za-z]:[\\/][\w.@+=,%\\/ -]+|\\\\[\w.$\\-]+"
)
_ADDRESS = re.compile(
    r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?(?![\w.])"
    r"|(?<![\w:])(?:[\da-fA-F]{1,4}:){1,7}(?::[\da-fA-F]{1,4}){1,7}(?![\w:])"
    r"|(?<![\w:])(?:[\da-fA-F]{1,4}:){7}[\da-fA-F]{1,4}(?![\w:])"
    r"|\b(?!(?:pass|maj|mean)@)[\w.+-]+@[A-Za-z][\w.-]*"
    r"|\b[\w-]+(?:\.[\w-]+)*\.(?:local|internal|lan|corp|com|org|net|edu|gov|io|ai|dev|cloud)\b(?::\d+)?"
)
_HOMES = {"home", "homes", "user", "users", "people", ".."}
"""Names of folders that hold the folders of persons."""
_COMMON = ("root", "localhost", "user", "admin", "main")
"""Names that identify no one, and have other meanings in configurations."""


def without_owner(text: str) -> str:
    """Remove paths, keys, hosts and addresses from a text, and the names of this machine and its user.

    Example:
        >>> without_owner("no row in /home/joe/runs/gft; look at val/pass@8")
        'no row in gft; look at val/pass@8'
        >>> without_owner("http://joe:pw@10.0.0.7:8000/v1?key=1")
        'http://(removed)'
    """
    text = _KEYS.sub(REMOVED, _URL.sub(lambda match: f"{match[1]}://{REMOVED}", text))
    text = _PATH.sub(lambda match: last_part(match[0]) or REMOVED, text)
    text = _ADDRESS.sub(REMOVED, text)
    names = "|".join(map(re.escape, _own_names()))
    return re.sub(rf"(?<![^\W_])(?:{names})(?![^\W_])", REMOVED, text) if names else text


def last_part(path: str) -> str | None:
    r"""Return the last part of a path, or ``None`` if it may be the folder of a person.

    Example:
        >>> last_part("/home/joe/data/train.jsonl"), last_part(r"C:\Users\joe\runs")
        ('train.jsonl', 'runs')
        >>> [last_part(path) for path in ("/home/joe/", "/nfs/home/j/joe", "/joe", "~joe", "../joe", "/home/joe/joe")]
        [None, None, None, None, None, None]
    """
    parts = [part for part in re.split(r"[\\/]+", path) if part not in ("", ".")]
    if not parts or parts[-1] == ".." or parts[-1].startswith("~"):
        return None
    homes = [number for number, part in enumerate(parts) if part.lower() in _HOMES]
    if homes:
        own = parts[homes[-1] + 1 :]
        own = own[1:] if own and len(own[0]) == 1 else own  # a folder of one letter groups persons by initial
        return parts[-1] if len(own) > 1 and parts[-1] != own[0] else None
    anchored = re.match(r"[\\/]|[A-Za-z]:[\\/]", path) is not None
    return parts[-1] if len(parts) > 2 or not anchored else None


@cache
def _own_names() -> tuple[str, ...]:
    """Return the names of this machine and of its user, who may also have made the run."""
    names = {socket.gethostname(), socket.gethostname().partition(".")[0]}
    with suppress(OSError, KeyError, ImportError):  # a process may have no named user
        names.add(getpass.getuser())
    return tuple(sorted((name for name in names if len(name) > 2 and name not in _COMMON), key=len, reverse=True))
