"""Statistics of sampled groups: rewards, sources, lengths, and shares of groups without a training signal."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from lightning_gft.metrics.correctness import Correctness
from lightning_gft.metrics.counted import CountedGroups
from lightning_gft.metrics.group_totals import prompt_totals, reward_totals, source_totals
from lightning_gft.metrics.means import NamedMeans, Totals
from lightning_gft.metrics.own_totals import answer_totals, difficulty_totals, duplicate_totals
from lightning_gft.types import GroupBatch, Source

_ALWAYS = ("reward", "reward_std", "frac_reward_zero_std", "frac_groups_of_one", "frac_prompts_without_group")
_SUMS = ("sampling/num_prompts_never_sampled", "sampling/num_groups")
_BY_SOURCE = ("reward", "advantage", "length", "clipped_ratio")
_OTHERS = (
    *("sampling/frac_prompts_tried", "sampling/frac_groups_excluded"),
    *("completions/mean_length", "completions/clipped_ratio", "completions/without_teacher_ratio"),
    *("frac_groups_all_right", "frac_groups_all_wrong", "frac_groups_mixed", "frac_duplicates", "distinct_answers"),
)


class GroupStatistics(NamedMeans):
    """Statistics of a step's groups, under TRL's names where TRL logs the same figure.

    As input to ``update``:

    - ``groups`` (:class:`~lightning_gft.types.GroupBatch`): scored groups
    - ``num_prompts`` (int): number of prompts that the groups were built for
    - ``correctness`` (:class:`Correctness`): rule by which responses are correct; ``None`` omits figures that need it

    As output of ``compute``, scalars over all groups since the last ``reset`` and over all ranks:

    - ``reward``, ``reward_std``: mean reward of a response; mean standard deviation within a group
    - ``rewards/<name>/mean``: mean of each reward, unweighted, over the responses that it applies to; absent if it
      applies to none
    - ``frac_reward_zero_std``: share of groups of several responses whose rewards are all equal
    - ``frac_groups_of_one``: share of groups of a single response
    - ``frac_prompts_without_group``: share of prompts without a response from any source
    - ``reward_by_source/<source>``, ``advantage_by_source/<source>``, ``length_by_source/<source>``,
      ``clipped_ratio_by_source/<source>``: mean reward, mean advantage, mean number of tokens and share of truncated
      responses, for each source with responses
    - ``completions/mean_length``, ``completions/clipped_ratio``: mean number of tokens and share of truncated
      responses, of own samples
    - ``frac_groups_all_right``, ``frac_groups_all_wrong``, ``frac_groups_mixed``: share of groups whose own samples are
      all correct, all wrong, or neither, among groups with own samples
    - ``frac_duplicates``: share of own samples with the text of an earlier response of their group
    - ``distinct_answers``: mean number of different answers among a group's own samples, if the reward reads answers
    - ``completions/without_teacher_ratio``: share of own samples without log-probabilities of a teacher, if a source
      has one
    - with dynamic sampling, ``sampling/frac_prompts_tried``: share of prompts that were sampled;
      ``sampling/num_prompts_never_sampled``: number of the other prompts; ``sampling/frac_groups_excluded``: share of
      groups that no loss trains on; ``sampling/num_groups``: number of the other groups

    Args:
        reward_names: Names of the rewards, which are the keys of ``GroupBatch.reward_parts``.

    Example:
        >>> statistics = GroupStatistics(["accuracy"])
        >>> {name: value.item() for name, value in statistics.compute().items()}["reward"]
        0.0
    """

    def __init__(self, reward_names: Sequence[str]) -> None:
        by_source = [f"{figure}_by_source/{source.name.lower()}" for figure in _BY_SOURCE for source in Source]
        of_rewards = [f"rewards/{name}/mean" for name in reward_names]
        super().__init__([*_ALWAYS, *of_rewards, *by_source, *_SUMS, *_OTHERS], always=_ALWAYS, sums=_SUMS)
        self.reward_names = list(reward_names)

    @override
    def update(  # type: ignore[override]  # different input
        self, groups: GroupBatch, num_prompts: int, correctness: Correctness | None = None
    ) -> None:
        """Count the scored groups of one batch."""
        counted = CountedGroups.of(groups, self.reward_names)
        totals: Totals = {
            **reward_totals(counted, self.reward_names),
            **source_totals(counted),
            **prompt_totals(counted, num_prompts, groups.num_tried, groups.excluded is not None),
        }
        if groups.teacher_logprobs is not None:
            untaught = float(counted.untaught[counted.own].sum())
            totals["completions/without_teacher_ratio"] = (untaught, float(counted.own.sum()))
        if groups.responses:
            totals |= duplicate_totals(counted, groups.responses)
        if correctness is not None:
            part = counted.parts[self.reward_names.index(correctness.reward)]
            totals |= difficulty_totals(counted, correctness.judged(part))
            if correctness.reward in groups.answers:
                totals |= answer_totals(counted, groups.answers[correctness.reward])
        super().update(totals)
