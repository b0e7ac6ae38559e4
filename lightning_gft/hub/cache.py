"""The Hugging Face hub, and its cache when the hub cannot be reached."""

from __future__ import annotations

import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from huggingface_hub import constants
from lightning.pytorch.utilities import rank_zero_warn

_TIMEOUT = 5.0
"""Seconds to wait for the hub's answer."""
_REMEMBERED = 60.0
"""Seconds in which a hub without an answer is not asked again: a policy loads several parts from it."""


@dataclass
class _Silence:
    """Why an address did not answer, since when, and whether that was warned of."""

    fault: str
    since: float
    warned: bool = False


_silences: dict[str, _Silence] = {}
"""The last silence of each address."""


@contextmanager
def hub_or_cache(path: str | None = None) -> Iterator[str]:
    """Load from the hub within this context, or only from its cache if the hub does not answer.

    The hub's own libraries retry a request that cannot succeed for minutes. So a short request comes first. If it gets
    no answer, they run in their offline mode (``HF_HUB_OFFLINE``), which only uses the cache.

    Args:
        path: What is loaded, if it may be a path: the hub is not asked for one that exists.

    Yields:
        Why only the cache is used, with what can be done about it; empty if the hub answers.

    Example:
        >>> with hub_or_cache() as offline:
        ...     assert constants.is_offline_mode() == bool(offline)
    """
    if path is not None and os.path.exists(path):  # noqa: PTH110  # false for a name that is too long
        yield ""
        return
    if constants.is_offline_mode():
        yield "HF_HUB_OFFLINE is set, so that only the cache is used: give a local path, or unset it"
        return
    silence = _silence(constants.ENDPOINT)
    if silence is None:
        yield ""
        return
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield (
            f"{constants.ENDPOINT} does not answer ({silence.fault}): give a local path, set HF_ENDPOINT to a mirror, "
            "or fill the cache (HF_HOME) with `hf download` on a machine with network and copy it here"
        )
    finally:
        constants.HF_HUB_OFFLINE = before
    if not silence.warned:
        silence.warned = True
        rank_zero_warn(f"{constants.ENDPOINT} does not answer ({silence.fault}): the cache is used, and may be older")


def _silence(address: str) -> _Silence | None:
    """Return the silence of an address, of the last minute or of a new request; ``None`` if it answers."""
    last = _silences.get(address)
    if last is not None and time.monotonic() - last.since < _REMEMBERED:
        return last
    if fault := _fault(address):
        _silences[address] = _Silence(fault, time.monotonic())
        return _silences[address]
    return None


def _fault(address: str) -> str:
    """Return why an address does not answer; empty if it does, whatever the answer is."""
    fault = ""
    for wait in (0, 1):  # a second try, in case the connection is down for a moment
        time.sleep(wait)
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_TIMEOUT).close()  # noqa: S310
        except urllib.error.HTTPError:
            return ""
        except TimeoutError:
            return f"within {_TIMEOUT:g} s"
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLError):  # the libraries may have certificates of their own
                return ""
            if isinstance(reason, TimeoutError):
                return f"within {_TIMEOUT:g} s"
            fault = getattr(reason, "strerror", None) or f"{reason}"
        else:
            return ""
    return fault
