"""Determines the names of the figures that a run logs, and rejects callbacks that monitor any other."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any, TypeVar, get_args

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torchmetrics import Metric

from lightning_gft.checks import did_you_mean
from lightning_gft.data import PromptDataModule
from lightning_gft.errors import GFTValueError, remedies
from lightning_gft.evaluation import Evaluator, log_key
from lightning_gft.losses import GroupLoss, check_known
from lightning_gft.metrics import Correctness
from lightning_gft.parts import Part
from lightning_gft.rewards import Reward
from lightning_gft.sampler import GroupSampler
from lightning_gft.training import (
    RUN_NAMES,
    UPDATE_NAMES,
    StageParts,
    TrainingStatistics,
    UpdateFigures,
    parts_of,
)
from lightning_gft.types import GroupBatch, LossOutput, Need, Source

_Module = TypeVar("_Module", bound=nn.Module)

_WELL_KNOWN = ("lightning", "lightning_gft")
_OF_LIGHTNING = {"epoch", "step"}
"""Names that a checkpoint's file name may contain in addition to logged figures."""


def training_names(loss: GroupLoss, sampler: GroupSampler, correctness: Correctness) -> set[str]:
    """Return the names of all figures that training steps may log, except those of rewards, sources and the engine.

    A name that ends in ``/`` is the prefix of several names.

    Copies of the statistics and the loss count one token each of two responses per source, one better and one worse
    than its group. The names are therefore those of the code that counts.

    Args:
        loss: The loss, which may log figures of its own.
        sampler: Determines the sources and the rewards.
        correctness: Determines which responses are correct.
    """
    statistics, loss = _local_copy(TrainingStatistics()), _local_copy(loss)
    sources = [source.source for source in sampler.sources.values()]
    one = torch.ones(2 * len(sources))
    signs = one.where(torch.arange(len(one)) < len(sources), -one)
    groups = replace(_one_token_each(sources + sources, sampler.rewards), advantages=signs)
    if sampler.num_groups is not None:
        groups = replace(groups, excluded=groups.source < 0)
    if "teacher_logprobs" in sampler.gives():
        groups = replace(groups, teacher_logprobs=groups.sampling_logprobs)
    check_known(loss, groups.tokens(), later=get_args(Need))
    tokens = replace(groups.tokens(-one), **dict.fromkeys(loss.needs() - {"advantages", "sequence_logratio"}, -one))
    statistics.count_groups(loss, groups, 1, correctness)
    statistics.count_pass(loss, tokens, LossOutput(one.sum(), logprobs=-one, coefficients=signs, entropy=one))
    figures = statistics.collect(groups.lengths.sum(), seconds=1.0, update=UpdateFigures.zeros())
    return {log_key("train", name) for name in {*figures, *loss.compute(), *UPDATE_NAMES, *RUN_NAMES}}


def evaluation_names(
    evaluator: Evaluator, rewards: Mapping[str, Reward], stage: str, datasets: Iterable[str]
) -> set[str]:
    """Return the names of all figures that validation or test logs.

    Args:
        evaluator: Determines the figures to measure.
        rewards: Rewards of the training, by name.
        stage: ``"val"`` or ``"test"``.
        datasets: Names of the data sets; empty for the main one.

    Example:
        >>> from lightning_gft import Evaluation, NumericReward
        >>> evaluator = Evaluator(Evaluation(num_samples=2, kl=False))
        >>> sorted(evaluation_names(evaluator, {"accuracy": NumericReward()}, "val", ["", "hard"]))[:4]
        ['val/entropy', 'val/greedy_accuracy', 'val/greedy_accuracy_stderr', 'val/hard/entropy']
    """
    metric = _local_copy(evaluator.metric(rewards))
    # Two prompts, as a single one has no standard error.
    greedy, samples = (_one_token_each([Source.SELF] * 2 * number, rewards) for number in (1, metric.num_samples))
    one = torch.ones(len(samples))
    kl = one if evaluator.settings.kl else None
    metric.update(greedy, samples, one, kl, kl)
    return {log_key(stage, name, dataset) for name in metric.compute() for dataset in datasets}


