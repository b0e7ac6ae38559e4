"""The contents of this package's checkpoints, checked before any of them are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_gft.checkpoint.frozen import belongs_to
from lightning_gft.checkpoint.references import is_reference
from lightning_gft.errors import GFTValueError

NOTE = "lightning_gft"
"""Key under which a checkpoint holds this package's notes, beside Lightning's state."""

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
    """Check that this package has written a checkpoint, and that it is complete.

    Args:
        checkpoint: The checkpoint as torch loaded it.
        resumes: Whether a run is to be resumed from it, which needs more than weights.

    Raises:
        ValueError: If something is missing; the error says what, and what to do.
    """
    if missing := _missing(checkpoint, _RUN):
        raise GFTValueError(
            f"the checkpoint: expected one of a training run, got one without {missing}; to load weights alone, set "
            "the policy's model_name_or_path"
        )
    note = checkpoint.get(NOTE)
    if note is None:
        raise GFTValueError(
            "the checkpoint: expected one that GFTLitModule wrote, got another module's; begin a new run, and load its "
            "weights with the policy's model_name_or_path"
        )
    known = note if isinstance(note, Mapping) else {}
    wrong = [name for name, kind in _NOTED.items() if name not in known or not isinstance(known[name], kind)]
    if wrong:
        raise GFTValueError(
            f"the checkpoint's note `{NOTE}`: expected valid {', '.join(wrong)}, got none; use the version of the "
            "package that it was written with, or begin a new run"
        )
    if not resumes:
        return
    if missing := _missing(checkpoint, _OF_TRAINING):
        raise GFTValueError(
            f"the checkpoint: expected the state of training, got one without {missing}, as with "
            "ModelCheckpoint.save_weights_only; evaluate or export it, or resume from another one"
        )
    loops = checkpoint["loops"]
    loop = loops.get("fit_loop") if isinstance(loops, Mapping) else None
    if missing := _missing(loop, _OF_LOOP):
        raise GFTValueError(
            f"the checkpoint's fit_loop: expected the state to resume from, got one without {missing}; resume from "
            "another checkpoint"
        )


def _missing(values: Any, names: tuple[str, ...]) -> str:
    return ", ".join(name for name in names if not isinstance(values, Mapping) or name not in values)


def check_same_run(differences: list[str]) -> None:
    """Raise an error with the first of the differences between a checkpoint and a run, if there is one."""
    if not differences:
        return
    more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
    raise GFTValueError(
        f"the checkpoint: expected one of this run, got differences: {differences[0]}{more}; use the configuration "
        "that it was written with, config.yaml beside its logs"
    )


def shape_differences(saved: Mapping[str, Any], own: Mapping[str, Any], left_out: Mapping[str, str]) -> list[str]:
    """Describe where saved weights and those of a run differ by name or shape, except those left out."""
    own = {name: value for name, value in own.items() if not (belongs_to(name, left_out) or is_reference(name))}
    saved = {name: value for name, value in saved.items() if not is_reference(name)}
    shapes = [
        f"{name} is {list(saved[name].shape)} in the checkpoint and {list(own[name].shape)} in this run"
        for name in own
        if name in saved and saved[name].shape != own[name].shape
    ]
    only_there = [f"{name} is only in the checkpoint" for name in saved if name not in own]
    return shapes + only_there + [f"{name} is only in this run" for name in own if name not in saved]
