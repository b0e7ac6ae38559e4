"""Sums and counts over groups: rewards, responses of each source, prompts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lightning_gft.functional import group_standard_deviations
from lightning_gft.metrics.counted import CountedGroups
from lightning_gft.metrics.means import Totals
from lightning_gft.types import Source


def reward_totals(counted: CountedGroups, reward_names: Sequence[str]) -> Totals:
    """Return sums and counts of rewards, and of their spread within groups."""
    deviations = group_standard_deviations(counted.rewards, counted.group)
    single = counted.sizes == 1
    groups = float(len(deviations))
    return {
        "reward": _mean(counted.rewards),
        "reward_std": _mean(deviations),
        "frac_reward_zero_std": (float(((deviations == 0) & ~single).sum()), groups),
        "frac_groups_of_one": (float(single.sum()), groups),
        **{
            f"rewards/{name}/mean": _mean(part[~part.isnan()])
            for name, part in zip(reward_names, counted.parts, strict=True)
        },
    }


def source_totals(counted: CountedGroups) -> Totals:
    """Return sums and counts of rewards, advantages, lengths and truncated responses, by source."""
    totals: Totals = {}
    for source in Source:
        rows, name = counted.source == source, source.name.lower()
        totals |= {
            f"reward_by_source/{name}": _mean(counted.rewards[rows]),
            f"advantage_by_source/{name}": _mean(counted.advantages[rows]),
            f"length_by_source/{name}": _mean(counted.lengths[rows]),
            f"clipped_ratio_by_source/{name}": _mean(counted.clipped[rows]),
        }
    return {
        **totals,
        "completions/mean_length": totals["length_by_source/self"],
        "completions/clipped_ratio": totals["clipped_ratio_by_source/self"],
    }


def prompt_totals(counted: CountedGroups, offered: int, tried: int | None, excludes: bool) -> Totals:
    """Return sums and counts of prompts: with groups, sampled, and trained on.

    Args:
        counted: The groups of a batch.
        offered: Number of prompts in the batch.
        tried: Number of prompts that were sampled; ``None`` if all were.
        excludes: Whether sampling is dynamic, so that some groups are excluded.
    """
    groups = len(counted.sizes)
    prompts = offered if tried is None else tried
    totals: Totals = {"frac_prompts_without_group": (float(prompts - groups), float(prompts))}
    if excludes:
        excluded = len(counted.group[counted.excluded > 0].unique())
        totals |= {
            "sampling/frac_prompts_tried": (float(prompts), float(offered)),
            "sampling/num_prompts_never_sampled": (float(offered - prompts), 1.0),
            "sampling/frac_groups_excluded": (float(excluded), float(groups)),
            "sampling/num_groups": (float(groups - excluded), 1.0),
        }
    return totals


def _mean(values: Tensor) -> tuple[float, float]:
    return float(values.sum()), float(len(values))
