"""What a source gives is checked."""

from __future__ import annotations

from typing import Any

from lightning_gft.checks import check_kind, shorten
from lightning_gft.errors import GFTValueError
from lightning_gft.types import Response


def check_given(where: str, most: int, given: Any, num_prompts: int) -> None:
    """Refuse what is not a few responses for each prompt, each with a log-probability a token or none.

    Args:
        where: What errors call the source.
        most: Responses a prompt.
        given: What it returned.
        num_prompts: Prompts that it was given.

    Raises:
        ValueError: With what was expected, and what to do.
        TypeError: If a response is something else.
    """
    if not isinstance(given, list) or len(given) != num_prompts or not all(isinstance(each, list) for each in given):
        raise GFTValueError(
            f"`{where}`: expected a list of responses for each of {num_prompts} prompts, got {shorten(given)}; return "
            "an empty list for a prompt without any"
        )
    for responses in given:
        if len(responses) > most:
            raise GFTValueError(
                f"`{where}`: expected at most {most} responses a prompt, got {len(responses)}; raise its num_responses"
            )
        for response in responses:
            _check_response(where, response)


def _check_response(where: str, response: Any) -> None:
    check_kind(where, response, Response, "Response(policy.encode(text))")
    if not all(isinstance(token, int) and token >= 0 for token in response.token_ids):
        raise GFTValueError(f"`{where}`: expected token ids, got {shorten(response.token_ids)}; use policy.encode")
    for field in ("logprobs", "teacher_logprobs"):
        values = getattr(response, field)
        if values is not None and len(values) != len(response.token_ids):
            raise GFTValueError(
                f"`{where}`: expected {field} of {len(response.token_ids)} tokens, got {len(values)}; give one a token"
            )
