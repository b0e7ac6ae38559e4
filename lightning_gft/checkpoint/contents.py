"""What a checkpoint of this package holds, looked at before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_gft.checkpoint.frozen import belongs_to
from lightning_gft.checkpoint.references import is_reference
from lightning_gft.errors import GFTValueError

NOTE = "lightning_gft"
"""Where in a checkpoint the package notes what Lightning does not."""

_RUN = ("state_dict", "loops", "pytorch-lightning_version")
_NOTED = {
    "identity": Mapping,
    "frozen": Mapping,
    "settings": Mapping | None,
    "description": Mapping,
    "measured": Mapping,
    "validated_batches": int,
}
_OF_TRAINING = ("optimizer_states", "lr_schedulers", "update_guard")
_OF_LOOP = ("epoch_progress", "epoch_loop.batch_progress", "epoch_loop.val_loop.batch_progress")


def check_contents(checkpoint: Any, *, resumes: bool) -> None:
    """Refuse a checkpoint that this package has not written, or that holds too little.

    Args:
        checkpoint: As loaded.
        resumes: Whether a run is to be resumed from it, for which weights are not enough.

    Raises:
        ValueError: With what is missing, and what to do.
    """
    if missing := _missing(checkpoint, _RUN):
        raise GFTValueError(
            f"the checkpoint holds no {missing}, so it is not of a training run; weights alone are loaded by the "
            "policy's model_name_or_path"
        )
    note = checkpoint.get(NOTE)
    if note is None:
        raise GFTValueError(
            "the checkpoint was written by something else than a GFTLitModule: begin a new run, and load its weights "
            "by the policy's model_name_or_path"
        )
    known = note if isinstance(note, Mapping) else {}
    wrong = [name for name, kind in _NOTED.items() if name not in known or not isinstance(known[name], kind)]
    if wrong:
        raise GFTValueError(
            f"the checkpoint's note `{NOTE}` has no valid {', '.join(wrong)}: use the version of the package that it "
            "was written with, or begin a new run"
        )
    if not resumes:
        return
    if missing := _missing(checkpoint, _OF_TRAINING):
        raise GFTValueError(
            f"the checkpoint holds no {missing}, as with ModelCheckpoint.save_weights_only: it can be measured and "
            "exported, but not resumed"
        )
    loops = checkpoint["loops"]
    loop = loops.get("fit_loop") if isinstance(loops, Mapping) else None
    if missing := _missing(loop, _OF_LOOP):
        raise GFTValueError(f"the checkpoint's fit_loop holds no {missing}, so no run can be resumed from it")


def _missing(values: Any, names: tuple[str, ...]) -> str:
    return ", ".join(name for name in names if not isinstance(values, Mapping) or name not in values)


def refuse_other_run(differences: list[str]) -> None:
    """Raise with the first of the differences between a checkpoint and a run, if there is one."""
    if not differences:
        return
    more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
    raise GFTValueError(
        f"the checkpoint does not belong to this run: {differences[0]}{more}; use the configuration that it was "
        "written with, config.yaml beside its logs"
    )


def shape_differences(saved: Mapping[str, Any], own: Mapping[str, Any], left_out: Mapping[str, str]) -> list[str]:
    """Return in words where saved weights and those of a run differ by name or shape, except those left out."""
    own = {name: value for name, value in own.items() if not (belongs_to(name, left_out) or is_reference(name))}
    saved = {name: value for name, value in saved.items() if not is_reference(name)}
    shapes = [
        f"{name} is {list(saved[name].shape)} there and {list(own[name].shape)} here"
        for name in own
        if name in saved and saved[name].shape != own[name].shape
    ]
    only_there = [f"{name} is only in the checkpoint" for name in saved if name not in own]
    return shapes + only_there + [f"{name} is only in this run" for name in own if name not in saved]
