"""Warns of length limits that do not fit each other: of losses, rewards, sources and the evaluation."""

from __future__ import annotations

from collections.abc import Iterator

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.data import PromptDataModule
from lightning_gft.sources import ResponseSource, SourceWrapper
from lightning_gft.training import StageParts, Stages
from lightning_gft.types import Source


def warn_of_short_limits(stages: Stages) -> None:
    """Warn of each ``max_completion_length`` below the longest response that the sources of its stage sample.

    Such a limit is mostly left from another configuration. A reward then punishes responses that the source may give,
    and a loss divides responses by less than their length.
    """
    for stage, parts in stages.all().items():
        sources = parts.sampler.sources
        name = max(sources, key=lambda one: sources[one].longest_response())
        longest = sources[name].longest_response()
        above = (f"stages.{stage}.",) * 2 if stage else ("model.", "model.sampler.")
        for setting, limit in _limits(parts, *above):
            if limit < longest:
                rank_zero_warn(
                    f"`{setting}`: expected a max_completion_length of at least {longest}, the longest response "
                    f"of the source {name}, got {limit}; set it to {longest}, or the source's max_new_tokens to {limit}"
                )


def warn_of_short_samples(trainer: Trainer, data: PromptDataModule, stages: Stages, evaluation_tokens: int) -> None:
    """Warn of each source of own samples whose limit is below that of the validation.

    Such a limit is mostly left from another configuration. Training then truncates responses that validation would let
    end, and gives them the reward of a wrong answer.

    Args:
        trainer: The run's trainer; there is no warning if it disables validation.
        data: There is no warning without validation rows.
        evaluation_tokens: Longest response of validation, in tokens.
    """
    if trainer.limit_val_batches == 0 or not any(data.examples.get("val", {}).values()):
        return
    seen: set[int] = set()  # stages may share sources
    for stage, parts in stages.all().items():
        for name, source in parts.sampler.sources.items():
            longest = source.longest_response()
            if id(source) in seen or source.source != Source.SELF or not 0 < longest < evaluation_tokens:
                continue
            seen.add(id(source))
            above = f"stages.{stage}" if stage else "model.sampler"
            setting = f"{above}.sources.{name}{'.within' * _depth(source)}.max_new_tokens"
            rank_zero_warn(
                f"`{setting}`: expected at least {evaluation_tokens}, "
                f"model.evaluation.max_new_tokens, got {longest}, so that training truncates responses which "
                f"validation lets end; set it to {evaluation_tokens}, or model.evaluation.max_new_tokens to {longest}"
            )


def _depth(source: ResponseSource) -> int:
    """Return how many wrappers a source has around the one that limits its responses."""
    if isinstance(source, SourceWrapper) and type(source).longest_response is SourceWrapper.longest_response:
        return 1 + _depth(source.within)
    return 0


def _limits(parts: StageParts, above_loss: str, above_rewards: str) -> Iterator[tuple[str, int]]:
    """Yield the setting of each part with a limit, and the limit."""
    named = {f"{above_rewards}rewards.{name}": reward for name, reward in parts.sampler.rewards.items()}
    for setting, part in ({f"{above_loss}loss": parts.loss} | named).items():
        if isinstance(limit := getattr(part, "max_completion_length", None), int):
            yield setting, limit
