"""Rewards in a process of their own, which can be killed: code that never returns holds its whole interpreter."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Collection, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import dill
from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_kind, check_number
from lightning_gft.rewards.base import ResponseFact, Reward, as_rewards
from lightning_gft.rewards.failures import RewardError, describe
from lightning_gft.rewards.isolation import call_reward

_START_SECONDS = 300.0
"""Time for a process to import what the reward needs, on a machine that is busy."""
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3]); "
    "from lightning_gft.rewards.workers import serve; serve(int(sys.argv[1]), int(sys.argv[2]))"
)


class TimeLimitedReward(Reward):
    """Any reward, with a limit on the time of a call.

    The reward runs in a process of its own, from its ``setup`` to its ``close``. Where a call takes longer than the
    limit, the process is killed and the run stops with an error that shows the response; the limit then also holds for
    each response alone. The weight and the special tokens are those of the reward within, and its figures are reported
    beside ``calls``, their ``seconds`` in all, and ``timeouts``.

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
        self._lock = threading.RLock()
        self.reset()

    @override
    def asks(self) -> frozenset[ResponseFact]:
        return self.reward.asks()

    @override
    def measures(self) -> bool:
        return self.reward.measures()

    @override
    def read_ahead(self, references: Sequence[Any]) -> None:
        self.reward.read_ahead(references)

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
            self.setup()
            start = time.monotonic()
            try:
                return self._ask("score", batch)  # type: ignore[no-any-return]
            finally:
                self._counts["calls"] += 1
                self._counts["seconds"] += time.monotonic() - start

    @override
    def setup(self) -> None:
        with self._lock:
            if not self._is_running:
                self._worker = Worker(self.reward)

    @override
    def close(self) -> None:
        with self._lock:
            try:
                self._ask("close")
            finally:
                if self._worker is not None:
                    self._worker.kill()
                self._worker = None

    @override
    def compute(self) -> dict[str, Tensor | float]:
        with self._lock:
            return {**(self._ask("compute") or {}), **self._counts}

    @override
    def reset(self) -> None:
        self._counts = {"calls": 0, "seconds": 0.0, "timeouts": 0}
        with self._lock:
            self._ask("reset")

    @property
    def _is_running(self) -> bool:
        # A process that was forked has a copy of this object, but the worker listens to its parent alone.
        return self._worker is not None and self._worker.listens

    def _ask(self, method: str, batch: Mapping[str, Sequence[Any]] | None = None) -> Any:
        if self._worker is None or not self._is_running:
            return None  # not started, or killed: no reward is there to report or to close
        try:
            return self._worker.ask(method, batch or {}, self.seconds)
        except TimeoutError:
            self._counts["timeouts"] += 1
            during = "" if method == "score" else f" for {method}"
            raise RewardError(
                f"took longer than seconds={self.seconds:g}{during}, and its process was killed"
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_worker", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _worker=None, _lock=threading.RLock())


class Worker:
    """A process that answers for one reward, until it is killed, or this object or this process is gone.

    It is a fresh interpreter: no thread, lock or CUDA context comes along, and no main script is run again. The reward
    is sent by value where it belongs to the main script or a notebook, else by its name.
    """

    def __init__(self, reward: Reward) -> None:
        if importlib.util.find_spec("fcntl") is None:
            raise RewardError(
                f"`TimeLimitedReward`: expected Linux or macOS, got {sys.platform}; use the reward without a limit"
            )
        sent = _packed(reward)
        ours, theirs = socket.socketpair()
        self.channel = Connection(ours.detach())
        parent_pipe, our_end = os.pipe()
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
        self._end = weakref.finalize(self, _end, self.process, self.channel, our_end, self.owner)
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

    def ask(self, method: str, batch: Mapping[str, Sequence[Any]], seconds: float) -> Any:
        """Return what the reward's method gives; ``"score"`` is a call with a batch."""
        return self._exchange(pickle.dumps((method, batch)), seconds)

    def kill(self) -> None:
        """End the process and those of its group at once, whatever they do."""
        self._end()

    def _exchange(self, message: bytes, seconds: float) -> Any:
        late = threading.Event()

        def stop() -> None:  # what waits for the process to read or to write then fails
            late.set()
            _interrupt(self.process, self.channel)

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        answer: tuple[bool, Any] | None = None
        try:
            self.channel.send_bytes(message)
            answer = pickle.loads(self.channel.recv_bytes())  # noqa: S301 (from our own process)
        except (EOFError, OSError):
            pass
        finally:
            timer.cancel()
            timer.join()
            if answer is None or late.is_set():  # half a message may be under way
                self.kill()
        if late.is_set():
            raise TimeoutError
        if answer is None:
            raise RewardError(f"ended its process, with exit status {self.process.returncode}")
        if not answer[0]:
            raise RewardError(answer[1])
        return answer[1]


def _packed(reward: Reward) -> bytes:
    try:
        return dill.dumps(reward, recurse=True)  # type: ignore[no-any-return]
    except Exception as error:
        raise RewardError(
            f"cannot be sent to a process of its own ({type(error).__name__}: {error}); "
            "open files, connections and the like when it is first called"
        ) from error


def _interrupt(process: subprocess.Popen[bytes], channel: Connection) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
    with socket.socket(fileno=os.dup(channel.fileno())) as end:  # something that left the group may hold the other
        end.shutdown(socket.SHUT_RDWR)


def _end(process: subprocess.Popen[bytes], channel: Connection, pipe: int, owner: int) -> None:
    if os.getpid() != owner:
        return  # a forked copy of the object has gone
    _interrupt(process, channel)
    process.wait()
    channel.close()
    os.close(pipe)


def serve(channel_number: int, parent_pipe: int) -> None:
    """Answer for a reward, until the process that asks is gone.

    ``parent_pipe`` closes when that process ends. The kernel then ends this one, even within code that never comes back
    to the interpreter.
    """
    import fcntl  # absent on Windows, where the other rewards must be importable

    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(parent_pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(parent_pipe, fcntl.F_SETFL, fcntl.fcntl(parent_pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([parent_pipe], [], [], 0)[0]:
        return None
    channel = Connection(channel_number)
    try:
        try:
            reward = dill.loads(channel.recv_bytes())  # noqa: S301
            reward.setup()
        except Exception as error:  # noqa: BLE001 -- the process that asks raises it
            return channel.send((False, "could not be loaded: " + describe(error)))
        channel.send((True, None))
        while True:
            method, batch = pickle.loads(channel.recv_bytes())  # noqa: S301
            channel.send_bytes(_reply(reward, method, batch))
    except (EOFError, OSError):
        return None


def _reply(reward: Reward, method: str, batch: Mapping[str, Sequence[Any]]) -> bytes:
    try:
        if method == "score":
            answer = call_reward(f"reward {type(reward).__name__}", reward, batch)
        else:
            answer = getattr(reward, method)()
        return pickle.dumps((True, _on_cpu(answer)))
    except BaseException as error:  # noqa: BLE001 -- the process that asks raises it
        return pickle.dumps((False, describe(error)))


def _on_cpu(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {name: _on_cpu(value) for name, value in answer.items()}
    return answer.detach().cpu() if isinstance(answer, Tensor) else answer
