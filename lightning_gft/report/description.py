"""Reads ``run.json``, the description of a run, into values of known types."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from lightning_gft.record import RUN, VERSION
from lightning_gft.report.redaction import described
from lightning_gft.report.side_files import Faults, Fields, kind_of


@dataclass(frozen=True)
class Device:
    """The device of a run."""

    kind: str = ""
    name: str = ""
    count: int = 1


@dataclass(frozen=True)
class Description:
    """The settings and the device of a run; unknown values are empty or ``None``.

    Args:
        started: Start of the fit, in ISO 8601.
        starts: Optimizer steps at which the fit was started or resumed.
        versions: Versions of libraries by name.
        device: Device of each rank.
        world_size: Number of ranks.
        precision: Precision as named by the trainer.
        parameters: Number of the model's parameters.
        trainable: Number of those that are trained.
        model: Class of the policy.
        train: Number of training prompts.
        val: Number of prompts of each validation data set; the main one has an empty name.
    """

    started: str = ""
    starts: tuple[int, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    device: Device = Device()
    world_size: int = 1
    precision: str = ""
    parameters: int | None = None
    trainable: int | None = None
    model: str = ""
    train: int | None = None
    val: dict[str, int] = field(default_factory=dict)


def read_description(folder: Path, faults: Faults) -> Description:
    """Read and redact the description of the run whose log is in ``folder``; without a file all values are empty."""
    path = folder / RUN
    if not path.exists():
        return Description()

    def add_fault(text: str) -> None:
        faults.note(folder, RUN, text)

    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        add_fault(f"expected JSON, got other text ({type(error).__name__})")
        return Description()
    if not isinstance(read, dict):
        add_fault(f"expected the description of a run, got {kind_of(read)}")
        return Description()
    if read.get("version") != VERSION:
        add_fault(f"`version`: expected {VERSION}, got {kind_of(read.get('version'))}")
        return Description()
    return _described(Fields(described(read), add_fault))


def _described(fields: Fields) -> Description:
    device, data = fields.part("device"), fields.part("data")
    starts = [start.count("step") for start in fields.parts("starts")]
    return Description(
        started=fields.text("started"),
        starts=tuple(step for step in starts if step is not None),
        versions=fields.part("versions").texts(),
        device=Device(device.text("kind"), device.text("name"), device.count("count") or 1),
        world_size=fields.count("world_size") or 1,
        precision=fields.text("precision"),
        parameters=fields.count("parameters"),
        trainable=fields.count("trainable"),
        model=fields.text("model"),
        train=data.count("train"),
        val=data.part("val").counts(),
    )
