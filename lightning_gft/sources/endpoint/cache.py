"""A cache of replies on disk."""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from contextlib import suppress
from pathlib import Path

from lightning_gft.errors import GFTValueError
from lightning_gft.sources.endpoint.replies import Reply


class ReplyCache:
    """A folder with one file per reply.

    A file gets its name only when it is complete. So processes on several machines may share the folder, also over a
    network, and a killed process leaves neither a lock nor a partial reply. A damaged file affects one reply only.

    Args:
        path: The folder, which :meth:`open` creates.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cache = ReplyCache(folder)
        ...     cache.put("a1b2", Reply("2", "", "stop"))
        ...     cache.get("a1b2").text, cache.get("b1b2")
        ('2', None)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().absolute()  # a run may change its working directory

    def open(self) -> None:
        """Create the folder.

        Raises:
            ValueError: If the folder cannot be written to.
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
        """Return a reply, or ``None`` if it is missing or cannot be read."""
        path = self._file(key)
        try:
            return Reply.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            warnings.warn(
                f"`cache` of EndpointSource: expected a reply in {path}, got a damaged file ({type(error).__name__}); "
                "the reply is requested again",
                stacklevel=2,
            )
            return None

    def put(self, key: str, reply: Reply) -> None:
        """Store a reply; if that fails, the run continues with a warning."""
        path = self._file(key)
        # Unlike one of `tempfile`, this file follows the umask, as several users may share a cache.
        unfinished = path.with_name(f"{uuid.uuid4().hex}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(reply.to_json(), encoding="utf-8")
            unfinished.replace(path)
        except OSError as error:
            with suppress(OSError):  # such as a full disk, whose next reply would leave another file
                unfinished.unlink(missing_ok=True)
            warnings.warn(
                f"`cache` of EndpointSource: expected a folder that can be written to, got {self.path} "
                f"({error.strerror}); a reply is not stored, so another run will request it again",
                stacklevel=2,
            )

    def _file(self, key: str) -> Path:
        return self.path / key[:2] / f"{key}.json"  # many file systems are slow with very many files in one folder
