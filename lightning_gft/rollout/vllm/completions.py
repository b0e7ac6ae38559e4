"""Requests for one response each, and their replies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from lightning_gft.checks import shorten
from lightning_gft.lm.decoding.stopping import EndTokens
from lightning_gft.sampling import SamplingParams
from lightning_gft.types import Response

_SEEDS = 2**63
"""Servers take signed seeds of 64 bits."""


class MalformedReplyError(Exception):
    """A server's reply contains no response that can be trained on."""


def completion_request(
    model: str, prompt_ids: Sequence[int], seed: int | None, sampling: SamplingParams, end: EndTokens
) -> dict[str, Any]:
    """Return the request for one response, because several samples of one request would share its seed.

    The request names every option that a server would otherwise take from the model's ``generation_config.json``.

    Args:
        model: Name of the model at the server.
        prompt_ids: Token ids of the prompt.
        seed: Seed of the response; ``None`` makes it greedy.
        sampling: Temperature, filters and length limits.
        end: Tokens and texts that end the response.

    Example:
        >>> end = EndTokens(eos_token_ids=(2,), pad_token_id=0)
        >>> request = completion_request("policy", [5, 6], None, SamplingParams(max_new_tokens=8), end)
        >>> request["temperature"], request["stop_token_ids"], "seed" in request
        (0.0, [2], False)
    """
    greedy = sampling.greedy or seed is None
    return {
        "model": model,
        "prompt": list(prompt_ids),
        "max_tokens": sampling.max_new_tokens,
        "min_tokens": sampling.min_new_tokens,
        "temperature": 0.0 if greedy else sampling.temperature,
        "top_p": 1.0 if greedy else sampling.top_p,
        "top_k": 0 if greedy else sampling.top_k,
        "min_p": 0.0 if greedy else sampling.min_p or 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        **({} if greedy or seed is None else {"seed": seed % _SEEDS}),
        "stop_token_ids": list(end.eos_token_ids),
        "ignore_eos": True,  # of the server's model, which may differ from the policy's
        "stop": list(end.stop.strings) if end.stop is not None else [],
        "skip_special_tokens": False,  # one of them may be part of a stop string
        "spaces_between_special_tokens": False,
        "logprobs": 0,
        "return_token_ids": True,
    }


def read_response(reply: Any, end: EndTokens) -> Response:
    """Return the response in a completion, cut where the policy's rules end it.

    Servers check stop strings by rules of their own; vLLM does so only after ``min_tokens``.

    Args:
        reply: JSON of the completion.
        end: Tokens and texts that end the response.

    Raises:
        MalformedReplyError: If the token ids or their log-probabilities are missing.

    Example:
        >>> choice = {"token_ids": [7, 2], "logprobs": {"token_logprobs": [-0.5, -0.1]}, "finish_reason": "stop"}
        >>> read_response({"choices": [choice]}, EndTokens((2,), 0))
        Response(token_ids=[7, 2], finished=True, logprobs=[-0.5, -0.1], teacher_logprobs=None, weights_version=None)
    """
    try:
        [choice] = reply["choices"]
        token_ids, logprobs, reason = choice.get("token_ids"), choice.get("logprobs"), choice["finish_reason"]
        logprobs = logprobs and logprobs["token_logprobs"]
    except (LookupError, TypeError, ValueError, AttributeError):
        raise MalformedReplyError(f"JSON that is no completion: {shorten(reply)}") from None
    if not _are_numbers(token_ids, int) or not _are_numbers(logprobs, float) or len(token_ids) != len(logprobs):
        got = f"token_ids={shorten(token_ids, 40)} and logprobs={shorten(logprobs, 40)}"
        raise MalformedReplyError(f"a completion without token ids and a log-probability for each: {got}")
    if reason not in ("stop", "length") or not token_ids:
        raise MalformedReplyError(f"a completion of {len(token_ids)} tokens that ended by {reason!r}")
    length = _length(token_ids, end)
    finished = reason == "stop" if length is None else True
    return Response(token_ids[:length], finished, [float(value) for value in logprobs[:length]])


def num_tokens(reply: Any) -> int:
    """Return the number of tokens in a completion; 0 if it has none, which :func:`read_response` rejects."""
    choices = reply.get("choices") if isinstance(reply, dict) else None
    given = choices if isinstance(choices, list) else []
    return sum(len(ids) for one in given if isinstance(one, dict) and isinstance(ids := one.get("token_ids"), list))


def was_aborted(reply: Any) -> bool:
    """Return whether a completion ended because its server was stopped, in which case it may be requested again."""
    choices = reply.get("choices") if isinstance(reply, dict) else None
    return isinstance(choices, list) and any(
        isinstance(one, dict) and one.get("finish_reason") == "abort" for one in choices
    )


def _length(token_ids: list[int], end: EndTokens) -> int | None:
    """Return the number of tokens after which a response ends; ``None`` if it does not end."""
    tokens, row = torch.tensor([token_ids]), torch.tensor([0])
    for length, token in enumerate(token_ids, start=1):
        if token in end.eos_token_ids:
            return length
        if end.stop is not None and bool(end.stop.completed(tokens[:, :length], row, [token])):
            return length
    return None


def _are_numbers(values: Any, kind: type) -> bool:
    if not isinstance(values, list):
        return False
    kinds = (int, float) if kind is float else (int,)
    return all(isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value) for value in values)
