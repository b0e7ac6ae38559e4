"""Inspects the data as a run would read it, without the policy's weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from lightning.pytorch import Trainer
from transformers import PreTrainedTokenizerBase

from lightning_gft.data import Example, ExampleEncoder, PromptDataModule
from lightning_gft.data.datamodule import Split
from lightning_gft.evaluation import Evaluator
from lightning_gft.inspection.problems import Problems
from lightning_gft.inspection.rendering import render
from lightning_gft.inspection.report import Counted, DataReport
from lightning_gft.inspection.steps import plan_steps
from lightning_gft.inspection.tokenizing import shared_prompts, tokenize_data_set
from lightning_gft.inspection.verdicts import judge
from lightning_gft.policy import PolicyLoader
from lightning_gft.preflight import (
    can_score,
    check_fit,
    check_stages,
    check_tokenizer,
    check_validation_interval,
    find_faults,
    warn_of_no_validation_data,
    warn_of_short_limits,
    warn_of_short_samples,
    warn_of_unused,
    warn_of_unused_sources,
)
from lightning_gft.sampler import GroupSampler
from lightning_gft.training import PartsLife, Stages

_SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Inspected(Protocol):
    """The parts of a module that are inspected."""

    policy_loader: PolicyLoader
    stages: Stages
    evaluator: Evaluator
    micro_batch_tokens: int

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""

    def logged_names(self) -> set[str]:
        """Return the names of all figures that are logged during training."""


def inspect_data(
    data: PromptDataModule,
    module: Inspected,
    show: int = 3,
    trainer: Trainer | None = None,
    own_code: bool = False,
) -> DataReport:
    """Return a report of the data before training; loads no weights and samples no responses.

    As far as possible, the report contains all errors that would stop the run, not only the first.

    Args:
        data: The run's datamodule.
        module: The run's module.
        show: Number of prompts to render.
        trainer: The run's trainer, with the module and the data; its interval of validations is compared with the
            batches of an epoch on one device, whatever ``devices`` is.
        own_code: Whether the module may log figures that are not known here.
    """
    report, problems = DataReport(), Problems()
    with _warnings_caught(report):
        encoder = None
        with problems.collecting():
            encoder = data.make_encoder(module.tokenizer)
        if encoder is not None:
            _inspect_rows(data, encoder, report, problems)
            _inspect_parts(data, module, report, problems)
            if trainer is not None:
                _inspect_run(trainer, data, module, own_code, problems)
    rows = data.examples.get("train", {}).get("", [])
    report.rendered = [render(example, module.tokenizer) for example in rows[:show]]
    report.problems = problems.lines()
    return report


def _inspect_rows(data: PromptDataModule, encoder: ExampleEncoder, report: DataReport, problems: Problems) -> None:
    data.examples, data.dropped = {}, {}
    for split in _SPLITS:
        if split != "train":
            encoder = encoder.without_demonstrations()  # only training reads demonstrations
        with problems.collecting():
            rows_by_name = data.wanted_rows(split)
            if not rows_by_name:
                data.examples[split] = {}
            for name, rows in rows_by_name.items():
                report.datasets.append(tokenize_data_set(data, split, name, encoder, rows, problems))
    trained_on = data.examples.get("train", {}).get("", [])
    named = {dataset.name: dataset for dataset in report.datasets}
    for split, datasets in data.examples.items():
        for name, examples in datasets.items() if split != "train" else ():
            named[f"{split}/{name}" if name else split].shared = shared_prompts(examples, trained_on)


def _inspect_run(
    trainer: Trainer, data: PromptDataModule, module: Inspected, own_code: bool, problems: Problems
) -> None:
    if data.examples.get("train", {}).get(""):
        with problems.collecting():
            check_validation_interval(trainer, data, module.stages.fewest_updates())
            check_fit(trainer, module, own_code)
    validation = data.examples.get("val")  # None if reading them failed, which is a problem already
    if validation is not None:
        with problems.collecting():
            check_stages(trainer, module, own_code)
        warn_of_short_samples(trainer, data, module.stages, module.evaluator.settings.max_new_tokens)
        if not validation:
            warn_of_no_validation_data(trainer, data)


def _inspect_parts(data: PromptDataModule, module: Inspected, report: DataReport, problems: Problems) -> None:
    samplers, tokenizer = module.stages.samplers(), module.tokenizer
    with problems.collecting():
        check_tokenizer(samplers, tokenizer)
    warn_of_unused(data, module.policy_loader, samplers)
    warn_of_unused_sources(data, module.stages)
    warn_of_short_limits(module.stages)
    life = PartsLife()
    try:
        # Sources are not set up: one may start a server, or load a teacher's weights.
        named = {
            f"{stage}/{prefix}" if stage else prefix: part
            for stage, (_, sampler, _) in module.stages.all().items()
            for prefix, part in sampler.scorers().items()
        }
        with problems.collecting():
            life.begin(named, torch.device("cpu"))
            for fault in find_faults(data, samplers, module.evaluator.settings.max_new_tokens, tokenizer):
                problems.add(fault)
            _inspect_stages(data, module, report, problems)
            counted = life.figures(named)
            report.figures = {name: float(value) for name, value in counted.items() if value}
    finally:
        life.end()


def _inspect_stages(data: PromptDataModule, module: Inspected, report: DataReport, problems: Problems) -> None:
    rows = data.examples.get("train", {}).get("", [])
    for stage, (_, sampler, _) in module.stages.all().items():
        scorable = _scorable(sampler, rows, report)
        for role in rows[0].demonstrations if rows else ():
            with problems.collecting():
                verdict = judge(stage, sampler, scorable, role, module.evaluator, module.tokenizer)
                report.verdicts += [] if verdict is None else [verdict]
        if rows:
            report.steps.append(plan_steps(stage, sampler, data, rows, module.micro_batch_tokens))


def _scorable(sampler: GroupSampler, rows: Sequence[Example], report: DataReport) -> list[Example]:
    """Return the rows that all rewards can score, and count the others; each of them is a problem of its own."""
    scorable, unfit = [], Counted()
    for row in rows:
        if can_score(sampler.rewards, row):
            scorable.append(row)
        else:
            unfit.add(row.row)
    if unfit.count:
        train = next(dataset for dataset in report.datasets if dataset.name == "train")
        train.dropped["rows that a reward cannot score"] = unfit
    return scorable


@contextmanager
def _warnings_caught(report: DataReport) -> Iterator[None]:
    """Context in which warnings are added to the report, each of them once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    report.warnings = list(dict.fromkeys(str(warning.message) for warning in caught))
