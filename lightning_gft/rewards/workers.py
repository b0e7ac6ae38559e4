"""Rewards in a process of their own, which can be killed: code that never returns holds its whole interpreter."""

from __future__ import annotations

import fcntl
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Collection, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import dill
from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_kind, check_number
from lightning_gft.rewards.base import Reward
from lightning_gft.rewards.failures import RewardError, describe
from lightning_gft.rewards.isolation import call_reward

_START_SECONDS = 300.0
"""Time for a process to import what the reward needs, on a machine that is busy."""
_PROGRAM = (
    "import sys; from multiprocessing.connection import Connection; connection = Connection(int(sys.argv[1])); "
    "import pickle; sys.path[:] = pickle.loads(connection.recv_bytes()); "
    "from lightning_gft.rewards.workers import serve; serve(connection, int(sys.argv[2]))"
)


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
        check_kind("reward", reward, Reward, "FormatReward('.*')")
        super().__init__(reward.weight)
        self.reward = reward
        self.seconds = check_number("seconds", seconds, above=0, of=type(self).__name__)
        self._worker: Worker | None = None
        self._lock = threading.Lock()

    @property
    @override
    def keeps_special_tokens(self) -> bool:
        return self.reward.keeps_special_tokens

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

    Args:
        reward: Sent by value where it belongs to the main script or a notebook, else by its name.
    """

    def __init__(self, reward: Reward) -> None:
        sent = _packed(reward)
        ours, theirs = socket.socketpair()
        lifeline, held = os.pipe()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 (this interpreter)
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), str(lifeline)],
                pass_fds=(theirs.fileno(), lifeline),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the run, which ends its workers
            )
        os.close(lifeline)
        self.connection = Connection(ours.detach())
        self.owner = os.getpid()
        self._end = weakref.finalize(self, _kill, self.process, self.connection, held, self.owner)
        self.connection.send_bytes(pickle.dumps(sys.path))
        self.connection.send_bytes(sent)
        self._answer(_START_SECONDS)

    @property
    def listens(self) -> bool:
        """Whether the process is there for this one."""
        return self._end.alive and self.owner == os.getpid()

    def ask(self, batch: Mapping[str, Sequence[Any]], seconds: float) -> Any:
        """Return the reward's scores of a batch.

        Args:
            batch: Keywords of the reward.
            seconds: Longest time to wait.

        Raises:
            RewardError: If the reward raises, its process ends, or time is up; in the latter cases it is killed.
        """
        try:
            self.connection.send_bytes(pickle.dumps(batch))
            return self._answer(seconds)
        except BrokenPipeError:
            raise RewardError(self._epitaph()) from None

    def kill(self) -> None:
        """End the process and those of its group at once, whatever they do."""
        self._end()

    def _answer(self, seconds: float) -> Any:
        try:
            if not self.connection.poll(seconds):
                self.kill()
                raise RewardError(f"took longer than seconds={seconds:g}, and its process was killed")
            succeeded, answer = pickle.loads(self.connection.recv_bytes())  # noqa: S301 (from our own process)
        except (EOFError, ConnectionError):
            raise RewardError(self._epitaph()) from None
        except BaseException:  # an interrupt: the answer may come yet, and would be taken for that of another batch
            self.kill()
            raise
        if not succeeded:
            raise RewardError(answer)
        return answer

    def _epitaph(self) -> str:
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


def _kill(process: subprocess.Popen[bytes], connection: Connection, held: int, owner: int) -> None:
    if os.getpid() != owner:
        return  # a forked copy of the object has gone
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
    process.wait()
    connection.close()
    os.close(held)


def serve(connection: Connection, lifeline: int) -> None:
    """Answer for a reward, until the process that asks is gone.

    Args:
        connection: To the process that asks.
        lifeline: End of a pipe that closes when that process ends. The kernel then ends this one, even within code that
            never comes back to the interpreter.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:
        return
    try:
        reward = _attempt(lambda: dill.loads(connection.recv_bytes()), connection, "could not be loaded: ")  # noqa: S301
        connection.send_bytes(pickle.dumps((True, None)))
        while reward is not None:
            batch = pickle.loads(connection.recv_bytes())  # noqa: S301
            connection.send_bytes(_reply(reward, batch))
    except (EOFError, ConnectionError):
        return


def _attempt(load: Any, connection: Connection, title: str) -> Any:
    try:
        return load()
    except Exception as error:
        connection.send_bytes(pickle.dumps((False, title + describe(error))))
        raise EOFError from error


def _reply(reward: Reward, batch: Mapping[str, Sequence[Any]]) -> bytes:
    try:
        scores = call_reward(f"reward {type(reward).__name__}", reward, batch)
        return pickle.dumps((True, scores.detach().cpu() if isinstance(scores, Tensor) else scores))
    except BaseException as error:  # noqa: BLE001 -- told to the process that asks
        return pickle.dumps((False, describe(error)))
