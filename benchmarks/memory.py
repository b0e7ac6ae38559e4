"""Peak memory of a whole training step, ours beside that of TRL's ``GRPOTrainer``.

python -m benchmarks.memory --size tiny --device cpu --method lora --output results.json

Both load the same files with random weights, draw a group of responses to each prompt, and take an optimizer step, each
in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from benchmarks.circumstances import circumstances
from benchmarks.contest import write_record
from benchmarks.options import check_device, check_passes, training_parser
from benchmarks.random_model import write_model
from benchmarks.setting import LENGTHS, Method, Setting, Side

ROOT = Path(__file__).parents[1]
SIDES: tuple[Side, ...] = get_args(Side)
TOLERANCE = 0.05
"""Share by which the numbers of trained tokens may differ."""
_ROWS: dict[str, str] = {
    "before_loading_mib": "before loading, MiB",
    "loaded_mib": "model loaded, MiB",
    "peak_of_first_sampling_mib": "peak up to the first backward, MiB",
    "peak_mib": "peak, MiB",
    "added_by_training_mib": "added by training, MiB",
    "peak_reserved_mib": "peak reserved, MiB",
    "trained_tokens": "response tokens trained on",
    "seconds": "seconds",
}
_COMPARED = ("peak_mib", "added_by_training_mib", "peak_reserved_mib")


def main(args: Sequence[str] | None = None) -> int:
    """Measure both sides, print a table and write the record; return 1 if there is nothing to compare.

    Args:
        args: Command line; default the process's.
    """
    options = _parser().parse_args(args)
    setting = _setting(options)
    check_passes(setting.rows, setting.rows_per_pass)
    check_device(setting.device)
    with TemporaryDirectory(dir=options.workplace) as folder:
        results = measure(setting, Path(folder))
    record = {
        **circumstances("benchmarks.memory", setting.device, args),
        "setting": setting.describe(),
        **results,
        **compare(**results),
    }
    _print_table(record)
    write_record(options.output, record)
    return 0 if record["ratios"] else 1


def measure(setting: Setting, workplace: Path) -> dict[str, dict[str, Any]]:
    """Run both sides, one after the other, on the same model.

    Args:
        setting: The measurement.
        workplace: An empty folder; the model is written there too.
    """
    model = workplace / "model"
    model.mkdir()
    write_model(model, setting)
    (workplace / "setting.json").write_text(json.dumps(asdict(setting)))
    return {side: _in_own_process(side, workplace) for side in SIDES}


def compare(ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, Any]:
    """Return ours over the peer's, or why they cannot be compared.

    Args:
        ours: What was measured of us.
        peer: What was measured of the other library.
    """
    for name, side in (("ours", ours), ("peer", peer)):
        if "error" in side:
            return {"ratios": None, "refused": f"{name} did not run: {side['error']}"}
    weights = ours["trained_parameters"], peer["trained_parameters"]
    if weights[0] != weights[1]:
        return {"ratios": None, "refused": f"they trained {weights[0]:,} and {weights[1]:,} weights"}
    tokens = ours["trained_tokens"], peer["trained_tokens"]
    if max(tokens) - min(tokens) > TOLERANCE * max(tokens):
        return {"ratios": None, "refused": f"they trained on {tokens[0]} and {tokens[1]} tokens; try another --seed"}
    ratios = {name: round(ours[name] / peer[name], 3) for name in _COMPARED if peer.get(name)}
    return {"ratios": ratios, "refused": None}


def _in_own_process(side: Side, workplace: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.side", side, str(workplace)]
    ended = subprocess.run(command, cwd=ROOT, check=False)
    result = workplace / side / "result.json"
    if not result.exists():  # killed, for want of memory as a rule
        return {"settings": {}, "error": f"the process ended with status {ended.returncode}"}
    measured: dict[str, Any] = json.loads(result.read_text())
    return measured


def _parser() -> argparse.ArgumentParser:
    parser = training_parser(__doc__)
    parser.add_argument("--method", choices=get_args(Method), default="lora")
    parser.add_argument("--prompts", type=int, default=1, help="prompts a training step")
    parser.add_argument("--prompt-length", type=int, help="tokens; 512, and 128 for tiny")
    parser.add_argument("--response-length", type=int, help="tokens; 1024, and 256 for tiny")
    parser.add_argument("--rows-per-pass", type=int, default=1, help="sequences that go through the model at once")
    parser.add_argument(
        "--steps", type=int, default=2, help="optimizer steps; Adam's state is there from the second on"
    )
    parser.add_argument("--vocab-size", type=int, help="words, if not the architecture's")
    return parser


def _setting(options: argparse.Namespace) -> Setting:
    prompt_length, response_length = LENGTHS[options.size]
    return Setting(
        size=options.size,
        device=options.device,
        method=options.method,
        group_size=options.group_size,
        prompts=options.prompts,
        prompt_length=options.prompt_length or prompt_length,
        response_length=options.response_length or response_length,
        rows_per_pass=options.rows_per_pass,
        steps=options.steps,
        seed=options.seed,
        vocab_size=options.vocab_size,
    )


def _print_table(record: dict[str, Any]) -> None:
    ours, peer, ratios = record["ours"], record["peer"], record["ratios"] or {}
    setting = record["setting"]
    table = Table(title=f"{setting['size']}, {setting['method']}, {setting['device']}")
    for column in ("", "ours", "TRL", "ours / TRL"):
        table.add_column(column, justify="right" if column else "left")
    for name, title in _ROWS.items():
        if name in ours or name in peer:
            table.add_row(
                title, *(f"{side[name]:,}" if name in side else "-" for side in (ours, peer)), str(ratios.get(name, ""))
            )
    console = Console()
    console.print(table)
    if record["refused"]:
        console.print(f"Not compared: {record['refused']}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
