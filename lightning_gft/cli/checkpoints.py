"""Finds the checkpoint that ``--ckpt_path`` names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lightning_gft.checkpoint import check_checkpoint, read_notes
from lightning_gft.checks import closest_name
from lightning_gft.errors import GFTUsageError

_NAMES = ("last", "best", "hpc")
_MOST_LISTED = 5
_NONE = "there is none here: give the trainer.default_root_dir of a run for its checkpoints"
_CHOICES = "a checkpoint's file or folder, `last`, `best` or `hpc`"


def find_checkpoint(choice: str, trainer: Mapping[str, Any], *, resumes: bool) -> str:
    """Return the path of a usable checkpoint, and report it if ``choice`` is a name.

    ``last`` is the newest checkpoint of the runs below the root directory, or in the folders of the configured loggers
    and callbacks. ``best`` is the best one by the ``ModelCheckpoint`` of that run. ``hpc`` is the newest one that
    Lightning has written when SLURM ended a job. A run cannot resume from a checkpoint that holds only weights.
    """
    if "://" in choice:  # on another machine
        return choice
    if not choice.strip():
        raise GFTUsageError(f"`ckpt_path`: expected {_CHOICES}, got an empty text; give its path, or remove the option")
    if choice.startswith("registry"):
        raise GFTUsageError(
            f"`ckpt_path`: expected {_CHOICES}, got {choice!r}; download the checkpoint and give its path"
        )
    if choice in _NAMES:
        path = _newest(choice, trainer, resumes)
        if choice == "best":
            path = _best(path)
        rank_zero_info(f"ckpt_path={choice} is {path}")
    else:
        path = Path(choice)
    if choice not in ("last", "hpc"):  # these have been checked already
        check_checkpoint(path, resumes=resumes, hint="" if path.exists() else _there(path, trainer))
    return str(path)


def _newest(choice: str, trainer: Mapping[str, Any], resumes: bool) -> Path:
    pattern = "hpc_ckpt_*.ckpt" if choice == "hpc" else "*.ckpt"
    searched = _searched(trainer)
    found = {path for folder, below in searched for path in folder.glob(below + pattern)}
    for path in sorted(found, key=lambda path: (_age(path), path), reverse=True):
        try:
            check_checkpoint(path, resumes=resumes)
        except (ValueError, OSError) as error:
            rank_zero_warn(f"ckpt_path={choice} skips a file: {error}")
        else:
            return path
    below = " and ".join(dict.fromkeys(str(folder) for folder, _ in searched))
    raise GFTUsageError(
        f"`ckpt_path`: expected a run with a checkpoint {pattern}, got {choice} and none below {below}; give the path "
        "of one, or the trainer.default_root_dir of its run"
    )


def _there(missing: Path, trainer: Mapping[str, Any]) -> str:
    """Return the remedy for a missing checkpoint: the one that was probably meant, or the newest of runs."""
    if name := closest_name(str(missing), _NAMES):
        return f"did you mean {name}?"
    runs = {path for folder, below in _searched(trainer) for path in folder.glob(below + "*.ckpt")}
    found = sorted({*runs, *missing.parent.glob("*.ckpt")}, key=_age)
    by_name = {path.name: path for path in found}
    if closest := closest_name(missing.name, by_name):
        return f"did you mean {by_name[closest]}?"
    newest = ", ".join(map(str, found[-_MOST_LISTED:]))
    here = f"the newest of {len(found)} here are {newest}" if found else _NONE
    return f"give {_CHOICES}; {here}"


def _age(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:  # another run has deleted it in the meantime
        return 0.0


def _searched(trainer: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Return the folders that may hold checkpoints of runs, each with a pattern for the folders below it.

    The working directory holds more than runs: without a root directory, only the folders that Lightning creates there
    are searched.
    """
    here, root = Path.cwd(), trainer["default_root_dir"]
    made = [(here, ""), (here / "checkpoints", "**/"), (here / "lightning_logs", "**/")]
    named = [*_configured(trainer["logger"], "save_dir"), *_configured(trainer["callbacks"], "dirpath")]
    folders = [Path(name) for name in named if "://" not in name]
    below = [(folder, "*/*/checkpoints/" if folder.absolute() == here else "**/") for folder in folders]
    return [*([(Path(root), "**/")] if root else made), *below]


def _configured(parts: Any, setting: str) -> list[str]:
    """Return the values of a setting in the configured loggers or callbacks."""
    settings = [getattr(part, "init_args", None) for part in (parts if isinstance(parts, list) else [parts])]
    return [str(given[setting]) for given in settings if given is not None and given.get(setting)]


def _best(newest: Path) -> Path:
    """Return the best checkpoint so far of the run that wrote the newest one."""
    states = read_notes(newest).get("callbacks", {}).values()
    kept = [state for state in states if isinstance(state, Mapping) and state.get("best_model_score") is not None]
    if not kept:
        raise GFTUsageError(
            "`ckpt_path`: expected a run whose ModelCheckpoint has measured its monitor, got best, but the run of "
            f"{newest} has not; use last, or give a path"
        )
    if len(kept) > 1:
        monitors = ", ".join(str(state["monitor"]) for state in kept)
        raise GFTUsageError(f"`ckpt_path`: expected one best checkpoint, got one by each of {monitors}; give a path")
    path = Path(kept[0]["best_model_path"])
    if not path.exists():
        raise GFTUsageError(
            f"`ckpt_path`: expected the best by {kept[0]['monitor']}, got {path}, which does not exist; give another"
        )
    return path
