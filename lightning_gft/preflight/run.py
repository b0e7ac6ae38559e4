"""Runs all checks before a run begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any, Protocol

from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn
from transformers import PreTrainedTokenizerBase

from lightning_gft.data import PromptDataModule
from lightning_gft.distributed import check_strategy
from lightning_gft.errors import GFTValueError, naming_errors, prefixed
from lightning_gft.evaluation import Evaluator
from lightning_gft.losses import GroupLoss
from lightning_gft.policy import PolicyLoader
from lightning_gft.policy.draws import check_draws_ahead
from lightning_gft.preflight.callbacks import prepare_callbacks
from lightning_gft.preflight.data import check_data
from lightning_gft.preflight.lengths import warn_of_short_limits, warn_of_short_samples
from lightning_gft.preflight.monitors import check_monitors, check_stage_monitor, is_certain, logged_names
from lightning_gft.preflight.trainer import check_not_compiled, check_precision, check_trainer_options
from lightning_gft.preflight.unused import warn_of_unused, warn_of_unused_sources
from lightning_gft.preflight.validation import check_validation_interval
from lightning_gft.preflight.waiting import check_waiting
from lightning_gft.rollout import TransformersEngine
from lightning_gft.sampler import GroupSampler
from lightning_gft.training import Stages, check_sampler


class Checked(Protocol):
    """The parts of a module that are checked."""

    policy_loader: PolicyLoader
    stages: Stages
    evaluator: Evaluator

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""

    def logged_names(self) -> set[str]:
        """Return the names of all figures that are logged during training."""


def prepare(trainer: Trainer) -> None:
    """Raise an error for options and callbacks of a trainer that cannot work here, and adapt the others.

    Args:
        trainer: A trainer that is about to run.

    Raises:
        ValueError: If an option or a callback cannot work, with its name and a remedy.
    """
    if trainer.state.fn == TrainerFn.FITTING:
        check_trainer_options(trainer)
    prepare_callbacks(trainer)


def check_tokenizer(samplers: Iterable[GroupSampler], tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise an error for sources that do not fit a policy's tokenizer, before they are set up.

    Args:
        samplers: Samplers with the sources.
        tokenizer: The policy's tokenizer.

    Raises:
        ValueError: If a source does not fit, with its name and a remedy.
    """
    for name, source in (named for sampler in samplers for named in sampler.sources.items()):
        with naming_errors(f"sources.{name}"):
            source.check_tokenizer(tokenizer)


def check_run(trainer: Trainer, module: Any, stage: str, own_code: bool) -> None:
    """Raise an error for a run that cannot do what its settings ask for.

    Args:
        trainer: A trainer whose ranks have started and whose data is set up.
        module: A LightningModule that is :class:`Checked`.
        stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.
        own_code: Whether the module may log figures that are not known here.

    Raises:
        ValueError: If a setting cannot work, with the expected value and a remedy.
    """
    checked: Checked = module
    check_not_compiled(module)
    check_strategy(trainer.strategy, trainer.precision)
    check_precision(trainer)
    checked.policy_loader.check_trainer(trainer.strategy, trainer.precision)
    data, samplers = getattr(trainer, "datamodule", None), checked.stages.samplers()
    if any(source.draws_ahead() for sampler in samplers for source in sampler.sources.values()):
        check_draws_ahead(checked.policy_loader.rollout or TransformersEngine())
    if isinstance(data, PromptDataModule):
        if stage == "fit":
            check_validation_interval(trainer, data, checked.stages.fewest_updates())
            warn_of_unused_sources(data, checked.stages)
            warn_of_short_samples(trainer, data, checked.stages, checked.evaluator.settings.max_new_tokens)
        warn_of_unused(data, checked.policy_loader, samplers)
        check_data(data, samplers, checked.evaluator.settings.max_new_tokens, checked.tokenizer)
    if stage == "fit":
        warn_of_short_limits(checked.stages)
        check_stages(trainer, checked, own_code)


def check_fit(trainer: Trainer, module: Any, own_code: bool) -> None:
    """Raise an error for a callback whose figure is measured too late, once it is known whether the run resumes.

    Args:
        trainer: A trainer that begins to train, with the state of its checkpoint; or one that only describes a fit.
        module: A LightningModule that is :class:`Checked`.
        own_code: Whether the module may log figures that are not known here.

    Raises:
        ValueError: If a strict ``EarlyStopping`` looks for its figure before it is measured.
    """
    data, stages = getattr(trainer, "datamodule", None), module.stages
    if isinstance(data, PromptDataModule):
        waiting = {_until(name): parts.monitor for name, parts in stages.planned.items() if parts.monitor}
        check_waiting(trainer, data, stages.fewest_updates(), is_certain(trainer, own_code), waiting)


def check_stages(trainer: Trainer, checked: Checked, own_code: bool) -> None:
    """Raise an error for a stage that cannot be trained or evaluated, and for monitored figures that never come.

    Raises:
        ValueError: If a stage or a callback cannot work, with the expected value and a remedy.
    """
    names: dict[str, set[str]] = {}
    for name, parts in checked.stages.planned.items():
        with _naming_stage(name, parts.loss):
            check_sampler(parts.sampler, parts.loss)
            checked.evaluator.reward_name(parts.sampler.rewards)
        names[name] = logged_names(trainer, {name: parts}, checked.evaluator)
        if parts.monitor is not None:
            check_stage_monitor(f"`{_until(name)}`", parts.monitor, names[name], is_certain(trainer, own_code))
    check_monitors(trainer, checked.logged_names(), own_code, names)


def _until(stage: str) -> str:
    return f"stages.{stage}.until.monitor"


@contextmanager
def _naming_stage(stage: str, loss: GroupLoss) -> Iterator[None]:
    """Context in which errors begin with the setting of a stage, which has the options of a sampler itself."""
    with naming_errors(f"stages.{stage}", ["loss", *signature(GroupSampler).parameters]):
        try:
            yield
        except ValueError as error:
            message, options = str(error).replace("`sampler.", "`", 1), signature(type(loss)).parameters
            is_of_loss = f"` of {type(loss).__name__}" in message.partition(":")[0]
            raise GFTValueError(prefixed(message, "loss", options) if is_of_loss else message) from error
