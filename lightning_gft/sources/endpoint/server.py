"""The server of a teacher: its address, how often it is tried, and replies that hold the key."""

from __future__ import annotations

from lightning_gft.address import Address
from lightning_gft.checks import check_count, check_number
from lightning_gft.sources.endpoint.replies import KEY_ECHOED, Reply

_OF = "EndpointSource"
_HIDDEN = "[key of EndpointSource]"
_SECRET = 8
"""Fewest characters of a key that is looked for in replies."""


class Server(Address):
    """An address, and how long and how often it is tried.

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
        super().__init__(base_url, api_key_env, field="base_url", of=_OF)
        self.timeout = check_number("timeout", timeout, above=0, of=_OF)
        self.max_retries = check_count("max_retries", max_retries, least=0, of=_OF)

    def hide_key(self, content: bytes) -> bytes:
        """Return what a server has sent without the key; a short one, such as ``EMPTY``, is no secret but a word."""
        key = self.key().encode()
        return content.replace(key, _HIDDEN.encode()) if len(key) >= _SECRET else content

    def keyless(self, reply: Reply) -> Reply:
        """Return a reply, or in the place of one that holds the key one that is no demonstration."""
        key, told = self.key(), f"{reply.text} {reply.reasoning} {reply.finish_reason}"
        echoed = _HIDDEN in told or (len(key) >= _SECRET and key in told)  # JSON may have written it in another way
        return Reply("", "", KEY_ECHOED, reply.tokens) if echoed else reply
