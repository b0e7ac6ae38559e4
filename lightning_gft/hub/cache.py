"""The Hugging Face hub, and its cache when the hub cannot be reached."""

from __future__ import annotations

import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants
from lightning.pytorch.utilities import rank_zero_warn

_TIMEOUT = 5.0
"""Seconds to wait for the hub's answer."""


@contextmanager
def hub_or_cache() -> Iterator[str]:
    """Load from the hub within this context, or only from its cache if the hub does not answer.

    The hub's own libraries retry a request that cannot succeed for minutes. So a short request comes first. If it gets
    no answer, they run in their offline mode (``HF_HUB_OFFLINE``), which only uses the cache.

    Yields:
        Why only the cache is used, with what can be done about it; empty if the hub answers.

    Example:
        >>> with hub_or_cache() as offline:
        ...     assert constants.is_offline_mode() == bool(offline)
    """
    if constants.is_offline_mode():
        yield "HF_HUB_OFFLINE is set, so that only the cache is used: give a local path, or unset it"
        return
    fault = _fault(constants.ENDPOINT)
    if not fault:
        yield ""
        return
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield (
            f"{constants.ENDPOINT} does not answer ({fault}): give a local path, set HF_ENDPOINT to a mirror, or fill "
            "the cache (HF_HOME) with `hf download` on a machine with network and copy it here"
        )
    finally:
        constants.HF_HUB_OFFLINE = before
    rank_zero_warn(
        f"{constants.ENDPOINT} does not answer ({fault}): the version in the cache was used, which may be older"
    )


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
