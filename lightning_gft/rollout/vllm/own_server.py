"""The server that an engine starts, and the file in which all ranks find its address."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lightning_gft.checks import shorten
from lightning_gft.errors import GFTRuntimeError, GFTTypeError, GFTValueError
from lightning_gft.rollout.vllm.environment import server_environment
from lightning_gft.rollout.vllm.server import ManagedServer, check_program, open_log

_MODEL = "{model}"
_LOCAL = ("--host", "127.0.0.1")
"""Weights are sent by calls that control the server, so that no other machine may reach them."""
_FIXED = ("--logprobs-mode", "raw_logprobs")
"""This package compares log-probabilities before temperature and before any token is excluded."""


class OwnServer:
    """A server on the first rank's machine. Its address changes with each start, so a file holds the current one.

    Args:
        command: Program and arguments; see :class:`~lightning_gft.VLLMEngine`.
        env: Environment variables of the server, in addition to this process's.
        log: File that receives the server's output.
        start_timeout: Time limit in seconds until it is ready.
    """

    def __init__(self, command: str | list[str], env: Mapping[str, str], log: str, start_timeout: float) -> None:
        self._command, self._env, self._start_timeout = _words(command), dict(env), start_timeout
        self.log = Path(log).expanduser().absolute()
        self._server: ManagedServer | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def check(self) -> None:
        """Check that the program is installed, and that its log can be written.

        Raises:
            RuntimeError: If either fails.
        """
        check_program(self._command[0], server_environment(self._env))
        open_log(self.log).close()

    def start(self, model: str, served_as: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Path:
        """Start the server if it does not run, and return the file with its address.

        Raises:
            RuntimeError: If it cannot be started.
        """
        if self._server is None:
            command = [word.replace(_MODEL, model) for word in self._command]
            named = command if command != self._command else _with_model(command, model)
            host = () if any(word.split("=")[0] == "--host" for word in self._command) else _LOCAL
            self._server = ManagedServer(
                [*named, "--served-model-name", served_as, *host, *_FIXED, *arguments],
                env={**environment, **self._env},
                log=self.log,
                start_timeout=self._start_timeout,
            )
            self._folder = tempfile.TemporaryDirectory(prefix="lightning-gft-server-")
        if not self._server.alive():
            self._publish(self._server.start)
        return self._file()

    def revive(self, hung: bool) -> bool:
        """Restart the server if it has ended or hangs, and return whether it was restarted.

        Args:
            hung: Whether the server runs without replying.

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
        assert self._server is not None  # noqa: S101 (the callers checked)
        start()
        written = self._file().with_suffix(".part")
        written.write_text(self._server.url, encoding="utf-8")
        written.replace(self._file())

    def _file(self) -> Path:
        if self._folder is None:
            raise GFTRuntimeError("`command` of VLLMEngine: expected a started server, got none; call prepare first")
        return Path(self._folder.name) / "url"


def _with_model(command: list[str], model: str) -> list[str]:
    """Return a command with a model after the word ``serve``, because vLLM allows no option between these two."""
    place = command.index("serve") + 1 if "serve" in command else len(command)
    return [*command[:place], model, *command[place:]]


def _words(command: object) -> list[str]:
    try:
        words = shlex.split(command) if isinstance(command, str) else command
    except ValueError as error:
        raise GFTValueError(
            f"`command` of VLLMEngine: expected words as in a shell, got {shorten(command)} ({error}); correct the "
            "quotes, or write a list of texts"
        ) from None
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise GFTTypeError(
            f"`command` of VLLMEngine: expected a program and its arguments, got {shorten(command)}; write a text or a "
            "list of texts"
        )
    return [str(Path(words[0]).expanduser()), *words[1:]]
