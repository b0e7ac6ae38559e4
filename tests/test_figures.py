"""The page of figures names every figure that a run logs, once, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from inspect import isabstract
from typing import Any, NamedTuple

from lightning.pytorch.loggers import CSVLogger

import lightning_gft
from lightning_gft import (
    AdaptiveCoefficientRectifier,
    ChosenSource,
    CISPOLoss,
    CodeExecutionReward,
    DemonstrationTeacher,
    EndpointSource,
    Evaluation,
    ExactMatchReward,
    ExpertSource,
    FunctionReward,
    GatedSum,
    GFTLoss,
    GroupLoss,
    GroupSampler,
    HTTPReward,
    ImportanceCorrection,
    KLPenalty,
    LUFFYLoss,
    MathAccuracyReward,
    MixedLoss,
    ReasoningGymReward,
    SelfSource,
    SFTLoss,
    TeacherSource,
    TimeLimitedReward,
    VLLMEngine,
)
from lightning_gft.evaluation import Evaluator
from lightning_gft.parts import Part
from lightning_gft.preflight.monitors import evaluation_names, training_names
from tests.cli.command import ROOT
from tests.module.runs import ROWS, Rows, fit, make_module

PAGE = ROOT / "docs/figures.md"
SOURCES = {
    "expert": ExpertSource(),
    "teacher": TeacherSource(3),
    "self": SelfSource(4, max_new_tokens=4, teacher=DemonstrationTeacher()),
}
SAMPLER = GroupSampler(SOURCES, {"accuracy": ExactMatchReward()}, num_groups=1)
EVALUATOR = Evaluator(Evaluation(num_samples=4))
STANDS_FOR = {"source": "(?:expert|teacher|self)", "sign": "(?:positive|negative)", "k": "[0-9]+", "figure": ".+"}
LOSSES: dict[str, GroupLoss] = {
    "LUFFYLoss": LUFFYLoss(max_completion_length=64),
    "KLPenalty": KLPenalty(SFTLoss()),
    "ImportanceCorrection": ImportanceCorrection(GFTLoss()),
    "MixedLoss": MixedLoss(CISPOLoss(), CISPOLoss()),
    "with two rectifiers": GFTLoss(
        AdaptiveCoefficientRectifier(), rectify="negative", otherwise=AdaptiveCoefficientRectifier()
    ),
}
"""Those that are not made without arguments, and one that reports more with some."""
PARTS: dict[str, Part] = {
    "rewards/math": MathAccuracyReward(workers=1),
    "rewards/limited": TimeLimitedReward(ExactMatchReward(), seconds=60),
    "rewards/code": CodeExecutionReward(runs_model_code=True),
    "rewards/http": HTTPReward("http://127.0.0.1:1/score"),
    "rewards/gym": ReasoningGymReward(),
    "rewards/function": FunctionReward(str.upper, timeout=60),
    "total": GatedSum({"accuracy": "format"}),
    "sources/chosen": ChosenSource(ChosenSource(TeacherSource(3), 2), 1),
    "sources/endpoint": EndpointSource("teacher", "http://127.0.0.1:1/v1"),
    "sources/self": SOURCES["self"],
    "engine": VLLMEngine(url="http://127.0.0.1:1"),
}


class Entry(NamedTuple):
    """A name on the page, in a section."""

    name: str
    section: str

    def fits(self, figure: str) -> bool:
        """Tell whether a figure, with its stage in front, has this name."""
        stage = "val" if self.section == "Evaluation" else "train"
        if "<name>/" in self.name:  # a part that is used in evaluations, too
            stage = "(?:train|val)"
        words = re.split("<([a-z]+)>", self.name)  # what stands for something comes at odd places
        pattern = "".join(STANDS_FOR.get(w, "[^/]+") if n % 2 else re.escape(w) for n, w in enumerate(words))
        return re.fullmatch(f"{stage}/{pattern}", figure) is not None


@cache
def entries() -> list[Entry]:
    return [Entry(name, section) for section, cells in rows() for name in re.findall("`([^`]+)`", cells[0])]


def rows() -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of the page's tables with their section, without their heads."""
    section = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        if line.startswith("| `"):
            yield section, [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def public(kind: type) -> dict[str, type]:
    """Return the public classes of a kind that can be made."""
    named = {name: getattr(lightning_gft, name) for name in lightning_gft.__all__}
    return {
        name: part
        for name, part in named.items()
        if isinstance(part, type) and issubclass(part, kind) and not isabstract(part)
    }


@cache
def logged() -> frozenset[str]:
    """Return the names of all figures that runs log: of one that is run, and of all losses and parts."""
    names = {f"train/{prefix}/{name}" for prefix, part in PARTS.items() for name in part.compute()}
    losses = {**{name: made() for name, made in public(GroupLoss).items() if name not in LOSSES}, **LOSSES}
    for loss in losses.values():
        known = training_names(loss, SAMPLER, EVALUATOR.correctness(SAMPLER.rewards))
        names |= {name for name in known if not name.endswith("/")}  # the run logs those that begin so
    return frozenset(names | evaluation_names(EVALUATOR, SAMPLER.rewards, "val", [""]) | of_a_run())


def of_a_run() -> set[str]:
    """Return what the loggers of a run get, which has a stage."""
    sources = {"expert": ExpertSource(), "teacher": TeacherSource(3), "self": SelfSource(2, max_new_tokens=4)}
    module = make_module(KLPenalty(GFTLoss()), sources, evaluation=Evaluation(num_samples=2, max_new_tokens=4))
    module.rows.stage = (1, "first")
    written: set[str] = set()

    class Written(CSVLogger):
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            written.update(metrics)

        def save(self) -> None: ...

    fit(module, Rows(val_rows=ROWS), max_steps=2, log_every_n_steps=1, logger=Written("."))
    return {name for name in written if not name.startswith("first/")} - {"epoch"}


def test_every_figure_is_on_the_page_once():
    fitting = {figure: [entry.name for entry in entries() if entry.fits(figure)] for figure in logged()}
    assert {figure: names for figure, names in sorted(fitting.items()) if len(names) != 1} == {}


def test_nothing_else_is_on_the_page():
    assert [entry for entry in entries() if not any(map(entry.fits, logged()))] == []


def test_every_row_says_what_it_is_and_what_is_healthy():
    assert [cells for _, cells in rows() if len(cells) != 3 or not all(cells)] == []


def test_every_part_that_reports_something_is_looked_at():
    reporting = {
        name: part
        for name, part in public(Part).items()
        if part.compute is not Part.compute  # type: ignore[attr-defined]
    }
    looked_at: set[Any] = {type(part) for part in PARTS.values()}
    assert [name for name, part in reporting.items() if part not in looked_at | {*public(GroupLoss).values()}] == []
