"""Runs a program against its unit tests."""

from __future__ import annotations

import json
import math
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lightning_gft.rewards.code.comparing import holds, same_output
from lightning_gft.rewards.code.unit_tests import CallTest, OutputTest, Step, UnitTests
from lightning_gft.sandbox.measure import measure
from lightning_gft.sandbox.process import EndedError, Limits, OverTimeError, SandboxedProcess, SandboxError
from lightning_gft.sandbox.values import UnreadableError, decode

End = Literal["done", "timeouts", "memory", "errors"]
"""How a program ended: regularly, over its time limit, out of memory, or by an exception or an exit."""
_MOST_WRITTEN = 1 << 20
"""Bytes that a program may write, in addition to twice the expected ones."""


@dataclass(frozen=True)
class Verdict:
    """The result of a program.

    Args:
        passed: Number of passed tests.
        run: Number of tests that were run.
        end: How the program ended in the first test that it did not pass.
    """

    passed: int
    run: int
    end: End


class _FailedError(Exception):
    def __init__(self, end: End) -> None:
        super().__init__(end)
        self.end = end


@dataclass(frozen=True)
class ProgramTester:
    """Runs programs against unit tests.

    Args:
        seconds: Longest time of a test.
        memory_mb: Most memory of a program, in MiB.
        stops_early: Whether to skip the remaining tests after one that fails.
        stopped: Set to prevent further tests.
    """

    seconds: float
    memory_mb: int
    stops_early: bool
    stopped: threading.Event

    def __call__(self, code: str, tests: UnitTests) -> Verdict:
        """Return the result of a program; after a test that exceeds a limit, the remaining tests count as failed.

        Raises:
            SandboxError: If the sandbox fails.
        """
        calls = [test for test in tests if isinstance(test, CallTest)]
        return self._call(code, calls) if calls else self._run_each(code, tests)

    def _run_each(self, code: str, tests: Sequence[Any]) -> Verdict:
        passed = 0
        end: End = "done"
        for number, test in enumerate(tests, start=1):
            last: End = "done"
            try:
                right = self._run(code, test)
            except _FailedError as failed:
                right, last = False, failed.end
            passed += right
            end = last if end == "done" else end
            if last in ("timeouts", "memory") or (self.stops_early and not right) or self.stopped.is_set():
                return Verdict(passed, number, end)
        return Verdict(passed, len(tests), end)

    def _run(self, code: str, test: OutputTest) -> bool:
        limits = Limits(self.memory_mb, math.ceil(self.seconds) + 1)
        with SandboxedProcess(limits, test.stdin, captures=True) as process:
            _check_walls(process)
            try:
                written, status = process.output(code, self.seconds, _MOST_WRITTEN + 2 * len(test.expected))
            except OverTimeError:
                raise _FailedError("timeouts") from None
            except EndedError:
                return False  # the output exceeds its limit
            if status != 0:
                raise _FailedError("memory" if process.ran_out_of_memory() else "errors")
        return same_output(written.decode(errors="replace"), test.expected)

    def _call(self, code: str, tests: Sequence[CallTest]) -> Verdict:
        limits = Limits(self.memory_mb, math.ceil(self.seconds * (len(tests) + 1)) + 1)
        passed, run = 0, 0
        end: End = "done"
        with SandboxedProcess(limits) as process:
            _check_walls(process)
            try:
                self._ask(process, "run", code)
                for test in tests:
                    run += 1
                    try:
                        right = self._passes(process, test)
                    except _FailedError as failed:
                        right, end = False, failed.end if end == "done" else end
                        if failed.end != "errors" or process.has_ended():
                            break
                    passed += right
                    if (self.stops_early and not right) or self.stopped.is_set():
                        break
            except _FailedError as failed:
                end = failed.end
        return Verdict(passed, run, end)

    def _passes(self, process: SandboxedProcess, test: CallTest) -> bool:
        return all(_succeeds(step, self._ask(process, step.kind, step.code)) for step in test.steps)

    def _ask(self, process: SandboxedProcess, kind: str, code: str) -> dict[str, Any]:
        number = secrets.token_hex(8)
        try:
            answer = process.ask({"id": number, "kind": kind, "code": code}, self.seconds)
        except OverTimeError:
            raise _FailedError("timeouts") from None
        except EndedError:
            raise _FailedError("errors") from None
        if answer.get("kind") == "memory":
            raise _FailedError("memory")
        if answer.get("id") != number or answer.get("kind") == "raised":
            raise _FailedError("done" if answer.get("message") == "AssertionError" else "errors")
        return answer


def _succeeds(step: Step, answer: dict[str, Any]) -> bool:
    if step.kind == "run":
        return answer.get("kind") == "done"
    try:
        value = decode(str(answer["value"]))
    except (KeyError, UnreadableError):
        return False  # the value is no plain data
    return value is True if step.kind == "truth" else holds(value, step.operation, step.expected)


def _check_walls(process: SandboxedProcess) -> None:
    if missing := measure().walls - {*process.walls}:
        raise SandboxError(f"{json.dumps(sorted(missing))} did not stand, as it did when the run began")
