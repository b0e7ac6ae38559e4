"""Refusing weights that are not those of the model that they are loaded into."""

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
"""A data type of weights, by its name in torch."""

_BUFFERS = re.compile(r"(\.inv_freq|\.masked_bias|\.att(n|ention)\.bias|\bposition_ids)$")
"""What older files hold and newer models compute: frequencies of positions, causal masks."""

_CHUNK = 1 << 24  # values to look at at once


@contextmanager
def quiet_report() -> Iterator[None]:
    """Leave out transformers' table of weights that do not fit; each of them is an error here."""
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(_is_no_report)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_report)


def check_weights(model: PreTrainedModel, report: Mapping[str, Any], where: str) -> None:
    """Refuse a model whose files lack weights, or hold others than its own, or numbers that are none.

    Args:
        report: What transformers says of the loading.
        where: Name of the model, as errors put it.

    Raises:
        ValueError: If that is so.
    """
    name = type(model).__name__
    if mismatched := sorted(report["mismatched_keys"]):
        weight, there, here = mismatched[0]
        raise GFTValueError(
            f"{where}: {len(mismatched)} weights have another shape than its config.json says, {weight} for one, which "
            f"is {list(there)} in the file and {list(here)} in {name}; download or save the model again"
        )
    if missing := sorted(report["missing_keys"]):
        raise GFTValueError(
            f"{where} lacks {len(missing)} weights of {name}, {missing[0]} for one, which would be random; download or "
            "save the model again"
        )
    if unexpected := sorted(key for key in report["unexpected_keys"] if not _BUFFERS.search(key)):
        raise GFTValueError(
            f"{where} holds {len(unexpected)} weights that {name} does not have, {unexpected[0]} for one, so it is "
            "another model than its config.json says, or one with more to it; download or save the model again"
        )
    broken = next((key for key, weight in model.named_parameters() if not _is_finite(weight)), None)
    if broken is not None:
        raise GFTValueError(f"{where}: {broken} holds values that are not finite; give a model that has not diverged")


def _is_finite(weight: Tensor) -> bool:
    if type(weight) is not nn.Parameter or not weight.is_floating_point():
        return True  # the bits of quantised weights are no numbers by themselves
    wide = torch.promote_types(weight.dtype, torch.float32)  # in which sums of half precision do not overflow
    return all(bool(chunk.sum(dtype=wide).isfinite()) for chunk in weight.detach().flatten().split(_CHUNK))


def _is_no_report(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()
