"""Writing a folder that transformers, peft and inference engines load."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from lightning_gft.export.card import model_card
from lightning_gft.module import GFTLitModule

Dtype = Literal["float32", "bfloat16", "float16"]


def check_target(path: Path) -> None:
    """Refuse a file or folder that holds something already, or that could not be made.

    Args:
        path: What shall be written at the end of a run.

    Raises:
        FileExistsError: If there is something.
        PermissionError: If it cannot be made.

    Example:
        >>> check_target(Path("/dev/null/policy"))
        Traceback (most recent call last):
        PermissionError: cannot write to /dev/null/policy, because /dev/null is no folder; choose another path
    """
    if path.is_dir() and not any(path.iterdir()):
        existing = path
    elif path.exists():
        raise FileExistsError(f"{path} is there already; choose another path, or move it away")
    else:
        existing = next(parent for parent in path.absolute().parents if parent.exists())
    reason = "is no folder" if not existing.is_dir() else "" if os.access(existing, os.W_OK) else "cannot be written to"
    if reason:
        raise PermissionError(f"cannot write to {path}, because {existing} {reason}; choose another path")


def export_policy(
    module: GFTLitModule,
    path: Path,
    *,
    torch_dtype: Dtype | None = None,
    merge: bool = False,
    data: object = None,
) -> None:
    """Write weights (safetensors), configuration, tokenizer, chat template and model card.

    The folder appears when it is whole.

    Args:
        module: Whose policy is written.
        path: Folder, new or empty.
        torch_dtype: Data type of the written weights; by default the one that they were trained in.
        merge: Add adapters to the weights that they belong to, in full precision, and write a plain model; else the
            adapter alone is written.
        data: The datamodule, for the card.

    Raises:
        ValueError: If ``merge`` is asked for and there are no adapters.
        FileExistsError: If there is something at ``path``.
        PermissionError: If it cannot be made.
    """
    check_target(path)
    if merge and module.policy.adapters is None:
        raise ValueError("merge=True, but the policy has no adapters: its weights are exported as they are without it")
    merged = module.policy_loader.merge(module.policy) if merge else None
    is_adapter = module.policy.adapters is not None and not merge
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as unfinished:
        folder = Path(unfinished) / path.name
        module.policy.save_pretrained(folder, torch_dtype, merged)
        card = model_card(module, data=data, is_adapter=is_adapter)
        (folder / "README.md").write_text(card, encoding="utf-8")
        folder.replace(path)  # in the place of an empty one, if there is one
