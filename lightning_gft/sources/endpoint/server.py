"""A server's address, and the key to it."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.checks import check_count, check_number, check_variable, cut, shorten
from lightning_gft.errors import GFTValueError
from lightning_gft.sources.endpoint.replies import KEY_ECHOED, Reply

_OF = "EndpointSource"
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_BEARER = re.compile(r"(?i)(bearer|basic)\s+[^\s'\",}]+")
_LONGEST = 300
_HIDDEN = "[key of EndpointSource]"
_SECRET = 8
"""Fewest characters of a key that is looked for in replies."""
_COMPLETIONS = re.compile(r"(/chat)?/completions$")


class Server:
    """An address, and how long and how often it is tried.

    The key is read from the environment when it is needed, and kept nowhere.

    Args:
        base_url: Address up to and without ``/chat/completions``.
        api_key_env: Environment variable with the key.
        timeout: Seconds that one request may take.
        max_retries: How often a request is sent again.

    Example:
        >>> Server("http://localhost:8000/v1/", "OPENAI_API_KEY", timeout=600, max_retries=8).base_url
        'http://localhost:8000/v1'
    """

    def __init__(self, base_url: str, api_key_env: str, timeout: float, max_retries: int) -> None:
        self.base_url = _checked(base_url)
        self.api_key_env = check_variable("api_key_env", api_key_env, _OF)
        self.timeout = check_number("timeout", timeout, above=0, of=_OF)
        self.max_retries = check_count("max_retries", max_retries, least=0, of=_OF)

    def key(self) -> str:
        """Return the key; empty where the variable is not set.

        Raises:
            ValueError: If it cannot be sent.
        """
        key = os.environ.get(self.api_key_env, "").strip()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise GFTValueError(
                f"`api_key_env` of {_OF}: expected a key in the environment variable {self.api_key_env}, got a text "
                "with spaces or other characters that none has; set it anew"
            )
        return key

    def warn_of_open_key(self) -> None:
        """Warn of a key that goes over a network unencrypted."""
        address = urlsplit(self.base_url)
        if self.key() and address.scheme == "http" and address.hostname not in _LOCAL:
            rank_zero_warn(
                f"`base_url` of {_OF}: the key in {self.api_key_env} goes unencrypted to {address.hostname}; use "
                "https, or unset the variable if the server needs no key"
            )

    def hide_key(self, content: bytes) -> bytes:
        """Return what a server has sent without the key; a short one, such as ``EMPTY``, is no secret but a word."""
        key = self.key().encode()
        return content.replace(key, _HIDDEN.encode()) if len(key) >= _SECRET else content

    def keyless(self, reply: Reply) -> Reply:
        """Return a reply, or in the place of one that holds the key one that is no demonstration."""
        key, told = self.key(), f"{reply.text} {reply.reasoning} {reply.finish_reason}"
        echoed = _HIDDEN in told or (len(key) >= _SECRET and key in told)  # JSON may have written it in another way
        return Reply("", "", KEY_ECHOED, reply.tokens) if echoed else reply

    def scrub(self, text: object) -> str:
        """Return a text in one line, cut, and without the key: some servers send back what they were sent."""
        line = " ".join(str(text).split())
        if key := self.key():
            line = line.replace(key, "***")
        return cut(_BEARER.sub(r"\1 ***", line), _LONGEST)


def _checked(base_url: object) -> str:
    expected = f"`base_url` of {_OF}: expected an address such as http://localhost:8000/v1"
    if not isinstance(base_url, str):
        raise GFTValueError(f"{expected}, got {shorten(base_url)}; write one")
    try:
        address = urlsplit(base_url.strip())
        has_host = bool(address.hostname) and (address.port is None or address.port > 0)
    except ValueError:
        raise GFTValueError(f"{expected}, got one that cannot be read; correct it") from None
    if address.username is not None or address.password is not None or address.query or address.fragment:
        raise GFTValueError(  # it is not shown, as it may hold a key
            f"{expected}, got one with a user, a password or a query; leave them out, and write the key into the "
            "environment variable that `api_key_env` names"
        )
    if address.scheme not in ("http", "https") or not has_host:
        raise GFTValueError(f"{expected}, got {shorten(base_url)}; begin it with http:// or https:// and the host")
    url = base_url.strip().rstrip("/")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise GFTValueError(f"{expected}, got {shorten(url)} with a space; leave it out")
    if called := _COMPLETIONS.search(url):
        raise GFTValueError(f"{expected}, got {shorten(url)}; give the part before {called[0]}")
    return url
