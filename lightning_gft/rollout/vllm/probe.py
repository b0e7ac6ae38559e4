"""Checks that a server has the policy's weights and tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_gft.functional import token_logprobs
from lightning_gft.rollout.vllm.client import Client, ServerFault
from lightning_gft.types import Response

_TOKENS = 64
"""Largest number of compared response tokens, because all of their logits are in memory at once."""
_TEXT = "Natalia sold 48 clips.\n\nIs 12.5 x 1,024 + 7?  naïve \u4f60\u597d"


@torch.no_grad()
def difference(model: PreTrainedModel, prompt_ids: Sequence[int], response: Response) -> float:
    """Return the mean absolute difference between the log-probabilities of a server and those of a model.

    Args:
        model: Model in evaluation mode, with whole weights.
        prompt_ids: Token ids of the prompt.
        response: Response that the server drew.
    """
    token_ids = response.token_ids[:_TOKENS]
    ids = torch.tensor([[*prompt_ids, *token_ids]], device=model.device)
    logits = model(input_ids=ids, logits_to_keep=len(token_ids) + 1).logits[0, :-1]
    own = token_logprobs(logits, ids[0, len(prompt_ids) :])
    given = torch.tensor((response.logprobs or [])[:_TOKENS], dtype=own.dtype, device=own.device)
    return float((own - given).abs().mean())


def tokenizes_alike(client: Client, model: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a server tokenises a text as a tokenizer does; true if the server has no such call.

    Raises:
        ServerFault: If the server does not reply.
    """
    try:
        told = client.call("POST", "/tokenize", {"model": model, "prompt": _TEXT, "add_special_tokens": False})
    except ServerFault as fault:
        if fault.kind == "refused":  # other servers lack this call, or have a different one
            return True
        raise
    tokens = told.get("tokens") if isinstance(told, dict) else None
    own: list[int] = tokenizer.encode(_TEXT, add_special_tokens=False)
    return tokens is None or tokens == own
