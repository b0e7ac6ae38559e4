"""Statistics of sampled groups: rewards, lengths, and how many groups teach anything."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_gft.functional import group_standard_deviations
from lightning_gft.metrics.base import ExactMetric
from lightning_gft.types import GroupBatch, Source


class GroupStatistics(ExactMetric):
    """What a step's groups look like, under the names that TRL logs.

    As input to ``update``:

    - ``groups`` (:class:`~lightning_gft.types.GroupBatch`): scored groups
    - ``num_prompts`` (int): prompts that they were built for

    As output of ``compute``, scalars over all groups since the last ``reset`` and over all ranks:

    - ``reward``, ``reward_std``: mean reward of a response; mean standard deviation within a group
    - ``reward_by_source/<source>``: mean reward of the responses of each source that gave any
    - ``rewards/<name>/mean``: mean of each reward, unweighted, over the responses that it applies to, if there are any
    - ``frac_reward_zero_std``: share of groups of several responses whose rewards are all equal
    - ``frac_groups_of_one``: share of groups of a single response
    - ``frac_prompts_without_group``: share of prompts that no source gave a response to
    - ``sampling/frac_prompts_tried``, ``sampling/num_prompts_never_sampled``, ``sampling/frac_groups_set_aside``,
      ``sampling/num_groups``: where prompts are sampled only until enough groups differ, share of prompts that were,
      and number of those that were not; share of groups that no loss trains on, and number of the others
    - ``completions/mean_length``, ``completions/clipped_ratio``: tokens of the policy's own samples, and share of these
      that did not end in time
    - ``completions/without_teacher_ratio``: where a teacher judges own samples, share of those that it did not

    Args:
        reward_names: Names of the rewards, as in ``GroupBatch.reward_parts``.

    Example:
        >>> statistics = GroupStatistics(["accuracy"])
        >>> {name: value.item() for name, value in statistics.compute().items()}["reward"]
        0.0
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    num_prompts: Tensor
    num_offered: Tensor
    num_set_aside: Tensor
    num_groups: Tensor
    num_zero_std: Tensor
    num_single: Tensor
    std_sum: Tensor
    num_responses: Tensor
    reward_sums: Tensor
    part_sums: Tensor
    part_counts: Tensor
    self_tokens: Tensor
    self_clipped: Tensor
    num_taught: Tensor
    num_untaught: Tensor

    def __init__(self, reward_names: Sequence[str]) -> None:
        super().__init__()
        self.reward_names = list(reward_names)
        for name in (
            "num_prompts",
            "num_offered",
            "num_set_aside",
            "num_groups",
            "num_zero_std",
            "num_single",
            "std_sum",
            "self_tokens",
            "self_clipped",
            "num_taught",
            "num_untaught",
        ):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        for name, size in (
            ("num_responses", len(Source)),
            ("reward_sums", len(Source)),
            ("part_sums", len(reward_names)),
            ("part_counts", len(reward_names)),
        ):
            self.add_state(name, torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, groups: GroupBatch, num_prompts: int) -> None:
        """Count scored groups."""
        deviations = group_standard_deviations(groups.rewards, groups.group_index)
        self.num_prompts += num_prompts if groups.num_tried is None else groups.num_tried
        if groups.set_aside is not None:
            self.num_offered += num_prompts
            self.num_set_aside += len(groups.group_index[groups.set_aside].unique())
        self.num_groups += len(deviations)
        single = groups.group_index.unique(return_counts=True)[1] == 1
        self.num_single += single.sum()
        self.num_zero_std += ((deviations == 0) & ~single).sum()
        self.std_sum += deviations.sum()
        self.num_responses += groups.source.bincount(minlength=len(Source))
        self.reward_sums.index_add_(0, groups.source, groups.rewards.double())
        parts = torch.stack([groups.reward_parts[name].double() for name in self.reward_names])
        self.part_sums += parts.nansum(dim=1)
        self.part_counts += (~parts.isnan()).sum(dim=1)
        own = groups.source == Source.SELF
        self.self_tokens += groups.response_lengths[own].sum()
        self.self_clipped += (~groups.finished[own]).sum()
        if groups.teacher_logprobs is not None:
            untaught = (groups.teacher_logprobs.isnan() & groups.response_mask).any(dim=1)
            self.num_taught += (own & ~untaught).sum()
            self.num_untaught += (own & untaught).sum()

    def compute(self) -> dict[str, Tensor]:
        """Return the statistics described above."""
        responses = self.num_responses.sum().clamp(min=1)
        groups = self.num_groups.clamp(min=1)
        statistics = {
            "reward": self.reward_sums.sum() / responses,
            "reward_std": self.std_sum / groups,
            "frac_reward_zero_std": self.num_zero_std / groups,
            "frac_groups_of_one": self.num_single / groups,
            "frac_prompts_without_group": 1 - self.num_groups / self.num_prompts.clamp(min=1),
        }
        if self.num_offered:
            statistics |= {
                "sampling/frac_prompts_tried": self.num_prompts / self.num_offered,
                "sampling/num_prompts_never_sampled": self.num_offered - self.num_prompts,
                "sampling/frac_groups_set_aside": self.num_set_aside / groups,
                "sampling/num_groups": self.num_groups - self.num_set_aside,
            }
        for source in Source:
            if self.num_responses[source]:
                mean = self.reward_sums[source] / self.num_responses[source]
                statistics[f"reward_by_source/{source.name.lower()}"] = mean
        for name, total, count in zip(self.reward_names, self.part_sums, self.part_counts, strict=True):
            if count:
                statistics[f"rewards/{name}/mean"] = total / count
        if own := self.num_responses[Source.SELF]:
            statistics["completions/mean_length"] = self.self_tokens / own
            statistics["completions/clipped_ratio"] = self.self_clipped / own
        if judged := self.num_taught + self.num_untaught:
            statistics["completions/without_teacher_ratio"] = self.num_untaught / judged
        return statistics
