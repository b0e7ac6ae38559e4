"""Writing a folder that transformers, peft and inference engines load."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

from safetensors import SafetensorError
from transformers import PreTrainedModel

from lightning_gft.export.card import model_card
from lightning_gft.export.targets import move_to_free
from lightning_gft.export.tokenizer import loading_class
from lightning_gft.module import GFTLitModule
from lightning_gft.policy import Policy

Dtype = Literal["float32", "bfloat16", "float16"]


def check_merge(module: GFTLitModule) -> None:
    """Refuse to merge adapters where there are none.

    Args:
        module: Whose policy is to be exported, loaded or not.

    Raises:
        ValueError: If its policy has no adapters.
    """
    if module.policy_loader.lora is None:
        raise ValueError("merge=True, but the policy has no adapters: its weights are exported as they are without it")


def export_policy(
    module: GFTLitModule,
    path: Path,
    *,
    policy: Policy | None = None,
    torch_dtype: Dtype | None = None,
    merge: bool = False,
    data: object = None,
) -> Path:
    """Write weights (safetensors), configuration, tokenizer, chat template and model card.

    A new folder appears when it is whole; into an empty one, files are moved when all are written. Where another run
    has written to it in the meantime, a number is added.

    Args:
        module: Whose policy is written.
        path: Folder, new or empty.
        policy: The policy with all of its weights, see :func:`~lightning_gft.export.whole_policy`; by default the
            module's.
        torch_dtype: Data type of the written weights; by default the one that they were trained in.
        merge: Add adapters to the weights that they belong to, in full precision, and write a plain model; else the
            adapter alone is written.
        data: The datamodule, for the card.

    Returns:
        The folder.

    Raises:
        ValueError: If ``merge`` is asked for and there are no adapters.
        OSError: If the disk is full, say.
    """
    if merge:
        check_merge(module)
        torch_dtype = torch_dtype or _own_dtype(module)
    policy = module.policy if policy is None else policy
    merged = module.policy_loader.merge(policy) if merge else None
    try:
        return _write(module, policy, path.resolve(), torch_dtype, merged, data)
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"the policy could not be written to {path} ({error}); a checkpoint is written there, or elsewhere, by "
            "`lightning-gft export`"
        ) from error


def _write(
    module: GFTLitModule,
    policy: Policy,
    path: Path,
    torch_dtype: Dtype | None,
    merged: PreTrainedModel | None,
    data: object,
) -> Path:
    place = path if path.is_dir() else path.parent  # a folder that is there may be all that can be written to
    place.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=place, prefix=".unfinished-") as unfinished:
        folder = Path(unfinished) / path.name
        policy.save_pretrained(folder, torch_dtype, merged)
        is_adapter = policy.adapters is not None and merged is None
        tokenizer_class = loading_class(folder, module.tokenizer)
        card = model_card(module, data=data, is_adapter=is_adapter, tokenizer_class=tokenizer_class)
        (folder / "README.md").write_text(card, encoding="utf-8")
        if place == path and not [other for other in path.iterdir() if other.name != Path(unfinished).name]:
            for file in sorted(
                folder.iterdir(), key=lambda file: file.name == "config.json"
            ):  # what makes it a model, last
                file.replace(path / file.name)
            return path
        return move_to_free(folder, path)


def _own_dtype(module: GFTLitModule) -> Dtype | None:
    dtype = getattr(module.policy_loader, "torch_dtype", None)
    return dtype if dtype in get_args(Dtype) else None
