"""Writes a folder that transformers, peft and inference engines can load."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lightning.pytorch.utilities import rank_zero_warn
from safetensors import SafetensorError

from lightning_gft.errors import GFTValueError
from lightning_gft.export.card import model_card
from lightning_gft.export.comparison import (
    Comparison,
    check_adapter,
    check_logits,
    check_model,
    coarser,
    coarsest,
    probe_logits,
)
from lightning_gft.export.targets import move_to_free
from lightning_gft.export.tokenizer import loading_class
from lightning_gft.export.whole import WholePolicy, whole_policy
from lightning_gft.module import GFTLitModule
from lightning_gft.policy import Dtype


def export_policy(
    module: GFTLitModule,
    path: Path,
    *,
    whole: WholePolicy | None = None,
    torch_dtype: Dtype | None = None,
    merge: bool = False,
    data: object = None,
) -> Path:
    """Write weights (safetensors), configuration, tokenizer, chat template and model card.

    The written weights are loaded again and compared with the policy on a few tokens before the folder gets its name.
    If the two differ, the files are kept as ``<path>-unchecked``. If they cannot be compared, for example for lack of
    memory, a warning says so. A new folder appears only once it is complete; an empty folder is filled with the
    completed files. If another run has written to the path in the meantime, the name gets a number.

    Args:
        module: The module with the policy.
        path: Folder to write to, new or empty.
        whole: The policy with unsharded weights; by default :func:`~lightning_gft.export.whole_policy` of the module,
            which is then on a single rank.
        torch_dtype: Data type of the written weights; by default that of the trained weights.
        merge: Whether to merge adapters into their full-precision base weights and write a plain model, instead of the
            adapter alone.
        data: The datamodule to describe in the card of a policy that was trained elsewhere.

    Returns:
        The folder of the files.

    Raises:
        ValueError: If ``merge`` is set for a policy without adapters, or the written policy differs from the module's.
        OSError: If the files cannot be written, for example to a full disk.
    """
    if merge:
        module.policy_loader.check_merge()
    whole = whole or whole_policy(module)
    assert whole is not None  # noqa: S101 (only rank 0 calls this)
    path = path.resolve()
    try:
        parent = path if path.is_dir() else path.parent  # an existing folder may be the only writable one
        parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=parent, prefix=".unfinished-") as unfinished:
            folder = Path(unfinished) / path.name
            write = _write_merged if merge else _write_own
            write(module, whole, folder, torch_dtype)
            is_adapter = whole.policy.adapters is not None and not merge
            if is_adapter and module.policy_loader.base_name() is None:
                rank_zero_warn(
                    "`path`: expected an adapter whose base model is stored, got one of a model in memory; keep that "
                    "model, or export with `merge: true`"
                )
            tokenizer_class = loading_class(folder, module.tokenizer)
            card = model_card(module, data=data, is_adapter=is_adapter, tokenizer_class=tokenizer_class)
            (folder / "README.md").write_text(card, encoding="utf-8")
            if whole.comparison.difference:
                written = move_to_free(folder, parent / f"{path.name}-unchecked")
            else:
                written = _move(folder, path, Path(unfinished).name)
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"`path`: expected a folder that the policy can be written to, got {path} ({error}); free space or choose "
            "another, and export a checkpoint by `lightning-gft export`"
        ) from error
    return _checked(written, path, whole.comparison)


def _checked(written: Path, path: Path, comparison: Comparison) -> Path:
    """Return the folder of an export, after an error or a warning if its comparison asks for one."""
    if comparison.difference:
        raise GFTValueError(
            f"`path`: expected an export to {path} equal to the policy, got {comparison.difference}; the files are in "
            f"{written}, find the reason before you use them"
        )
    if comparison.obstacle:
        rank_zero_warn(
            f"`path`: the export in {written} could not be compared with the policy ({comparison.obstacle}): load it "
            "and compare some responses before you rely on it"
        )
    return written


def _write_own(module: GFTLitModule, whole: WholePolicy, folder: Path, torch_dtype: Dtype | None) -> None:
    """Write the model, or only the adapter, and compare it with the policy."""
    policy, attempt = whole.policy, whole.comparison.attempt
    policy.save_pretrained(folder, torch_dtype)
    if policy.adapters is None:
        attempt(check_model, folder, policy.model, whole.logits, whole.dtype)
    else:
        dtype = coarser(whole.dtype, getattr(torch, torch_dtype or "float32"))
        attempt(check_adapter, folder, policy, whole.logits, dtype)


def _write_merged(module: GFTLitModule, whole: WholePolicy, folder: Path, torch_dtype: Dtype | None) -> None:
    """Write a model with merged adapters, and compare it with the policy before the merge."""
    policy, attempt = whole.policy, whole.comparison.attempt
    adapters = module.policy_loader.full_precision(policy)
    expected, dtype = attempt(probe_logits, adapters.model, torch.device("cpu")), coarsest(adapters.model)
    if not policy.is_quantised:  # the full-precision model of a quantised one differs a little
        attempt(check_logits, expected, whole.logits, whole.dtype)
    merged = adapters.merge()
    policy.save_pretrained(folder, torch_dtype or str(policy.model.dtype).removeprefix("torch."), merged)
    attempt(check_model, folder, merged, expected, dtype)


def _move(folder: Path, path: Path, unfinished: str) -> Path:
    """Move a folder to its path: fill an empty folder there, or add a number to the name if it is taken."""
    if not path.is_dir() or [other for other in path.iterdir() if other.name != unfinished]:
        return move_to_free(folder, path)
    for file in sorted(folder.iterdir(), key=lambda file: file.name == "config.json"):  # it completes a model
        file.replace(path / file.name)
    return path