def logged_names(trainer: Trainer, stages: Mapping[str, StageParts], evaluator: Evaluator) -> set[str]:
    """Return the names of all figures that are logged during training.

    A name that ends in ``/`` is the prefix of names that are not known before the parts report them.

    Args:
        trainer: The trainer with its data; determines whether validation runs.
        stages: Loss and sampler of each stage by its name; a single stage without a name is the whole run.
        evaluator: Determines the figures to measure.
    """
    names: set[str] = set()
    for stage, parts in stages.items():
        own = stage_names(trainer, parts, evaluator)
        names |= own if not stage else {*own, *(log_key(stage, name) for name in own), "train/stage"}
    return names


def stage_names(trainer: Trainer, parts: StageParts, evaluator: Evaluator) -> set[str]:
    """Return the names of all figures logged while training with a loss and a sampler, as in :func:`logged_names`."""
    loss, sampler, _ = parts
    others = {prefix: part for prefix, part in parts_of(sampler, loss).items() if prefix}
    speaking = [prefix for prefix, part in others.items() if type(part).compute is not Part.compute]
    names = training_names(loss, sampler, evaluator.correctness(sampler.rewards))
    names |= {f"train/{prefix}/" for prefix in (*speaking, "engine")}
    if trainer.limit_val_batches == 0:
        return names
    data = getattr(trainer, "datamodule", None)
    datasets = data.examples.get("val", {}) if isinstance(data, PromptDataModule) else [""]
    names |= {f"val/{prefix}/" for prefix in (*speaking, "engine")}
    return names | evaluation_names(evaluator, sampler.rewards, "val", datasets)


def check_monitors(
    trainer: Trainer, names: Collection[str], own_code: bool, stages: Mapping[str, set[str]] | None = None
) -> None:
    """Raise an error for callbacks that monitor a figure which is never logged, or not from the first stage on.

    Args:
        trainer: The trainer with its callbacks.
        names: Names of all figures that the module is known to log, see :func:`logged_names`.
        own_code: Whether the module may log other figures. Callbacks of other packages may as well, and names of data
            sets may be unknown before the data is loaded.
        stages: Names of the figures of each stage, by the stage's name.

    Raises:
        ValueError: If a callback monitors another figure, or a checkpoint's file name would make folders. If other
            code might log the figure, this is a warning.
    """
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    certain = is_certain(trainer, own_code)
    of_rates = any(isinstance(callback, LearningRateMonitor) for callback in callbacks)
    for callback in callbacks:
        for field, name in _monitored(callback):
            setting = f"{type(callback).__name__}.{field}"
            if is_logged(name, names) or (isinstance(callback, ModelCheckpoint) and name in _OF_LIGHTNING):
                if field == "monitor" and getattr(callback, "strict", True):
                    _check_from_the_start(setting, name, stages or {})
                continue
            message = _unknown(setting, name, names)
            if certain and getattr(callback, "strict", True) and not (of_rates and name.startswith("lr-")):
                raise GFTValueError(message)
            rank_zero_warn(f"{message}. This is no error only if code of your own logs it")
        _check_file_name(callback)


def check_stage_monitor(setting: str, monitor: str, names: Collection[str], certain: bool) -> None:
    """Raise an error for a stage that waits for a figure which no validation measures.

    Args:
        setting: The setting that names the figure, for errors.
        monitor: Name of the figure.
        names: Names of the figures of the stage.
        certain: Whether no other code can log a figure; otherwise the error is a warning.

    Raises:
        ValueError: If the figure is not measured.
    """
    measured = {name for name in names if name.startswith("val/")}
    if is_logged(monitor, measured):
        return
    complaint = _unknown(setting, monitor, measured, "a validation figure")
    if certain:
        raise GFTValueError(complaint)
    rank_zero_warn(f"{complaint}. This is no error only if code of your own logs it")


