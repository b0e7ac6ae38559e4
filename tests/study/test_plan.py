"""What a plan asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.study.choice import choose
from benchmarks.study.plan import Plan, PlanError
from benchmarks.study.reading import PLANS, read_plan
from benchmarks.study.results import Results
from benchmarks.study.worker import arguments
from lightning_gft.cli import GFTCLI

SFT = "configs/overlays/sft.yaml"


def written(folder: Path, name: str = "plan", **changes: Any) -> Plan:
    """Return a small plan from a file."""
    given = {
        "base": "benchmarks/study/settings/embedded.yaml",
        "sequences": 16,
        "updates": 8,
        "evaluations": 2,
        "learning_rates": [0.1, 0.01],
        "tuning_seeds": [100],
        "seeds": [0, 1],
        "methods": {"gft": {"responses": 8}, "sft": {"responses": 1, "layers": [SFT]}},
        **changes,
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(given))
    return read_plan(str(file))


def test_all_methods_have_each_rate_and_seed_and_as_many_sequences(tmp_path: Path):
    plan = written(tmp_path)
    runs = [*plan.tuning()]
    assert {(run.method, run.learning_rate, run.seed) for run in runs} == {
        (method, rate, 100) for method in ("gft", "sft") for rate in (0.1, 0.01)
    }
    assert {run.method: run.layers[-1]["data"]["init_args"]["batch_size"] for run in runs} == {"gft": 2, "sft": 16}
    final = [*plan.final({("", "gft"): 0.1})]  # sft's is not chosen yet
    assert [(run.method, run.learning_rate, run.seed, run.role) for run in final] == [
        ("gft", 0.1, 0, "final"),
        ("gft", 0.1, 1, "final"),
    ]


def test_updates_are_evaluated_as_often_whatever_a_batch_is_trained_for(tmp_path: Path):
    plan = written(tmp_path, methods={"one": {"responses": 1}, "four": {"responses": 1, "updates_per_batch": 4}})
    trainers = {run.method: run.layers[-1]["trainer"] for run in plan.tuning()}
    assert trainers["one"] == {"max_steps": 8, "val_check_interval": 4}
    assert trainers["four"] == {"max_steps": 8, "val_check_interval": 1}  # batches


def test_a_method_in_stages_has_a_length_of_its_own(tmp_path: Path):
    plan = written(tmp_path, methods={"one": {"responses": 8}, "staged": {"responses": 8, "updates": 20}})
    trainers = {run.method: run.layers[-1]["trainer"] for run in plan.tuning()}
    assert trainers == {
        "one": {"max_steps": 8, "val_check_interval": 4},
        "staged": {"max_steps": 20, "val_check_interval": 10},
    }


def test_a_single_learning_rate_is_not_tuned(tmp_path: Path):
    plan = written(tmp_path, learning_rates=[0.1], tuning_seeds=[100])
    assert [*plan.tuning()] == []
    assert choose(plan, Results(tmp_path / "none.parquet")) == {("", "gft"): 0.1, ("", "sft"): 0.1}


def test_the_same_settings_are_the_same_run_under_any_name(tmp_path: Path):
    one, other = written(tmp_path), written(tmp_path, name="other", methods={"mine": {"responses": 8, "label": "Mine"}})
    prints = {run.method: run.fingerprint for run in one.tuning()}
    assert [run.fingerprint for run in other.tuning()][-1] == prints["gft"]
    assert len({run.fingerprint for run in one.tuning()}) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"updates": 16},
        {"sequences": 32},
        {"final_samples": 8},
        {"variants": {"few": {"data": {"init_args": {"num_train": 32}}}}},
        {"methods": {"gft": {"responses": 8, "layers": [{"model": {"micro_batch_tokens": 8192}}]}}},
        {"base": {}},
    ],
)
def test_other_settings_are_another_run(tmp_path: Path, change: dict[str, Any]):
    known = {run.fingerprint for run in written(tmp_path).tuning()}
    assert not known & {run.fingerprint for run in written(tmp_path, **change).tuning() if run.method == "gft"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [1, 100]}, r"`seeds`: expected none of tuning_seeds, got \[100\]"),
        ({"methods": {"gft": {"responses": 5}}}, r"`methods.gft.responses`: expected a divisor of sequences=16, got 5"),
        ({"method": {}}, r"expected the settings of a plan, got .*'method'"),
        ({"methods": {"gft": {"layer": []}}}, r"expected the settings of a plan, got .*'layer'"),
        ({"base": "configs/none.yaml"}, r"`.*configs/none.yaml`: expected a YAML file, got No such file"),
        ({"like": "none"}, r"`.*none.yaml`: expected a YAML file, got No such file"),
        ({"times_of": "none"}, r"`.*none.yaml`: expected a YAML file, got No such file"),
        ({"choice_of": "none"}, r"`.*none.yaml`: expected a YAML file, got No such file"),
        ({"like": "plan"}, r"`like`: expected another plan, got plan, which is like this one"),
        ({"like": "main", "only": ["sfft"]}, r"expected the settings of a plan, got 'sfft'"),
        (
            {"like": "main", "methods": {"small": {"like": "sfft"}}},
            r"`methods.small.like`: expected a method of the plan .*, got 'sfft'; did you mean sft\?$",
        ),
        (
            {"methods": {"small": {"like": "sft"}}},
            r"`methods.small.like`: expected a plan that is like another, got none",
        ),
        ({"methods": {"a": {"responses": 8, "label": "A"}, "A": {"responses": 8}}}, r"labels that differ, got \['A'\]"),
        (
            {"methods": {"gft": {"responses": 8, "learning_rate": 0}}},
            r"`methods.gft.learning_rate`: expected a number above 0",
        ),
        ({"highlighted": ["sfft"]}, r"`highlighted`: expected names of methods, got \['sfft'\]"),
        ({"highlighted": ["gft"] * 8}, r"`highlighted`: expected at most 7 methods, got 8"),
        ({"learning_rates": ["1e-4"]}, r"`learning_rates`: expected a number above 0, got '1e-4'"),
        ({"learning_rates": []}, r"`learning_rates`: expected at least one, got none"),
        ({"tuning_seeds": []}, r"`tuning_seeds`: expected a seed to choose among 2 learning rates on, got none"),
        ({"seeds": [0.5]}, r"`seeds`: expected .*, got 0.5"),
        ({"sequences": "64"}, r"`sequences`: expected .*, got '64'"),
        ({"evaluations": 0}, r"`evaluations`: expected a whole number of at least 1, got 0"),
        (
            {"methods": {"gft": {"responses": 0}}},
            r"`methods.gft.responses`: expected a whole number of at least 1, got 0",
        ),
    ],
)
def test_a_wrong_plan_is_one_line(tmp_path: Path, change: dict[str, Any], message: str):
    with pytest.raises(PlanError, match=message) as error:
        written(tmp_path, **change)
    assert "\n" not in str(error.value)


def test_a_plan_like_another_keeps_and_adds_methods(tmp_path: Path):
    file = tmp_path / "plan.yaml"
    mine = {"responses": 8, "layers": [{"model": {"micro_batch_tokens": 64}}]}
    file.write_text(
        yaml.safe_dump(
            {"like": "weak_long", "only": ["sft"], "methods": {"mine": mine}, "seeds": [7], "reference": "mine"}
        )
    )
    plan, other, first = read_plan(str(file)), read_plan("weak_long"), read_plan("main")
    assert [*plan.methods] == ["sft", "mine"]
    assert plan.methods["sft"] == other.methods["sft"] == first.methods["sft"]
    assert (plan.updates, plan.variants, plan.seeds) == (other.updates, other.variants, (7,))
    assert plan.sequences == first.sequences  # which weak_long has from weak_best, and that from main
    assert (first.times_of, plan.times_of) == ("clock", "")  # other runs take another time


def test_a_method_like_another_keeps_a_rate_of_its_own(tmp_path: Path):
    methods = {"small": {"like": "sft", "label": "SFT at 1e-5", "learning_rate": 1e-5}}
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump({"like": "main", "only": ["gft_demonstrations"], "methods": methods}))
    plan = read_plan(str(file))
    small, sft = plan.methods["small"], read_plan("main").methods["sft"]
    assert (small.layers, small.responses, small.label) == (sft.layers, sft.responses, "SFT at 1e-5")
    assert {run.method for run in plan.tuning()} == {"gft_demonstrations"}  # a given rate is not chosen
    choices = choose(plan, Results(tmp_path / "none.parquet"))
    assert choices == {("", "small"): 1e-5}
    assert {run.learning_rate for run in plan.final(choices)} == {1e-5}


def test_a_plan_with_methods_of_its_own_has_no_others():
    assert [*read_plan("hand_over").methods] == ["grpo", "sft_grpo", "gft_grpo", "sft_gft_grpo"]


def test_a_plan_that_is_not_yaml_is_one_line(tmp_path: Path):
    file = tmp_path / "plan.yaml"
    file.write_text("base: [")
    with pytest.raises(PlanError, match=r"`.*plan.yaml`: expected YAML, got") as error:
        read_plan(str(file))
    assert "\n" not in str(error.value)
    with pytest.raises(PlanError, match=r"`.*none.yaml`: expected a YAML file, got No such file"):
        read_plan("none")


class ParsedOnly(GFTCLI):
    """The command line up to the run."""

    def fit(self, **_: Any) -> None:
        """Leave it at that."""


ALL = [
    pytest.param(path.stem, method, marks=[] if path.stem == "main" and method == "psft" else pytest.mark.slow)
    for path in sorted(PLANS.glob("*.yaml"))
    for method in read_plan(path.stem).methods
]


@pytest.mark.parametrize(("name", "method"), ALL)
def test_the_command_line_parses_what_comes_with_the_project(name: str, method: str, tmp_path: Path, monkeypatch):
    plan = read_plan(name)
    monkeypatch.setattr("sys.argv", ["lightning-gft"])
    run = next((run for run in plan.tuning() if run.method == method), None)
    if run is None:
        run = next(
            run
            for run in plan.final({(v, m): 1e-4 for v in plan.variants for m in plan.methods})
            if run.method == method
        )
    parsed = ParsedOnly(arguments(run, tmp_path))
    responses = sum(source.num_responses for source in parsed.model.sampler.sources.values())
    assert parsed.datamodule.batch_size * responses == plan.sequences
    assert parsed.model.updates_per_batch == plan.methods[method].updates_per_batch
