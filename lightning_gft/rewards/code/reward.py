"""A reward for programs that pass their unit tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_count, check_number, shorten
from lightning_gft.errors import GFTValueError
from lightning_gft.rewards.base import Reward
from lightning_gft.rewards.code.extraction import find_code
from lightning_gft.rewards.code.testing import ProgramTester, Verdict
from lightning_gft.rewards.code.unit_tests import UnitTests, read_tests
from lightning_gft.rewards.columns import named_column
from lightning_gft.rewards.failures import RewardError
from lightning_gft.rewards.pool import usable_cores
from lightning_gft.sandbox.measure import Reach, measure
from lightning_gft.sandbox.process import SandboxError

_REACHES = ("network", "files", "processes")


class CodeExecutionReward(Reward):
    r"""1 if the program in a response passes its unit tests, else 0. It runs code that a model has written.

    The program is the last fenced block of Python, or the whole response if it has no fence. It runs in a sandbox;
    ``docs/rewards.md`` documents what the sandbox prevents and what it does not. Tests are a text of asserts, a list of
    such texts, or ``{"inputs": [...], "outputs": [...]}``: standard input and output of the whole program, or arguments
    and results of a function named by ``"fn_name"``. A program that is wrong, raises, or exceeds a limit scores 0.
    Programs that raise or exit are counted as ``errors``, those beyond a limit as ``timeouts`` and ``memory``,
    responses without a program as ``no_code``.

    Args:
        runs_model_code: Must be true, to confirm that code written by a model may run.
        tests_column: Column of the data with the tests; by default the reference.
        partial: Whether the score is the share of passed tests, instead of 1 for all of them.
        seconds: Longest time of a test.
        memory_mb: Most memory of a program, in MiB of address space.
        workers: Number of programs that run at once; by default the number of cores that this process may use.
        allow: Targets among ``"network"``, ``"files"`` and ``"processes"`` that programs may reach if this machine
            cannot prevent it. Without an entry here, such a machine is an error.
        weight: Weight of the score in the total.

    Raises:
        ValueError: If ``runs_model_code`` is not true, or a setting is out of range; on a call and before training, if
            tests cannot be read.
        RewardError: Before training, if the machine supports no sandbox.

    Example:
        >>> reward = CodeExecutionReward(runs_model_code=True, seconds=60)
        >>> tests = "assert double(2) == 4"
        >>> response = "```python\ndef double(x):\n    return 2 * x\n```"
        >>> reward(prompts=["Double it."], responses=[response], references=[tests])
        [1.0]
    """

    def __init__(
        self,
        runs_model_code: bool = False,
        tests_column: str | None = None,
        partial: bool = False,
        seconds: float = 6.0,
        memory_mb: int = 1024,
        workers: int | None = None,
        allow: Sequence[Reach] = (),
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight)
        of = type(self).__name__
        if runs_model_code is not True:
            raise GFTValueError(
                f"`runs_model_code` of {of}: expected true, got {shorten(runs_model_code)}; set it to run code that a "
                "model has written on this machine, within the sandbox that docs/rewards.md describes"
            )
        if not isinstance(allow, list | tuple) or not set(allow) <= set(_REACHES):
            raise GFTValueError(
                f"`allow` of {of}: expected a list of {', '.join(_REACHES)}, got {shorten(allow)}; remove the others"
            )
        self.runs_model_code = True
        self.tests_column = tests_column
        self.partial = partial
        self.seconds = check_number("seconds", seconds, above=0, of=of)
        self.memory_mb = check_count("memory_mb", memory_mb, least=64, of=of)
        self.workers = None if workers is None else check_count("workers", workers, of=of)
        self.allow = tuple(allow)
        self.reset()

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor | Sequence[float | None]:
        """Return ``N`` scores; see :meth:`Reward.__call__`."""
        tests = [read_tests(one) for one in self._given(references, columns)]
        self._check_sandbox()
        codes = [find_code(response) for response in responses]
        start = time.monotonic()
        verdicts = self._run(codes, tests)
        self._counts["seconds"] += time.monotonic() - start
        for verdict in verdicts:
            self._count(verdict)
        return [self._score(verdict, of) for verdict, of in zip(verdicts, tests, strict=True)]

    @override
    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:
        read_tests(self._given(reference, columns))

    @override
    def setup(self) -> None:
        from lightning.pytorch.utilities import rank_zero_warn  # slow to import, and no other method needs it

        self._check_sandbox()
        reached = f", but not from {', '.join(sorted(measure().open))}" if measure().open else ""
        rank_zero_warn(
            "CodeExecutionReward runs programs that a model has written on this machine. The sandbox was found to keep "
            f"them from {', '.join(reach for reach in _REACHES if reach not in measure().open) or 'nothing'}{reached}. "
            "docs/rewards.md says what the sandbox does not prevent, such as faults of the kernel"
        )

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return dict(self._counts)

    @override
    def reset(self) -> None:
        names = ("programs", "no_code", "timeouts", "memory", "errors", "seconds")
        self._counts: dict[str, Tensor | float] = dict.fromkeys(names, 0)

    def _check_sandbox(self) -> None:
        try:
            reached = sorted(measure().open - {*self.allow})
        except SandboxError as error:
            raise RewardError(
                f"`runs_model_code`: expected a machine with a working sandbox, got an error: {error}"
            ) from error
        if reached:
            raise RewardError(
                f"`runs_model_code`: expected a machine that keeps programs from {', '.join(reached)}, got one that "
                f"does not (its walls: {', '.join(sorted(measure().walls)) or 'none'}); use Linux 6.2 or later on "
                f"x86-64 or aarch64, with Landlock and seccomp allowed, or set allow: [{', '.join(reached)}]"
            )

    def _run(self, codes: Sequence[str | None], tests: Sequence[UnitTests]) -> list[Verdict | None]:
        stopped = threading.Event()
        test = ProgramTester(self.seconds, self.memory_mb, not self.partial, stopped)
        with ThreadPoolExecutor(self.workers or usable_cores()) as threads:
            running: list[Future[Verdict] | None] = []
            begun = [*zip(codes, tests, strict=True)]
            for number, (code, of) in enumerate(begun):
                first = begun.index((code, of))  # a policy often repeats a program
                known = running[first] if first < number else None
                running.append(known if known or code is None else threads.submit(test, code, of))
            try:
                return [None if future is None else future.result() for future in running]
            except BaseException:
                stopped.set()
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _score(self, verdict: Verdict | None, tests: UnitTests) -> float:
        if verdict is None:
            return 0.0
        return verdict.passed / len(tests) if self.partial else float(verdict.passed == len(tests))

    def _count(self, verdict: Verdict | None) -> None:
        self._counts["no_code" if verdict is None else "programs"] += 1
        if verdict is not None and verdict.end != "done":
            self._counts[verdict.end] += 1

    def _given(self, references: Any, columns: Mapping[str, Any]) -> Any:
        """Return the tests of one row or of a batch."""
        return references if self.tests_column is None else named_column(columns, self.tests_column, "tests_column")
