"""The address of a server with OpenAI's API, and the key to it."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from lightning_gft.checks import check_variable, cut, shorten
from lightning_gft.errors import GFTValueError

_LOCAL = {"localhost", "127.0.0.1", "::1"}
_BEARER = re.compile(r"(?i)(bearer|basic)\s+[^\s'\",}]+")
_LONGEST = 300
_CALL = re.compile(r"(/chat)?/completions$")


class Address:
    """The address of a server. The key is read from the environment at each use and never stored.

    Args:
        url: Address without ``/chat/completions`` or ``/completions``.
        api_key_env: Environment variable with the key.
        field: Option that contains the address, as errors name it.
        of: Part that has this option.

    Raises:
        ValueError: If the address is malformed, or contains a user, a password or a query.

    Example:
        >>> Address("http://localhost:8000/v1/", "OPENAI_API_KEY", field="base_url", of="EndpointSource").base_url
        'http://localhost:8000/v1'
    """

    def __init__(self, url: str, api_key_env: str, field: str, of: str) -> None:
        self.field, self.of = field, of
        self.base_url = self._checked(url)
        self.api_key_env = check_variable("api_key_env", api_key_env, of)

    def key(self) -> str:
        """Return the key; empty if the variable is not set.

        Raises:
            ValueError: If the key cannot be sent in a header.
        """
        key = os.environ.get(self.api_key_env, "").strip()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise GFTValueError(
                f"`api_key_env` of {self.of}: expected a key in the environment variable {self.api_key_env}, got a "
                "text with spaces or other characters that no key contains; set the variable again"
            )
        return key

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, so that proxies are not used."""
        return urlsplit(self.base_url).hostname in _LOCAL

    def warn_of_open_key(self) -> None:
        """Warn if the key is sent over a network without encryption."""
        address = urlsplit(self.base_url)
        if self.key() and address.scheme == "http" and not self.is_local:
            from lightning.pytorch.utilities import rank_zero_warn  # slow to import, and rarely needed

            rank_zero_warn(
                f"`{self.field}` of {self.of}: the key in {self.api_key_env} is sent unencrypted to "
                f"{address.hostname}; use https, or unset the variable if the server needs no key"
            )

    def scrub(self, text: object) -> str:
        """Return a text in one line, shortened and without the key, because some servers echo their requests."""
        line = " ".join(str(text).split())
        if key := self.key():
            line = line.replace(key, "***")
        return cut(_BEARER.sub(r"\1 ***", line), _LONGEST)

    def _checked(self, url: object) -> str:
        expected = f"`{self.field}` of {self.of}: expected an address such as http://localhost:8000/v1"
        if not isinstance(url, str):
            raise GFTValueError(f"{expected}, got {shorten(url)}; write one")
        try:
            address = urlsplit(url.strip())
            has_host = bool(address.hostname) and (address.port is None or address.port > 0)
        except ValueError:
            raise GFTValueError(f"{expected}, got one that cannot be read; correct it") from None
        if address.username is not None or address.password is not None or address.query or address.fragment:
            raise GFTValueError(  # the address is not shown, because it may contain a key
                f"{expected}, got one with a user, a password or a query; leave them out, and write the key into the "
                "environment variable that `api_key_env` names"
            )
        if address.scheme not in ("http", "https") or not has_host:
            raise GFTValueError(f"{expected}, got {shorten(url)}; begin it with http:// or https:// and the host")
        stripped = url.strip().rstrip("/")
        if any(character.isspace() or not character.isprintable() for character in stripped):
            raise GFTValueError(f"{expected}, got {shorten(stripped)} with a space; leave it out")
        if called := _CALL.search(stripped):
            raise GFTValueError(f"{expected}, got {shorten(stripped)}; give the part before {called[0]}")
        return stripped
