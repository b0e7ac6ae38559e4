"""The Hugging Face hub, and its cache where the hub cannot be reached."""

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
"""Seconds that the hub has to answer in."""


@contextmanager
def hub_or_cache() -> Iterator[str]:
    """Let what is loaded by name come from the hub, or at once from the cache if the hub does not answer.

    The hub's own libraries try a request that cannot succeed for minutes. One short request comes first, and if it gets
    no answer they run in their offline mode (``HF_HUB_OFFLINE``), in which the cache alone counts.

    Yields:
        Why nothing but the cache counts, with what can be done about it; empty if the hub answers.

    Example:
        >>> with hub_or_cache() as offline:
        ...     assert constants.is_offline_mode() == bool(offline)
    """
    if constants.is_offline_mode():
        yield "HF_HUB_OFFLINE is set, so that only the cache counts: give a local path, or unset it"
        return
    fault = _fault(constants.ENDPOINT)
    if not fault:
        yield ""
        return
    rank_zero_warn(f"{constants.ENDPOINT} does not answer ({fault}): only what is in the cache can be loaded by name")
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield (
            f"{constants.ENDPOINT} does not answer ({fault}): give a local path, set HF_ENDPOINT to a mirror, or fill "
            "the cache (HF_HOME) by `hf download` on a machine with network and copy it here"
        )
    finally:
        constants.HF_HUB_OFFLINE = before


def _fault(address: str) -> str:
    """Return why there is no answer from an address; empty if there is one, whatever it says."""
    fault = ""
    for wait in (0, 1):  # a second try for a line that is down for a moment
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
