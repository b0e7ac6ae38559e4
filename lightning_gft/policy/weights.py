"""Checking that loaded weights are those of their model."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lightning_gft.errors import GFTValueError

Dtype = Literal["float32", "bfloat16", "float16", "float64"]
"""Data type of weights, by its name in torch."""

_BUFFERS = re.compile(r"(\.inv_freq|\.masked_bias|\.att(n|ention)\.bias|\bposition_ids)$")
"""Buffers that older files store and newer models compute: frequencies of positions, causal masks."""

_CHUNK = 1 << 24  # values to check at once


@contextmanager
def quiet_report() -> Iterator[None]:
    """Silence transformers' table of weights that do not fit; each of them is an error here."""
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(_is_not_report)
    try:
        yield
    finally:
        logger.removeFilter(_is_not_report)


def check_weights(model: PreTrainedModel, report: Mapping[str, Any], where: str) -> None:
    """Check that a model's files hold all of its weights and no others, with finite values.

    Args:
        model: The loaded model.
        report: Loading info returned by transformers' ``from_pretrained``.
        where: Setting and value that name the model in errors.

    Raises:
        ValueError: If weights are missing, unexpected, of another shape or not finite.
    """
    name = type(model).__name__
    if mismatched := sorted(report["mismatched_keys"]):
        weight, there, here = mismatched[0]
        raise GFTValueError(
            f"{where}: expected the shapes of its config.json, got {len(mismatched)} weights of another shape, "
            f"{weight} for one, which is {list(there)} in the file and {list(here)} in {name}; download or save the "
            "model again"
        )
    if missing := sorted(report["missing_keys"]):
        raise GFTValueError(
            f"{where}: expected every weight of {name}, got files that lack {len(missing)}, {missing[0]} for one, "
            "which would be random; download or save the model again"
        )
    if unexpected := sorted(key for key in report["unexpected_keys"] if not _BUFFERS.search(key)):
        raise GFTValueError(
            f"{where}: expected the weights of {name} alone, got {len(unexpected)} that it does not have, "
            f"{unexpected[0]} for one; the files are of another model than config.json, or of a larger one: download "
            "or save the model again"
        )
    broken = next((key for key, weight in model.named_parameters() if not _is_finite(weight)), None)
    if broken is not None:
        raise GFTValueError(
            f"{where}: expected finite values, got others in {broken}; give a model that has not diverged"
        )


def _is_finite(weight: Tensor) -> bool:
    if type(weight) is not nn.Parameter or not weight.is_floating_point():
        return True  # the bits of quantised weights are not numbers by themselves
    wide = torch.promote_types(weight.dtype, torch.float32)  # sums in half precision could overflow
    return all(bool(chunk.sum(dtype=wide).isfinite()) for chunk in weight.detach().flatten().split(_CHUNK))


def _is_not_report(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()
