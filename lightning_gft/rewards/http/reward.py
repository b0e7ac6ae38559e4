"""A reward from an HTTP service."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_count, check_number, check_texts, check_variable
from lightning_gft.errors import GFTValueError
from lightning_gft.parts import CompositePart, Part
from lightning_gft.rewards.base import ResponseFact, Reward
from lightning_gft.rewards.columns import named_column
from lightning_gft.rewards.failures import RewardError
from lightning_gft.rewards.http.endpoint import Endpoint


class HTTPReward(CompositePart, Reward):
    """Scores from a service: a reward model or a judge that answers HTTP requests.

    Each request is a POST of JSON for up to ``batch_size`` responses, ::

        {"prompts": ["1+1="], "responses": ["2"], "references": ["2"], "columns": {"level": [3]}}

    The service answers ``{"scores": [1.0]}``: a number for each response in their order, or null if the reward does
    not apply. A request is repeated if no server answers, if it takes too long, or after status 408, 425, 429 or 5xx.
    The pauses double and respect ``Retry-After``. Any other failure stops the run with the service's message. The
    figures ``requests``, ``retries`` and their total ``seconds`` are logged.

    Args:
        url: Address of the service, ``http`` or ``https``.
        columns: Columns of the data to send; may include ``response_tokens``, ``response_source`` and
            ``response_limit``.
        batch_size: Most responses of a request.
        concurrency: Most simultaneous requests of each rank.
        timeout: Longest time of an attempt, in seconds.
        max_retries: Further attempts after a failed one.
        api_key_env: Name of an environment variable; its value is sent as ``Authorization: Bearer ...``, and is
            neither logged nor saved.
        weight: Weight of the score in the total.
        special_tokens: Whether responses are decoded with their special tokens.

    Raises:
        ValueError: If ``url`` is no address, ``api_key_env`` is no name of a variable, or a number is out of range.
        TypeError: If a value that must be a number is none.
        RewardError: If the key is not set before training; on a call, if the service returns no scores.

    Example:
        >>> reward = HTTPReward("http://localhost:8000/score", columns=["level"], api_key_env="JUDGE_KEY")
        >>> reward.timeout
        60.0
    """

    def __init__(
        self,
        url: str,
        columns: Sequence[str] = (),
        batch_size: int = 64,
        concurrency: int = 4,
        timeout: float = 60.0,
        max_retries: int = 5,
        api_key_env: str | None = None,
        weight: float = 1.0,
        special_tokens: bool = False,
    ) -> None:
        super().__init__(weight, special_tokens)
        of = type(self).__name__
        self.url = url
        self.columns = check_texts("columns", columns, of)
        self.batch_size = check_count("batch_size", batch_size, of=of)
        self._concurrency = check_count("concurrency", concurrency, of=of)
        self.timeout = check_number("timeout", timeout, above=0, of=of)
        self.max_retries = check_count("max_retries", max_retries, least=0, of=of)
        self.api_key_env = None if api_key_env is None else check_variable("api_key_env", api_key_env, of)
        self._endpoint = Endpoint(url, self.timeout, self.max_retries, self.api_key_env)

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor | Sequence[float | None]:
        """Return ``N`` scores; see :meth:`Reward.__call__`."""
        sent = {name: named_column(columns, name, "columns") for name in self.columns}
        batches = [slice(start, start + self.batch_size) for start in range(0, len(responses), self.batch_size)]
        bodies = [
            {
                "prompts": [*prompts[batch]],
                "responses": [*responses[batch]],
                "references": [*references[batch]],
                "columns": {name: [*values[batch]] for name, values in sent.items()},
            }
            for batch in batches
        ]
        return [score for scores in self._ask_all([_packed(body) for body in bodies], bodies) for score in scores]

    @override
    def needs(self) -> frozenset[ResponseFact]:
        return frozenset(fact for fact in get_args(ResponseFact) if fact in self.columns)

    @override
    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:
        row = {name: named_column(columns, name, "columns") for name in self.columns if name not in self.needs()}
        _packed({"references": reference, "columns": row})

    @override
    def within(self) -> tuple[Part, ...]:
        return (self._endpoint,)

    def _ask_all(self, packed: Sequence[bytes], bodies: Sequence[dict[str, Any]]) -> list[list[float | None]]:
        stopped = threading.Event()
        with ThreadPoolExecutor(self._concurrency) as threads:
            asked = [threads.submit(self._endpoint.post, body, stopped) for body in packed]
            try:
                answers = [each.result() for each in asked]
            except BaseException:
                stopped.set()
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        return [self._scores(*of, len(body["responses"])) for of, body in zip(answers, bodies, strict=True)]

    def _scores(self, text: bytes, content_type: str, count: int) -> list[float | None]:
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = None
        scores = answer.get("scores") if isinstance(answer, dict) else None
        if not isinstance(scores, list):
            kind = f" ({content_type})" if content_type else ""
            raise self._wrong(f"{self._endpoint.excerpt(text)}{kind}", 'a JSON object such as {"scores": [0.5]}')
        if len(scores) != count:
            raise self._wrong(f"{len(scores)} scores", f"{count}, one for each response")
        for number, score in enumerate(scores):
            if score is not None and not _is_finite(score):
                got = f"{self._endpoint.excerpt(score)} as number {number} of {count}"
                raise self._wrong(got, "finite numbers, or null if it has no score")
        return scores

    def _wrong(self, got: str, expected: str) -> RewardError:
        return RewardError(self._endpoint.complaint(f"answered {got}; expected {expected}"))


def _packed(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise GFTValueError(
            f"HTTPReward: expected references and columns that JSON can hold, got others ({error}); turn them into "
            "text or numbers"
        ) from error


def _is_finite(score: object) -> bool:
    if not isinstance(score, int | float) or isinstance(score, bool):
        return False
    try:
        return math.isfinite(score)
    except OverflowError:
        return False
