"""The server that an engine starts, and where every rank finds it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lightning_gft.errors import GFTRuntimeError
from lightning_gft.rollout.vllm.server import ManagedServer

_MODEL = "{model}"
_FIXED = ("--logprobs-mode", "raw_logprobs")
"""The log-probabilities of this package are those before temperature and all that rules tokens out."""


class OwnServer:
    """A server of the first rank, on its machine. Its address changes with each start, so it is kept in a file.

    Args:
        command: Program and arguments; see :class:`~lightning_gft.VLLMEngine`.
        env: Variables of the server besides this process's.
        log: File of what it writes.
        start_timeout: Seconds until it is ready.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: str, start_timeout: float) -> None:
        self._command, self._env, self._start_timeout = list(command), dict(env), start_timeout
        self.log = Path(log).expanduser().absolute()
        self._server: ManagedServer | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def start(self, model: str, served_as: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Path:
        """Start the server if it is not alive, and return the file with its address.

        Raises:
            RuntimeError: If it cannot be started.
        """
        if self._server is None:
            command = [model if word == _MODEL else word for word in self._command]
            named = command if _MODEL in self._command else [*command, model]
            self._server = ManagedServer(
                [*named, "--served-model-name", served_as, *_FIXED, *arguments],
                env={**environment, **self._env},
                log=self.log,
                start_timeout=self._start_timeout,
            )
            self._folder = tempfile.TemporaryDirectory(prefix="lightning-gft-server-")
        if not self._server.alive():
            self._publish(self._server.start)
        return self._file()

    def revive(self, hung: bool) -> bool:
        """Start the server anew if it has ended or hangs, and return whether it was.

        Args:
            hung: Whether it takes too long to answer.

        Raises:
            RuntimeError: If it cannot be started.
        """
        if self._server is None or (self._server.alive() and not hung):
            return False
        self._publish(self._server.restart)
        return True

    def stop(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.stop()
        if self._folder is not None:
            self._folder.cleanup()
        self._server, self._folder = None, None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_server": None, "_folder": None}

    def _publish(self, start: Callable[[], None]) -> None:
        assert self._server is not None  # noqa: S101 (the callers have seen it)
        start()
        written = self._file().with_suffix(".part")
        written.write_text(self._server.url, encoding="utf-8")
        written.replace(self._file())

    def _file(self) -> Path:
        if self._folder is None:
            raise GFTRuntimeError("`command` of VLLMEngine: expected a server that was started, got none; call prepare")
        return Path(self._folder.name) / "url"
