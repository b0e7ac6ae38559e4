"""A reward for mathematically correct answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from numbers import Rational, Real
from typing import Any

from typing_extensions import override

from lightning_gft.answers.canonical import canonical_answer
from lightning_gft.answers.judging import Judge, TooLongError, is_readable_cheaply, read_answer
from lightning_gft.checks import check_count
from lightning_gft.errors import GFTValueError
from lightning_gft.extras import require
from lightning_gft.rewards.failures import Failed, describe
from lightning_gft.rewards.judged import JudgedReward
from lightning_gft.rewards.text import alternatives, shown

_Item = tuple[tuple[str, ...], tuple[str, ...]]


class MathAccuracyReward(JudgedReward):
    r"""1 if the response's answer equals the reference mathematically, else 0.

    The answer is the content of the last ``\boxed{}``; without one, the text after the last ``####`` or "the answer
    is"; otherwise the last expression. Numbers, texts, lists, sets, intervals, tuples, matrices and the letters of
    multiple choice are compared exactly in this process. Formulas are compared by math-verify in worker processes, each
    within ``seconds`` and ``memory_mb``. A list of references accepts any of them. ``docs/rewards.md`` documents the
    accepted notations. An answer of more than 5,000 characters that is not identical to the reference is not judged: it
    counts as an error.

    Args:
        float_rounding: Decimals that must agree if one of two numbers is written with decimals; as in math-verify.
        numeric_precision: Digits to which formulas are evaluated; as in math-verify.
        seconds: Longest time of a comparison.
        memory_mb: Most memory, in MiB, that a worker may allocate in addition to that after its start; ``None`` for no
            limit.
        workers: Number of worker processes; by default the number of cores that this process may use.
        failed_score: Score of a response whose comparison takes too long, fails or runs out of memory. Each failure is
            counted.
        weight: Weight of the score in the total.

    Raises:
        ValueError: If a number is out of range; on a call, if a reference is neither text nor a finite number.
        TypeError: If a value that must be a number is none.
        ModuleNotFoundError: If math-verify is not installed.

    Example:
        >>> reward = MathAccuracyReward(workers=1)
        >>> responses = [r"So it is \boxed{\frac{x^2-1}{x-1}}", "The answer is 1 + x.", "x - 1"]
        >>> reward(prompts=["?"] * 3, responses=responses, references=["x+1"] * 3)
        [1.0, 1.0, 0.0]
        >>> reward.close()
    """

    def __init__(
        self,
        float_rounding: int = 6,
        numeric_precision: int = 15,
        seconds: float = 5.0,
        memory_mb: int | None = 1024,
        workers: int | None = None,
        failed_score: float = 0.0,
        weight: float = 1.0,
    ) -> None:
        require("math_verify", setting=type(self).__name__, extra="math")
        of = type(self).__name__
        self.float_rounding = check_count("float_rounding", float_rounding, least=0, most=15, of=of)
        self.numeric_precision = check_count("numeric_precision", numeric_precision, least=1, most=1000, of=of)
        self._judge_of = Judge(self.float_rounding, self.numeric_precision)
        super().__init__(
            self._judge_of,
            seconds=seconds,
            memory_mb=memory_mb,
            workers=workers,
            failed_score=failed_score,
            weight=weight,
        )
        self._readable: dict[str, bool | Failed] = {}

    @override
    def item(self, response: str, reference: Any, columns: Mapping[str, Any]) -> _Item:
        return _read_answer(response), _texts(reference)

    @override
    def reads_answers(self) -> bool:
        return True

    @override
    def read_answer(self, response: str, columns: Mapping[str, Any]) -> str | None:
        return canonical_answer(_read_answer(response))

    @override
    def quick(self, item: _Item) -> float | Failed | None:
        try:
            verdict = self._judge_of.is_right_cheaply(*item)
        except TooLongError as error:
            return Failed("error", describe(error))
        return None if verdict is None else float(verdict)

    @override
    def read_ahead(self, references: Sequence[Any]) -> None:
        texts = {text for reference in references for text in _texts_or_none(reference)}
        self._read(sorted(text for text in texts if is_readable_cheaply(text) is None))

    @override
    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:
        for text in _texts(reference):
            verdict: bool | Failed | None = is_readable_cheaply(text)
            if verdict is None:
                self._read([text])
                verdict = self._readable[text]
            if isinstance(verdict, Failed):
                raise GFTValueError(
                    f"{_EXPECTED}, got {shown(text)}, whose reading {verdict.message}; correct the data"
                )
            if not verdict:
                raise GFTValueError(
                    f"{_EXPECTED}, got {shown(text)}, which cannot be read; correct the data, or choose the column "
                    "that holds the answer"
                )

    def _read(self, texts: Sequence[str]) -> None:
        unread = [text for text in texts if text not in self._readable]
        verdicts = self.pool.map(unread) if unread else []
        self._readable.update(zip(unread, (v if isinstance(v, Failed) else bool(v) for v in verdicts), strict=True))


_read_answer = lru_cache(maxsize=4096)(read_answer)  # a response is first scored, then its answer is read again
_EXPECTED = "the reference of MathAccuracyReward: expected a number, a formula, a choice or words"


def _texts_or_none(reference: Any) -> tuple[str, ...]:
    try:
        return _texts(reference)
    except GFTValueError:
        return ()  # `check_row` raises the error


def _texts(reference: Any) -> tuple[str, ...]:
    return tuple(_text(one) for one in alternatives(reference))


def _text(reference: Any) -> str:
    if isinstance(reference, str):
        return reference
    if isinstance(reference, Real | Decimal) and not isinstance(reference, bool):
        if not (isinstance(reference, Rational) or math.isfinite(reference)):
            raise GFTValueError(f"{_EXPECTED}, got {shown(reference)}; correct the data")
        return str(reference)
    raise GFTValueError(f"{_EXPECTED}, got {shown(reference)}; give a text or a number, or a list of some")
