"""What two processes send is what the formulas say, they train as one does, and the estimate's page is up to date."""

from __future__ import annotations

import json
from argparse import Namespace
from functools import partial
from typing import Any

import pytest
import torch

from benchmarks import estimate, scaling, worker
from benchmarks.estimate import Circumstances, Model
from benchmarks.job import model_and_workplace
from benchmarks.traffic import FIGURE_BYTES, FIGURES, CountTraffic
from lightning_gft.metrics.histogram import NUM_BINS
from tests.cli.command import ROOT

PAGE = ROOT / "docs/scaling.md"
SMALL = ("--size=minuscule", "--group-size=2", "--prompt-length=8", "--response-length=8", "--rounds=1", "--steps=1")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    output = tmp_path_factory.mktemp("scaling") / "scaling.json"
    with pytest.MonkeyPatch.context() as patch:  # each that is weighed takes fresh processes, hence seconds
        patch.setattr(scaling, "compare_memory", partial(scaling.compare_memory, names=["fsdp2"]))
        assert scaling.main([*SMALL, "--warmup=0", f"--output={output}"]) == 0
    found: dict[str, Any] = json.loads(output.read_text())
    return found


@pytest.mark.slow
def test_counted_bytes_are_those_of_the_formulas(record: dict[str, Any]):
    for name, row in record["traffic"].items():
        counted = {kind: size for kind, size in row["bytes"].items() if kind != FIGURES}
        assert counted == row["expected_bytes"], name
        assert row["micro_batches"] == (2 if "two" in name else 1)
        # Two ranks gather twelve histograms of weights and one of ratios; the rest is too small for tokens or weights.
        assert 0 < row["bytes"][FIGURES] - 26 * NUM_BINS * 8 < FIGURE_BYTES, name


@pytest.mark.slow
def test_formulas_are_of_the_model(record: dict[str, Any]):
    sizes = record["traffic"]["fsdp2"]["sizes"]
    assert sizes["gradients"] == sizes["all"] == record["traffic"]["ddp"]["bytes"]["all_reduce"]
    assert sizes["all"] == sizes["root"] + 2 * sizes["block"]
    halves = record["traffic"]["fsdp2, bf16-mixed"]["sizes"]
    assert 2 * halves["block"] == sizes["block"]
    assert halves["gradients"] == sizes["gradients"]


@pytest.mark.slow
def test_two_processes_train_as_one(record: dict[str, Any]):
    for name, row in record["traffic"].items():
        assert row["autocast"] or row["difference"] < 1e-3, name


@pytest.mark.slow
def test_record_is_complete(record: dict[str, Any]):
    assert {"command", "date", "commit", "hardware", "versions", "network", "setting", "work"} <= record.keys()
    for kind in ("update", "rollout and update"):
        rows = record["results"][kind]
        assert len(rows) == 5
        for name in ("ddp", "fsdp2", "fsdp2, kept"):
            assert rows[name]["weak"] > 0
            assert len(record["seconds"][kind][name]) == 1
    first, second = record["memory"]["fsdp2"]
    whole = record["traffic"]["fsdp2"]["sizes"]["all"] / 2**20
    for row in (first, second):
        assert row["peak_mib"] >= row["loaded_mib"] > 0
        assert row["weights_mib"] == pytest.approx(whole / 2, abs=0.01)
        assert row["optimizer_mib"] == pytest.approx(whole, abs=0.01)


def test_what_a_process_observes_alone():
    options = Namespace(size="minuscule", seed=0, vocab_size=None, device="cpu", steps=2, warmup=0)
    options = Namespace(**vars(options), prompts=4, group_size=2, prompt_length=4, response_length=4)
    with model_and_workplace(options) as (model, workplace):
        job = scaling.make_job(options, model, workplace, micro_batches=2)
        observed = worker.observe(worker.Part(job, None, world=1))
        change = torch.load(worker.change_file(job))
    assert observed["calls"] == observed["bytes"] == {}
    assert observed["micro_batches"] == 4
    sizes = observed["sizes"]
    assert sizes["all"] == sizes["gradients"] == sizes["root"] + 2 * sizes["block"]
    assert sizes["all"] == 4 * sum(weight.numel() for weight in change.values())
    assert all(weight.any() for weight in change.values())


def test_prompts_must_be_even():
    with pytest.raises(SystemExit, match="`--prompts`: expected a multiple of 4"):
        scaling.main(["--prompts=6"])


def test_an_unknown_collective_is_an_error():
    tensor = torch.zeros(4)
    with CountTraffic(), pytest.raises(NotImplementedError, match="all_to_all_single is not counted"):
        torch.ops._c10d_functional.all_to_all_single(tensor, [4], [4], "0")


def test_the_page_shows_what_the_estimate_says():
    page = PAGE.read_text()
    assert estimate.tables(estimate.MODELS, Circumstances()) in page
    model, method = estimate.MODELS[0], estimate.METHODS[0]
    found = estimate.seconds(model, method, "fsdp2", 8, Circumstances())
    for text in (f"= {found['bytes'] / 1e9:.0f} GB", f": {found['moving']:.2f} s", f"= {found['computing']:.2f} s"):
        assert text in page


def test_estimate_of_a_model_of_round_numbers(capsys: pytest.CaptureFixture[str]):
    model = Model("round", 1000, layers=4, hidden=10, intermediate=20, keys=5, vocabulary=20)
    full, given = estimate.METHODS[0], Circumstances(nvlink=1000, infiniband=100, reached=1, flops=6000, utilisation=1)
    assert estimate.sizes(model, full) == estimate.Sizes(2800, 1600, 300, 4000)
    assert estimate.memory(model, full, "fsdp2", 8, given)["states"] == 16 * 1000 / 8
    few = estimate.seconds(model, full, "ddp", 8, given)
    assert few["moving"] == few["moving_alone"] == pytest.approx(2 * 4000 * 7 / 8 / 1000)
    assert few["computing"] == 65536
    many = estimate.seconds(model, full, "ddp", 64, given)
    assert many["moving"] == pytest.approx(2 * 4000 * 7 / 8 / (8 * 100))
    assert many["moving_alone"] == pytest.approx(2 * 4000 * 63 / 64 / 100)
    estimate.main(["--model", json.dumps(model._asdict()), "--memory=1e9"])
    assert "round, QLoRA" in capsys.readouterr().out
