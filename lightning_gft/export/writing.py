"""Writing a folder that transformers, peft and inference engines load."""

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

    What was written is loaded again and compared with the policy on a few tokens before it gets its name. If the two
    differ, the files are kept under another name, ``<path>-unchecked``; if they cannot be compared, for lack of memory,
    say, a warning says so. A new folder appears when it is whole; into an empty one, files are moved when all are
    written. Where another run has written to it in the meantime, a number is added.

    Args:
        module: Has the policy.
        path: Folder, new or empty.
        whole: The policy with all of its weights; by default :func:`~lightning_gft.export.whole_policy` of the module,
            on one rank.
        torch_dtype: Data type of the written weights; by default the one that they were trained in.
        merge: Add adapters to the weights that they belong to, in full precision, and write a plain model; else the
            adapter alone is written.
        data: The datamodule, for the card of what was trained elsewhere.

    Returns:
        The folder.

    Raises:
        ValueError: If ``merge`` is asked for and there are no adapters, or what was written is not the policy.
        OSError: If the disk is full, say.
    """
    if merge:
        module.policy_loader.check_merge()
    whole = whole or whole_policy(module)
    assert whole is not None  # noqa: S101 (this is rank 0)
    path = path.resolve()
    try:
        parent = path if path.is_dir() else path.parent  # what is there may be all that is writable
        parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=parent, prefix=".unfinished-") as unfinished:
            folder = Path(unfinished) / path.name
            write = _write_merged if merge else _write_own
            write(module, whole, folder, torch_dtype)
            is_adapter = whole.policy.adapters is not None and not merge
            if is_adapter and module.policy_loader.base_name() is None:
                rank_zero_warn(
                    "`path`: the exported adapter belongs to a model that is stored nowhere; keep that model, or "
                    "export with `merge: true`"
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
            f"the policy could not be written to {path} ({error}); a checkpoint is written there, or elsewhere, by "
            "`lightning-gft export`"
        ) from error
    return _checked(written, path, whole.comparison)


def _checked(written: Path, path: Path, comparison: Comparison) -> Path:
    """Return where an export is if it is the policy, as far as could be seen."""
    if comparison.difference:
        raise GFTValueError(
            f"`path`: expected an export to {path} equal to the policy, got {comparison.difference}; the files are in "
            f"{written}, find out why before you use them"
        )
    if comparison.obstacle:
        rank_zero_warn(
            f"`path`: the export in {written} could not be compared with the policy ({comparison.obstacle}): load it "
            "and compare some responses before you rely on it"
        )
    return written


def _write_own(module: GFTLitModule, whole: WholePolicy, folder: Path, torch_dtype: Dtype | None) -> None:
    """Write the model, or the adapter alone, and compare it with the policy."""
    policy, attempt = whole.policy, whole.comparison.attempt
    policy.save_pretrained(folder, torch_dtype)
    if policy.adapters is None:
        attempt(check_model, folder, policy.model, whole.logits, whole.dtype)
    else:
        dtype = coarser(whole.dtype, getattr(torch, torch_dtype or "float32"))
        attempt(check_adapter, folder, policy, whole.logits, dtype)


def _write_merged(module: GFTLitModule, whole: WholePolicy, folder: Path, torch_dtype: Dtype | None) -> None:
    """Write a model with the adapters in its weights, and compare it with adapters beside them."""
    policy, attempt = whole.policy, whole.comparison.attempt
    adapters = module.policy_loader.full_precision(policy)
    expected, dtype = attempt(probe_logits, adapters.model, torch.device("cpu")), coarsest(adapters.model)
    if not policy.is_quantised:  # else the model in full precision is another, if only a little
        attempt(check_logits, expected, whole.logits, whole.dtype)
    merged = adapters.merge()
    policy.save_pretrained(folder, torch_dtype or str(policy.model.dtype).removeprefix("torch."), merged)
    attempt(check_model, folder, merged, expected, dtype)


def _move(folder: Path, path: Path, unfinished: str) -> Path:
    """Move a folder to its path: an empty one is filled, and beside one with content the name gets a number."""
    if not path.is_dir() or [other for other in path.iterdir() if other.name != unfinished]:
        return move_to_free(folder, path)
    for file in sorted(folder.iterdir(), key=lambda file: file.name == "config.json"):  # what makes it a model, last
        file.replace(path / file.name)
    return path
