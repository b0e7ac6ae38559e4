"""Rewards in a process of their own, which can be killed: code that never returns holds its whole interpreter."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dill
from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_kind, check_number
from lightning_gft.rewards.base import Reward, as_rewards
from lightning_gft.rewards.failures import RewardError, describe
from lightning_gft.rewards.isolation import call_reward

_START_SECONDS = 300.0
"""Time for a process to import what the reward needs, on a machine that is busy."""
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3]); "
    "from lightning_gft.rewards.workers import serve; serve(int(sys.argv[1]), int(sys.argv[2]))"
)
_LENGTH = struct.Struct("!Q")
"""What a message begins with: its length in bytes."""


class TimeLimitedReward(Reward):
    """Any reward, with a limit on the time of a call.

    The reward runs in a process of its own. Where a call takes longer than the limit, the process is killed and the run
    stops with an error that shows the response; the limit then also holds for each response alone. The weight and the
    special tokens are those of the reward within.

    Args:
        reward: The reward. It is sent to the process once, so it must not hold what cannot leave this one, such as an
            open file.
        seconds: Longest time of a call, which scores all responses of a batch. The start of the process does not count.

    Raises:
        TypeError: If ``reward`` is not a reward.
        ValueError: If ``seconds`` is not a positive number.

    Example:
        >>> from lightning_gft.rewards import FormatReward
        >>> TimeLimitedReward(FormatReward(".{,10}", weight=0.5), seconds=10).weight
        0.5
    """

    def __init__(self, reward: Reward, seconds: float) -> None:
        reward = as_rewards({"reward": reward})["reward"]  # from Python it may be a plain function
        check_kind("reward", reward, Reward, "FormatReward('.*')")
        super().__init__(reward.weight, reward.special_tokens)
        self.reward = reward
        self.seconds = check_number("seconds", seconds, above=0, of=type(self).__name__)
        self._worker: Worker | None = None
        self._lock = threading.Lock()

    @override
    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:
        self.reward.check_row(reference, columns)

    @override
    def check_tokens(self, special_tokens: Collection[str]) -> None:
        self.reward.check_tokens(special_tokens)

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor | Sequence[float | None]:
        """Return the scores of the reward within; see :meth:`Reward.__call__`."""
        batch = {**columns, "prompts": prompts, "responses": responses, "references": references}
        with self._lock:
            # A process that was forked has a copy of this object, but the worker listens to its parent alone.
            if self._worker is None or not self._worker.listens:
                self._worker = Worker(self.reward)
            return self._worker.ask(batch, self.seconds)  # type: ignore[no-any-return]

    @override
    def close(self) -> None:
        with self._lock:
            if self._worker is not None:
                self._worker.kill()
            self._worker = None
        self.reward.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_worker", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _worker=None, _lock=threading.Lock())


class Worker:
    """A process that answers for one reward, until it is killed, or this object or this process is gone.

    It is a fresh interpreter: no thread, lock or CUDA context comes along, and no main script is run again.

    Raises:
        RewardError: If the process does not start, the reward cannot be sent, or the platform has no such processes.
    """

    def __init__(self, reward: Reward) -> None:
        if importlib.util.find_spec("fcntl") is None:
            raise RewardError(
                f"`TimeLimitedReward`: expected Linux or macOS, got {sys.platform}; use the reward without a limit"
            )
        sent = _packed(reward)
        self.channel, theirs = socket.socketpair()
        parent_pipe, ours = os.pipe()
        search_path = json.dumps([str(entry) for entry in sys.path])
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 (this interpreter)
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), str(parent_pipe), search_path],
                pass_fds=(theirs.fileno(), parent_pipe),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the run, which ends its workers
            )
        os.close(parent_pipe)
        self.owner = os.getpid()
        self._end = weakref.finalize(self, _kill, self.process, self.channel, ours, self.owner)
        try:
            self._exchange(sent, _START_SECONDS)
        except TimeoutError:
            raise RewardError(
                f"did not start: its process took longer than {_START_SECONDS:g} s to import it and was killed; make "
                "the import faster, or run fewer processes on this machine"
            ) from None

    @property
    def listens(self) -> bool:
        """Whether the process is there for this one."""
        return self._end.alive and self.owner == os.getpid()

    def ask(self, batch: Mapping[str, Sequence[Any]], seconds: float) -> Any:
        """Return the reward's scores of a batch.

        Raises:
            RewardError: If the reward raises, its process ends, or time is up; in the latter cases it is killed.
        """
        try:
            return self._exchange(pickle.dumps(batch), seconds)
        except TimeoutError:
            raise RewardError(f"took longer than seconds={seconds:g}, and its process was killed") from None

    def kill(self) -> None:
        """End the process and those of its group at once, whatever they do."""
        self._end()

    def _exchange(self, message: bytes, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        try:
            _send(self.channel, message, deadline)
            succeeded, answer = pickle.loads(_receive(self.channel, deadline))  # noqa: S301 (from our own process)
        except (EOFError, ConnectionError):
            raise RewardError(self._exit_message()) from None
        except BaseException:  # half a message may be under way, or the answer come later and be taken for another's
            self.kill()
            raise
        if not succeeded:
            raise RewardError(answer)
        return answer

    def _exit_message(self) -> str:
        self.kill()
        return f"ended its process, with exit status {self.process.returncode}"


def _packed(reward: Reward) -> bytes:
    try:
        return dill.dumps(reward, recurse=True)  # type: ignore[no-any-return]
    except Exception as error:
        raise RewardError(
            f"cannot be sent to a process of its own ({type(error).__name__}: {error}); "
            "open files, connections and the like when it is first called"
        ) from error


def _send(channel: socket.socket, message: bytes, deadline: float | None = None) -> None:
    for part in (_LENGTH.pack(len(message)), message):
        channel.settimeout(_seconds_until(deadline))
        channel.sendall(part)


def _receive(channel: socket.socket, deadline: float | None = None) -> bytearray:
    (length,) = _LENGTH.unpack(_read(channel, _LENGTH.size, deadline))
    return _read(channel, length, deadline)


def _read(channel: socket.socket, length: int, deadline: float | None) -> bytearray:
    read = bytearray()
    while len(read) < length:
        channel.settimeout(_seconds_until(deadline))
        part = channel.recv(min(length - len(read), 1 << 20))
        if not part:
            raise EOFError
        read += part
    return read


def _seconds_until(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _kill(process: subprocess.Popen[bytes], channel: socket.socket, pipe: int, owner: int) -> None:
    if os.getpid() != owner:
        return  # a forked copy of the object has gone
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
    process.wait()
    channel.close()
    os.close(pipe)


def serve(channel_number: int, parent_pipe: int) -> None:
    """Answer for a reward, until the process that asks is gone."""
    import fcntl  # absent on Windows, where the other rewards must be importable

    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(parent_pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(parent_pipe, fcntl.F_SETFL, fcntl.fcntl(parent_pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([parent_pipe], [], [], 0)[0]:
        return
    channel = socket.socket(fileno=channel_number)
    try:
        reward = _load(channel, _receive(channel))
        _send(channel, pickle.dumps((True, None)))
        while True:
            batch = pickle.loads(_receive(channel))  # noqa: S301
            _send(channel, _reply(reward, batch))
    except (EOFError, ConnectionError):
        return


def _load(channel: socket.socket, sent: bytes | bytearray) -> Any:
    try:
        return dill.loads(sent)  # noqa: S301
    except Exception as error:
        _send(channel, pickle.dumps((False, "could not be loaded: " + describe(error))))
        raise EOFError from error


def _reply(reward: Reward, batch: Mapping[str, Sequence[Any]]) -> bytes:
    try:
        scores = call_reward(f"reward {type(reward).__name__}", reward, batch)
        return pickle.dumps((True, scores.detach().cpu() if isinstance(scores, Tensor) else scores))
    except BaseException as error:  # noqa: BLE001 -- the process that asks raises it
        return pickle.dumps((False, describe(error)))