def is_certain(trainer: Trainer, own_code: bool) -> bool:
    """Return whether all figures that are logged are known, see :func:`check_monitors`."""
    known_data = isinstance(getattr(trainer, "datamodule", None), PromptDataModule)
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return known_data and not own_code and all(_package(callback) in _WELL_KNOWN for callback in callbacks)


def is_logged(name: str, names: Collection[str]) -> bool:
    """Return whether a figure is one of those that are logged, see :func:`logged_names`."""
    return name in names or name.startswith(tuple(other for other in names if other.endswith("/")))


def _check_from_the_start(setting: str, name: str, stages: Mapping[str, set[str]]) -> None:
    """Raise an error for a figure that only a later stage logs: Lightning would stop the run in the first one."""
    first = next((stage for stage, names in stages.items() if is_logged(name, names)), "")
    if first and first != next(iter(stages)):
        raise GFTValueError(
            f"{setting}: expected a figure that is logged from the first stage on, got {name!r}, which begins with the "
            f"stage {first}; monitor another"
        )


def _package(callback: Callback) -> str:
    return type(callback).__module__.split(".")[0]


def _monitored(callback: Callback) -> Iterator[tuple[str, str]]:
    monitor: Any = getattr(callback, "monitor", None)
    if isinstance(monitor, str):
        yield "monitor", monitor
    if isinstance(callback, ModelCheckpoint):  # it would write a 0 for an unknown name
        for name in re.findall(r"\{(.*?)[:}]", callback.filename or ""):
            yield "filename", name


def _check_file_name(callback: Callback) -> None:
    """Raise an error for checkpoints that Lightning would write to folders named after half of a figure."""
    names = [name for field, name in _monitored(callback) if field == "filename" and "/" in name]
    if names and getattr(callback, "auto_insert_metric_name", False):
        file: str = callback.filename  # type: ignore[attr-defined]
        own = re.sub(r"\{(.*?)([:}])", lambda match: f"{match[1].replace('/', '_')}={{{match[1]}{match[2]}", file)
        raise GFTValueError(
            f"{type(callback).__name__}.filename: expected auto_insert_metric_name=False with {names[0]!r}, whose "
            f"slash would make a folder, got True; write the names yourself: filename={own!r}"
        )


def _unknown(setting: str, name: str, names: Collection[str], expected: str = "a figure that is logged") -> str:
    known = sorted((other for other in names if not other.endswith("/")), key=lambda n: (not n.startswith("val/"), n))
    remedy = remedies(did_you_mean(name, known), f"there are {', '.join(known)}")
    if name.startswith("val/") and not any(other.startswith("val/") for other in known):
        remedy = (
            "; no validation runs: give validation data, as by data.val_split or data.val_path, and a "
            "trainer.limit_val_batches above 0"
        )
    return f"{setting}: expected {expected}, got {name!r}{remedy}"


def _local_copy(part: _Module) -> _Module:
    """Return a copy on the CPU with counts of its own, which does not synchronise with other ranks."""
    part = deepcopy(part).cpu()
    for module in part.modules():
        if isinstance(module, Metric):
            module.distributed_available_fn = bool  # false
    return part


def _one_token_each(sources: list[Source], rewards: Mapping[str, Reward]) -> GroupBatch:
    """Return a group with one response of each source; prompts and responses have one token each."""
    number = len(sources)
    one, both = torch.ones(number), torch.ones(number, 2)
    return GroupBatch(
        input_ids=both.long(),
        attention_mask=both.bool(),
        response_mask=torch.tensor([[False, True]] * number),
        group_index=torch.zeros(number, dtype=torch.long),
        source=torch.tensor(sources),
        rewards=one,
        advantages=one,
        finished=one.bool(),
        reward_parts=dict.fromkeys(rewards, one),
        prompts=[""] * number,
        responses=[""] * number,
        answers={name: [None] * number for name, reward in rewards.items() if reward.reads_answers()},
        sampling_logprobs=-both,
        weights_version=torch.zeros(number, dtype=torch.long),
    )
