"""Padding responses to tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from lightning_gft.sampler.rounds import Row
from lightning_gft.types import PromptBatch, pad_sequences


def pad_rows(
    rows: Sequence[Row], prompts: PromptBatch, pad_token_id: int, device: torch.device, taught: bool
) -> dict[str, Any]:
    """Return right-padded ``[N, T]`` tensors; with ``taught``, those of a teacher exist even without any values."""
    sequences = pad_sequences(
        [prompts.prompt_ids[row.prompt] for row in rows], [row.response.token_ids for row in rows], pad_token_id, device
    )
    dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
    logprobs, teacher = (torch.zeros(sequences.input_ids.shape, dtype=dtype) for _ in range(2))
    for n, row in enumerate(rows):
        start = len(prompts.prompt_ids[row.prompt])
        tokens = slice(start, start + len(row.response.token_ids))
        logprobs[n, tokens] = torch.tensor(row.response.logprobs or math.nan, dtype=dtype)
        teacher[n, tokens] = torch.tensor(row.response.teacher_logprobs or math.nan, dtype=dtype)
    taught = taught or not rows or any(row.response.teacher_logprobs is not None for row in rows)
    return {
        **vars(sequences),
        "sampling_logprobs": logprobs.to(device),
        "teacher_logprobs": teacher.to(device) if taught else None,
    }
