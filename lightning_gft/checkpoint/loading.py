"""Loading a module with the weights of a checkpoint, without a trainer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.pytorch import LightningModule

from lightning_gft.errors import GFTTypeError

Module = TypeVar("Module", bound=LightningModule)


def load_module(
    kind: type[Module], path: str | Path, device: torch.device | str | None, parts: Mapping[str, Any]
) -> Module:
    """Return a module built from ``parts``, with a checkpoint's weights; see ``GFTLitModule.load_from_checkpoint``."""
    try:
        inspect.signature(kind).bind(**parts)
    except TypeError as error:
        raise GFTTypeError(
            f"{kind.__name__}.load_from_checkpoint: expected the constructor's arguments, got {sorted(parts)} "
            f"({error}); give those of the run that wrote the checkpoint, which holds only trained weights, or write a "
            "whole model with `lightning-gft export`"
        ) from None
    module: Any = kind(**parts)
    module.run.load_weights(path)
    return module if device is None else module.to(device)  # type: ignore[no-any-return]
