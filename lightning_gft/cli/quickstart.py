"""``lightning-gft quickstart``: measures the package's policy, trains it by SFT and by GFT, and compares the three."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

import lightning_gft
from lightning_gft.cli.documents import read_files
from lightning_gft.cli.shipped import shipped
from lightning_gft.errors import GFTUsageError

RUNS = {
    "base": ("validate", "configs/quickstart/gft.yaml"),
    "SFT": ("fit", "configs/quickstart/sft.yaml"),
    "GFT": ("fit", "configs/quickstart/gft.yaml"),
}
"""Subcommand and configuration of each run, by the name that the comparison gives it."""

_MARK = ".done"
"""File in a run's folder with a digest of the code and the settings that completed the run."""
_LOGS: dict[str, tuple[object, ...]] = {
    "default_root_dir": (None,),
    "logger": (None, True),
    "fast_dev_run": (None, False),
    "barebones": (None, False),
}
"""Settings of the trainer that would move or disable the logs, which are compared, with values that do neither."""
_CODE = ("*.py", "*.yaml", "*.json", "*.safetensors")


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs/quickstart/compared"),
        metavar="FOLDER",
        help="folder of the runs and of their comparison (default: %(default)s); runs that are complete there, by the "
        "same code and settings, are not repeated",
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="SETTING",
        help="settings of all three runs, after `--`: lightning-gft quickstart -- --data.seed=1",
    )


def run(options: argparse.Namespace) -> None:
    """Complete the runs, print a table and write a report."""
    if wrong := [setting for setting in options.settings if not setting.startswith("--") or "=" not in setting]:
        raise GFTUsageError(
            f"`SETTING`: expected settings of the form --name=value, got {wrong[0]!r}; join name and value"
        )
    if moved := next(_moving(options.settings), None):
        raise GFTUsageError(
            f"`SETTING`: expected settings that keep the runs' logs in their folders, got {moved}; leave it out, and "
            "choose the folder by --output"
        )
    folders = {name: options.output / name.lower() for name in RUNS}
    for name, (subcommand, config) in RUNS.items():
        settings = [*options.settings, f"--trainer.default_root_dir={folders[name]}"]  # after files, which replace it
        _complete(name, folders[name], [subcommand, f"--config={shipped()[config]}", *settings])
    print(f"Logs: tensorboard --logdir {options.output}")
    print(f"To train again, remove {options.output}\n", flush=True)
    from lightning_gft.cli.light import run_light

    page = options.output / "report.html"
    run_light(["report", *(f"{name}={folder}" for name, folder in folders.items()), f"--output={page}"])


def _moving(settings: Sequence[str]) -> Iterator[str]:
    """Yield the settings after which the logs of a run would not be in its folder."""
    typed = [(repr(setting), _trainer_of(setting)) for setting in settings]
    filed = [(file, config.get("trainer") or {}) for file, config in read_files(settings)]
    for where, trainer in typed + filed:
        if not isinstance(trainer, dict):
            raise GFTUsageError(
                f"`SETTING`: expected trainer to be a mapping, got {trainer!r} in {where}; give a file of settings by "
                "--config"
            )
        for name, value in trainer.items():
            if value not in _LOGS.get(name, (value,)):
                yield f"trainer.{name} in {where}"


def _trainer_of(setting: str) -> Any:
    """Return the settings of the trainer in one of the command line, as a file would write them."""
    option, _, text = setting.removeprefix("--").partition("=")
    trainer, *path = option.rstrip("+").split(".")
    if trainer != "trainer":
        return {}
    from lightning_gft.cli.parsing import load_value  # takes seconds, and the runs need it too

    try:
        value = load_value(text)
    except yaml.YAMLError:
        value = text  # as the command line takes it
    for name in reversed(path):
        value = {name: value}
    return value


def _complete(name: str, folder: Path, args: list[str]) -> None:
    """Run the command line with arguments, unless its folder has the completed run."""
    mark, key = folder / _MARK, _fingerprint(args)
    if mark.is_file() and mark.read_text(encoding="utf-8") == key:
        print(f"{name}: complete in {folder}", flush=True)
        return
    print(f"{name}: lightning-gft {' '.join(args)}", flush=True)
    from lightning_gft.cli.running import run as run_lightning  # takes seconds

    with _as_typed(args):
        run_lightning()
    mark.write_text(key, encoding="utf-8")


@contextmanager
def _as_typed(args: Sequence[str]) -> Iterator[None]:
    """Context in which the process has these arguments: Lightning warns of others, and starts further ranks by them."""
    typed = sys.argv
    sys.argv = [typed[0], *args]
    try:
        yield
    finally:
        sys.argv = typed


def _fingerprint(args: Sequence[str]) -> str:
    """Return a digest of all that a run depends on within this project: arguments, code, weights, configurations."""
    digest = hashlib.sha256("\0".join(args).encode())
    package = Path(lightning_gft.__file__).parent
    for path in sorted({path for pattern in _CODE for path in package.rglob(pattern)} | {*shipped().values()}):
        digest.update(path.read_bytes())
    return digest.hexdigest()
