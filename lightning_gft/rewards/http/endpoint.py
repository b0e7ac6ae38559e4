"""Sends requests to an HTTP service, repeats them if that may help, and reports failures in one line."""

from __future__ import annotations

import email.utils
import os
import random
import re
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import httpx2
from torch import Tensor
from typing_extensions import override

from lightning_gft.errors import GFTValueError
from lightning_gft.parts import Part
from lightning_gft.rewards.failures import RewardError
from lightning_gft.rewards.text import shown

_RETRIED = {408, 425, 429, *range(500, 600)}
"""Status codes after which the same request may succeed."""
_FIRST_WAIT, _LONGEST_WAIT, _LONGEST_ASKED = 0.5, 30.0, 600.0
"""Shortest and longest seconds between attempts, and the longest wait that a server may ask for."""
_SECRET = re.compile(r"(?i)key|token|secret|passw|credential|signature|^(pwd|sig|auth)$")
_MOST_BYTES = 64 << 20


class _RetryError(Exception):
    """An attempt failed with an error that may be temporary."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass
class Endpoint(Part):
    """An HTTP service; any thread may send requests.

    It counts ``requests``, which are attempts including ``retries``, and their ``seconds`` in total.

    Args:
        url: Address of the service.
        timeout: Longest time of an attempt, in seconds.
        max_retries: Further attempts after a failed one.
        api_key_env: Environment variable with the key.

    Raises:
        ValueError: If the address is invalid, or contains a user or a password.
    """

    url: str
    timeout: float
    max_retries: int
    api_key_env: str | None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url) if isinstance(self.url, str) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise GFTValueError(
                f"`url`: expected an address such as http://localhost:8000/score, got {shown(self.url)}; correct it"
            )
        if parts.username or parts.password:
            raise GFTValueError(
                f"`url`: expected an address without user and password, got one with them, at {parts.hostname}; set "
                "api_key_env to the environment variable that holds the key"
            )
        self.name = parts._replace(query="", fragment="").geturl()
        _warn_of_key(parts.query)
        self._lock = threading.Lock()
        self._client: httpx2.Client | None = None
        self._owner = 0
        self.reset()

    @override
    def setup(self) -> None:
        """Read the key, and prepare connections.

        Raises:
            RewardError: If the environment variable is not set.
        """
        with self._lock:
            if self._client is not None and self._owner == os.getpid():
                return  # the connections belong to this process; a forked one must not share them
            headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "lightning-gft"}
            if key := self._key():
                headers["Authorization"] = f"Bearer {key}"
            self._client, self._owner = httpx2.Client(headers=headers, timeout=self.timeout), os.getpid()

    @override
    def close(self) -> None:
        with self._lock:
            if self._client is not None and self._owner == os.getpid():
                self._client.close()
            self._client = None

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return dict(self._counts)

    @override
    def reset(self) -> None:
        self._counts: dict[str, Tensor | float] = {"requests": 0, "retries": 0, "seconds": 0.0}

    def post(self, body: bytes, stopped: threading.Event) -> tuple[bytes, str]:
        """Return the service's answer to a request, and its content type, which may be empty.

        Args:
            body: Body of the request.
            stopped: Ends the wait for a further attempt once it is set.

        Raises:
            RewardError: If all attempts fail, or the service rejects the request.
        """
        self.setup()
        for attempt in range(self.max_retries + 1):
            start = time.monotonic()
            try:
                return self._attempt(body)
            except _RetryError as error:
                last = error
            finally:
                self._count(attempt, time.monotonic() - start)
            if attempt < self.max_retries and stopped.wait(_pause(attempt, last.wait)):
                break
        raise RewardError(self.complaint(f"failed {attempt + 1} times, at last: {last}"))

    def complaint(self, what: str) -> str:
        """Return a sentence about the service; it follows the reward's name in an error."""
        return f"got no scores: the service at {self.name} {what}"

    def excerpt(self, said: object) -> str:
        """Return a text of the service, shortened, and without the key if it repeats that."""
        text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        key = self._key(required=False)
        return shown(text.replace(key, "***") if key else text)

    def _attempt(self, body: bytes) -> tuple[bytes, str]:
        if self._client is None:
            raise RewardError(self.complaint("was closed"))
        deadline = time.monotonic() + self.timeout
        try:
            with self._client.stream("POST", self.url, content=body) as answer:
                text = _read(answer, deadline)
        except httpx2.TimeoutException:
            raise _RetryError(f"no answer within timeout={self.timeout:g} s") from None
        except httpx2.RequestError as error:
            raise _RetryError(f"{type(error).__name__}: {self.excerpt(error)}") from None
        said = f"status {answer.status_code}, {self.excerpt(text)}"
        if answer.status_code in _RETRIED:
            raise _RetryError(said, _retry_after(answer.headers.get("Retry-After")))
        if answer.has_redirect_location:
            raise RewardError(
                self.complaint(f"redirects to {self.excerpt(answer.headers['Location'])}; give that address as `url`")
            )
        if answer.status_code != 200:
            raise RewardError(self.complaint(f"rejects the request: {said}"))
        return text, answer.headers.get("Content-Type", "")

    def _count(self, attempt: int, seconds: float) -> None:
        with self._lock:
            self._counts["requests"] += 1
            self._counts["retries"] += attempt > 0
            self._counts["seconds"] += seconds

    def _key(self, required: bool = True) -> str:
        if self.api_key_env is None:
            return ""
        key = os.environ.get(self.api_key_env, "").strip()
        if required and not (key and key.isascii() and key.isprintable()):
            state = "holds characters that no header may" if key else "is not set"
            raise RewardError(
                f"`api_key_env`: expected an environment variable that holds the key of {self.name}, got "
                f"{self.api_key_env!r}, which {state}; set it"
            )
        return key

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name not in ("_client", "_lock")}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state, _client=None, _lock=threading.Lock())


def _warn_of_key(query: str) -> None:
    if names := [name for name, _ in parse_qsl(query, keep_blank_values=True) if _SECRET.search(name)]:
        from lightning.pytorch.utilities import rank_zero_warn  # slow to import, and hardly ever needed

        rank_zero_warn(
            f"`url` of HTTPReward: its query holds {', '.join(names)}, which stays in the config, checkpoints and "
            "card; if it is secret, remove it and set api_key_env to the environment variable that holds it"
        )


def _read(answer: httpx2.Response, deadline: float) -> bytes:
    text = bytearray()
    for part in answer.iter_bytes():
        text += part
        if time.monotonic() > deadline:  # the client's own limit applies only to each part
            raise httpx2.ReadTimeout("")
        if len(text) > _MOST_BYTES:
            raise _RetryError(f"an answer of more than {_MOST_BYTES >> 20} MiB")
    return bytes(text)


def _pause(attempt: int, asked: float) -> float:
    """Return the seconds until the next attempt: they double, and are random, as all ranks would retry at once."""
    return max(asked, min(_LONGEST_WAIT, _FIRST_WAIT * 2.0**attempt) * random.Random().uniform(0.5, 1.0))


def _retry_after(retry_after: str | None) -> float:
    """Return the seconds that a Retry-After header asks to wait, as a number or until a date; 0 for anything else.

    Example:
        >>> _retry_after("7"), _retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), _retry_after("soon")
        (7.0, 0.0, 0.0)
    """
    if not retry_after:
        return 0.0
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = (email.utils.parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_ASKED) if seconds == seconds else 0.0
