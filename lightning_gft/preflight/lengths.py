"""Warns of length limits of a loss or a reward that sampled responses may exceed."""

from __future__ import annotations

from collections.abc import Iterator

from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.training import StageParts, Stages


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


def _limits(parts: StageParts, above_loss: str, above_rewards: str) -> Iterator[tuple[str, int]]:
    """Yield the setting of each part with a limit, and the limit."""
    named = {f"{above_rewards}rewards.{name}": reward for name, reward in parts.sampler.rewards.items()}
    for setting, part in ({f"{above_loss}loss": parts.loss} | named).items():
        if isinstance(limit := getattr(part, "max_completion_length", None), int):
            yield setting, limit
