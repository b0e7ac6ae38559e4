"""A training step by the real command line on each kind of device; runs in a subprocess."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from tempfile import TemporaryDirectory

from lightning_gft.cli.doctor.devices import available
from lightning_gft.cli.doctor.finding import Finding, tried
from lightning_gft.cli.shipped import shipped
from lightning_gft.errors import GFTRuntimeError

_QUICK = (
    "--trainer.max_steps=1",
    "--trainer.limit_val_batches=0",
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.default_callbacks=false",
    "--data.num_train=8",
    "--data.num_val=1",
    "--data.num_second_skill=0",
)
_ERROR = "error: "
_REMEDY = "for the traceback, run LIGHTNING_GFT_TRACEBACK=1 lightning-gft fit --config configs/quickstart/gft.yaml"


def check_training() -> Iterator[Finding]:
    """Yield whether the package trains its own small policy, on each kind of device."""
    for device in available():
        yield tried(f"training on {device}", partial(_step, device.type), _REMEDY, needed=device.type == "cpu")


def _step(device: str) -> str:
    from lightning_gft.cli.running import run

    config = shipped()["configs/quickstart/gft.yaml"]
    accelerator = "gpu" if device == "cuda" else device
    with TemporaryDirectory() as folder, redirect_stdout(StringIO()), redirect_stderr(StringIO()) as printed:
        place = (f"--trainer.accelerator={accelerator}", f"--trainer.default_root_dir={folder}")
        try:
            run(["fit", f"--config={config}", *place, *_QUICK])
        except SystemExit as ended:
            errors = [line for line in printed.getvalue().splitlines() if line.startswith(_ERROR)]
            reason = errors[-1].removeprefix(_ERROR) if errors else f"lightning-gft fit ended with status {ended.code}"
            raise GFTRuntimeError(reason) from ended
    return "a step of GFT on the package's own policy"
