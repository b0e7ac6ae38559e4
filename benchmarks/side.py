"""One side of a measurement in a process of its own: ``python -m benchmarks.side ours WORK`` is not for users."""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any

from benchmarks.meter import Meter
from benchmarks.setting import Setting, Side

_LIBRARIES = {"full": (), "lora": ("peft",), "qlora": ("peft", "bitsandbytes")}
"""Not all are imported at once; none shall count as part of the model."""


def run_side(side: Side, setting: Setting, model: Path, workplace: Path) -> dict[str, Any]:
    """Train one side in this process and return what was measured.

    A side that cannot run something says why: that is a result too.

    Args:
        side: Which.
        setting: The measurement.
        model: Folder of the model.
        workplace: Folder to write to.
    """
    settings: dict[str, Any] = {}
    try:
        library = importlib.import_module(f"benchmarks.{side}")
        settings = library.settings(setting)
        for name in _LIBRARIES[setting.method]:
            importlib.import_module(name)
        meter = Meter(setting.device)
        library.train(setting, model, workplace, meter)
        return {"settings": settings, **meter.finish()}
    except Exception as error:  # noqa: BLE001 (whatever keeps it from running)
        traceback.print_exc()
        return {"settings": settings, "error": f"{type(error).__name__}: {error}".splitlines()[0]}


def main(side: Side, workplace: Path) -> None:
    """Run what a folder describes, and write the result beside it.

    Args:
        side: Which.
        workplace: Folder with ``setting.json`` and ``model``.
    """
    setting = Setting(**json.loads((workplace / "setting.json").read_text()))
    own = workplace / side
    own.mkdir()
    result = run_side(side, setting, workplace / "model", own)
    (own / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))  # type: ignore[arg-type]
