"""Messages for the failures of a server, in one line with the remedy."""

from __future__ import annotations

from typing import Any

import openai

from lightning_gft.sources.endpoint.server import Server

_OF = "EndpointSource"


class EndpointFault(Exception):  # noqa: N818 (a source converts it to an error of this package)
    """The reason for a missing reply.

    Args:
        text: The complete message, in one line and without the API key.
        of_prompt: Whether the prompt may be the reason, so that the message should name it.
    """

    def __init__(self, text: str, of_prompt: bool = False) -> None:
        super().__init__(text)
        self.of_prompt = of_prompt


def describe(error: Exception, server: Server, model: str) -> EndpointFault:
    """Return the fault that corresponds to an error of the client.

    Args:
        error: Error that the client raised after its last retry.
        server: The server of the request.
        model: Name of the requested model.
    """
    url, tries = server.base_url, f"with max_retries={server.max_retries}"
    if isinstance(error, openai.APITimeoutError):
        return EndpointFault(
            f"`timeout` of {_OF}: expected a reply from {url} within {server.timeout:g} s, got none {tries}; raise it, "
            "or lower concurrency or max_new_tokens"
        )
    if isinstance(error, openai.APIStatusError):
        return _status(error.status_code, _message(error, server), server, model)
    if isinstance(error, openai.APIConnectionError):
        what = server.scrub(error.__cause__ or error)
        return EndpointFault(
            f"`base_url` of {_OF}: expected a server at {url}, got no reply {tries} ({what}); start the server, or "
            "correct the address"
        )
    return EndpointFault(
        f"`base_url` of {_OF}: expected a reply from {url}, got {type(error).__name__}: {server.scrub(error)}; correct "
        "the address, or look at the server's log"
    )


def describe_malformed(what: object, server: Server) -> EndpointFault:
    """Return the fault for a server that does not send chat completions."""
    return EndpointFault(
        f"`base_url` of {_OF}: expected chat completions from {server.base_url}, got {server.scrub(what)} with "
        f"max_retries={server.max_retries}; correct the address, or look at the server's log"
    )


def _status(status: int, message: str, server: Server, model: str) -> EndpointFault:
    url, said = server.base_url, f"{status}: {message}"
    if status in (401, 403):
        env = server.api_key_env
        found = "" if server.key() else " (it is not set)"
        return EndpointFault(
            f"`api_key_env` of {_OF}: expected a key for {url} in the environment variable {env}{found}, got {said}; "
            "set it to a valid key"
        )
    if status == 404:
        return EndpointFault(
            f"`model` of {_OF}: expected one that {url} serves, got {model!r} ({said}); correct it, or the address, "
            "which usually ends in /v1"
        )
    if status == 429:
        return EndpointFault(
            f"`concurrency` of {_OF}: expected a number that {url} allows, got {said}, with max_retries="
            f"{server.max_retries}; lower it, raise max_retries, or check your quota"
        )
    if status < 500:
        return EndpointFault(
            f"`model` or `extra_body` of {_OF}: expected a request for {model!r} that {url} accepts, got {said}; "
            "correct the setting that it names, or the prompt",
            of_prompt=True,
        )
    return EndpointFault(
        f"`base_url` of {_OF}: expected replies from {url}, got {said}, with max_retries={server.max_retries}; look at "
        "the server's log"
    )


def _message(error: openai.APIStatusError, server: Server) -> str:
    body: Any = error.body
    text = body.get("message") or body.get("detail") if isinstance(body, dict) else body
    return server.scrub(text or error.message)
