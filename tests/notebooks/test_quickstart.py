"""The quickstart's notebook has the settings of its configurations, and shows what its text speaks of."""

from __future__ import annotations

import json
import re
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode

from tests.cli.command import GFT, ROOT, SFT, printed_config
from tests.notebooks.running import execute, outputs, parameters, reduced, shown

pytestmark = pytest.mark.slow  # `make notebooks` runs it
PATH = ROOT / "notebooks/quickstart.ipynb"
REDUCED = {"UPDATES": 2, "NUM_VAL": 8, "NUM_SECOND_SKILL": 4}

SHOW_SETTINGS = """
import json

def settings(module):
    optimizer, data = module.trainer.optimizers[0], module.trainer.datamodule
    sampler, evaluation = module.sampler, module.evaluator.settings
    own = [source for source in sampler.sources.values() if hasattr(source, "sampling")]
    return {
        "policy": type(module.policy_loader).__name__,
        "sources": {n: [type(s).__name__, s.num_responses] for n, s in sampler.sources.items()},
        "max_new_tokens": [source.sampling.max_new_tokens for source in own],
        "rewards": {n: [type(r).__name__, r.marker] for n, r in sampler.rewards.items()},
        "advantage": type(sampler.advantage).__name__,
        "loss": type(module.loss).__name__,
        "threshold": getattr(getattr(module.loss, "rectifier", None), "threshold", None),
        "rectifies_all": getattr(module.loss, "otherwise", None) is None,
        "optimizer": [type(optimizer).__name__, optimizer.defaults["lr"], optimizer.defaults["weight_decay"]],
        "evaluation": [evaluation.num_samples, evaluation.max_new_tokens],
        "data": [type(data).__name__, data.num_train, data.batch_size],
    }

print(json.dumps({"SFT": settings(sft), "GFT": settings(gft)}))
"""


def short(node: dict[str, Any]) -> str:
    name: str = node["class_path"].rpartition(".")[2]
    return name


def expected_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return what ``SHOW_SETTINGS`` prints, from a configuration."""
    model, data = config["model"], config["data"]
    sampler = model["sampler"]["init_args"]
    sources, rewards = sampler["sources"], sampler["rewards"]
    counts = {n: s["init_args"].get("num_responses") or s["init_args"]["num_generations"] for n, s in sources.items()}
    lengths = [s["init_args"].get("max_new_tokens") for s in sources.values()]
    rectifier = model["loss"]["init_args"].get("rectifier", {"init_args": {}})
    optimizer = model["optimizer"]
    evaluation = model["evaluation"].get("init_args", model["evaluation"])
    return {
        "policy": short(model["policy"]),
        "sources": {name: [short(source), counts[name]] for name, source in sources.items()},
        "max_new_tokens": [length for length in lengths if length],
        "rewards": {name: [short(reward), reward["init_args"]["marker"]] for name, reward in rewards.items()},
        "advantage": short(sampler["advantage"]) if sampler["advantage"] else "GroupNormalizedAdvantage",
        "loss": short(model["loss"]),
        "threshold": rectifier["init_args"].get("threshold"),
        "rectifies_all": model["loss"]["init_args"].get("rectify", "all") == "all",
        "optimizer": [short(optimizer), optimizer["init_args"]["lr"], optimizer["init_args"]["weight_decay"]],
        "evaluation": [evaluation["num_samples"], evaluation["max_new_tokens"]],
        "data": [short(data), data["init_args"]["num_train"], data["init_args"]["batch_size"]],
    }


@pytest.fixture(scope="module")
def committed() -> NotebookNode:
    return nbformat.read(PATH, as_version=4)


@pytest.fixture(scope="module")
def executed(committed, tmp_path_factory) -> NotebookNode:
    """A reduced copy, run."""
    notebook = reduced(committed, REDUCED)
    notebook.cells.append(nbformat.v4.new_code_cell(SHOW_SETTINGS))
    folder = tmp_path_factory.mktemp("notebook")
    execute(notebook, folder)
    assert not list(folder.iterdir()), "the notebook leaves files behind"
    return notebook


def test_it_shows_plots_and_nothing_on_stderr(executed, committed):
    for notebook in (committed, executed):
        assert len(shown(notebook, "image/png")) == 3  # a group's coefficients, the weights, the curves
        assert not [output.text for output in outputs(notebook) if output.get("name") == "stderr"]


def test_it_shows_the_tables_that_the_text_speaks_of(executed, committed):
    for notebook in (committed, executed):
        before, group, rectifier, results, after = (data["text/plain"] for data in shown(notebook, "text/html"))
        assert re.search("sort:|rev:", before)
        assert [group.split().count(source) for source in ("expert", "teacher", "self")] == [1, 3, 4]
        assert "rectified_weight_max" in rectifier
        assert {"base", "SFT", "GFT", "ahead"} <= set(results.splitlines()[0].split())
        assert all(f"{name}, greedy" in after for name in ("base", "SFT", "GFT"))


@pytest.mark.parametrize(("name", "path"), [("SFT", SFT), ("GFT", GFT)], ids=["SFT", "GFT"])
def test_settings_are_those_of_the_configuration(name, path, executed, committed, capsys):
    config = printed_config(capsys, "--config", path)
    settings = json.loads(executed.cells[-1].outputs[0].text)
    assert settings[name] == expected_settings(config)
    values, data = parameters(committed), config["data"]["init_args"]
    assert values["SEED"] == config["seed_everything"]
    assert values["UPDATES"] == config["trainer"]["max_steps"]
    assert values["UPDATES"] // 5 == config["trainer"]["val_check_interval"]
    assert (values["NUM_VAL"], values["NUM_SECOND_SKILL"]) == (data["num_val"], data["num_second_skill"])

