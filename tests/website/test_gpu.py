"""The figures of docs/gpu.md are those of the overlays and of the records of measurements."""

from __future__ import annotations

import json
import re

from website.links import ROOT

PAGE = (ROOT / "docs/gpu.md").read_text()
OVERLAYS = ROOT / "configs/overlays"
ROW = re.compile(r"^\| .* billion weights \| .* \| `([\w.]+)`(?:, `(\w+\.yaml)`)? \| about (\d+) GB \|$", re.MULTILINE)


def computed(size: str, over: str) -> str:
    """Return the memory that the comment of the last overlay computes."""
    comment = (OVERLAYS / (over or size)).read_text()
    found = re.search(r"# GPU memory(?: with (\S+))?: about (\d+) GB", comment)
    assert found is not None
    assert not over or found[1] == f"configs/overlays/{size}"
    return found[2]


def test_memory_is_what_the_overlays_compute() -> None:
    rows = ROW.findall(PAGE)
    assert len(rows) == 4
    assert [gigabytes for _, _, gigabytes in rows] == [computed(size, over) for size, over, _ in rows]


def test_measured_memory_is_that_of_the_records() -> None:
    stated = re.search(r"added (\d+) MiB in full, (\d+) MiB with LoRA and (\d+) MiB with\nQLoRA", PAGE)
    assert stated is not None
    records = [ROOT / f"benchmarks/results/memory_cpu_tiny_{method}.json" for method in ("full", "lora", "qlora")]
    measured = [json.loads(record.read_text())["ours"]["added_by_training_mib"] for record in records]
    assert [int(value) for value in stated.groups()] == [round(value) for value in measured]
