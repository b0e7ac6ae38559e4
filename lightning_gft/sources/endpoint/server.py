"""The server of a teacher: address, timeout, retries, and removal of the API key from replies."""

from __future__ import annotations

from lightning_gft.address import Address
from lightning_gft.checks import check_count, check_number
from lightning_gft.sources.endpoint.replies import KEY_ECHOED, Reply

_OF = "EndpointSource"
_HIDDEN = "[key of EndpointSource]"
_SECRET = 8
"""Least length of a key that is searched for in replies."""


class Server(Address):
    """An address with a timeout and a number of retries.

    Args:
        base_url: Address without the trailing ``/chat/completions``.
        api_key_env: Name of the environment variable that holds the API key.
        timeout: Time limit of one request, in seconds.
        max_retries: Largest number of times that a failed request is sent again.

    Example:
        >>> Server("http://localhost:8000/v1/", "OPENAI_API_KEY", timeout=600, max_retries=8).base_url
        'http://localhost:8000/v1'
    """

    def __init__(self, base_url: str, api_key_env: str, timeout: float, max_retries: int) -> None:
        super().__init__(base_url, api_key_env, field="base_url", of=_OF)
        self.timeout = check_number("timeout", timeout, above=0, of=_OF)
        self.max_retries = check_count("max_retries", max_retries, least=0, of=_OF)

    def hide_key(self, content: bytes) -> bytes:
        """Return a server's bytes without the API key; a short key, such as ``EMPTY``, is not treated as a secret."""
        key = self.key().encode()
        return content.replace(key, _HIDDEN.encode()) if len(key) >= _SECRET else content

    def keyless(self, reply: Reply) -> Reply:
        """Return a reply, or an empty one with the reason ``KEY_ECHOED`` if it contains the API key."""
        key, told = self.key(), f"{reply.text} {reply.reasoning} {reply.finish_reason}"
        echoed = _HIDDEN in told or (len(key) >= _SECRET and key in told)  # JSON may have escaped it
        return Reply("", "", KEY_ECHOED, reply.tokens) if echoed else reply
