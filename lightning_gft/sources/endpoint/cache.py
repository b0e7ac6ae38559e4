"""Replies on disk."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

from lightning_gft.errors import GFTValueError
from lightning_gft.sources.endpoint.replies import Reply


class ReplyCache:
    """A folder with one file for each reply.

    A file gets its name when it is whole, so processes on several machines may share the folder, over a network too,
    and one that is killed leaves no lock and no half of a reply. What is damaged concerns one reply.

    Args:
        path: The folder; made when it is opened.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cache = ReplyCache(folder)
        ...     cache.put("a1b2", Reply("2", "", "stop"))
        ...     cache.get("a1b2").text, cache.get("b1b2")
        ('2', None)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().absolute()  # a run may change its folder

    def open(self) -> None:
        """Make the folder.

        Raises:
            ValueError: If it cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.path).close()
        except OSError as error:
            raise GFTValueError(
                f"`cache` of EndpointSource: expected a folder that can be written to, got {str(self.path)!r} "
                f"({error.strerror}); name another"
            ) from error

    def get(self, key: str) -> Reply | None:
        """Return a reply; ``None`` where there is none, or none that can be read."""
        path = self._file(key)
        try:
            return Reply.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            warnings.warn(
                f"`cache` of EndpointSource: {path} is damaged and left aside ({type(error).__name__}); the reply is "
                "asked for again",
                stacklevel=2,
            )
            return None

    def put(self, key: str, reply: Reply) -> None:
        """Keep a reply; where the disk does not take it, the run carries on and a warning says so."""
        path = self._file(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, written = tempfile.mkstemp(dir=path.parent, suffix=".part")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(reply.to_json())
            Path(written).replace(path)
        except OSError as error:
            warnings.warn(
                f"`cache` of EndpointSource: a reply could not be kept in {self.path} ({error.strerror}); another run "
                "will ask for it again",
                stacklevel=2,
            )

    def _file(self, key: str) -> Path:
        return self.path / key[:2] / f"{key}.json"  # file systems are slow with very many files in one folder
