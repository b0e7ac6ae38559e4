"""Checks of the responses that a source returns."""

from __future__ import annotations

from typing import Any

from lightning_gft.checks import check_kind, shorten
from lightning_gft.errors import GFTValueError
from lightning_gft.types import Response


def check_given(where: str, most: int, given: Any, num_prompts: int) -> None:
    """Reject a result that is not a list of valid responses for each prompt.

    Args:
        where: Name of the source, for errors.
        most: Largest number of responses per prompt.
        given: The value that :meth:`~lightning_gft.ResponseSource.respond` returned.
        num_prompts: Number of prompts that it received.

    Raises:
        ValueError: If the number of prompts, responses, token ids or log-probabilities is wrong.
        TypeError: If an item is not a response.
    """
    if not isinstance(given, list) or len(given) != num_prompts or not all(isinstance(each, list) for each in given):
        raise GFTValueError(
            f"`{where}`: expected a list of responses for each of {num_prompts} prompts, got {shorten(given)}; return "
            "an empty list for a prompt without any"
        )
    for responses in given:
        if len(responses) > most:
            raise GFTValueError(
                f"`{where}`: expected at most {most} responses per prompt, got {len(responses)}; raise num_responses"
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
                f"`{where}`: expected {field} of {len(response.token_ids)} tokens, got {len(values)}; give one each"
            )
