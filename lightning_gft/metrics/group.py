"""Statistics of sampled groups: rewards, sources, lengths, and how many groups teach anything."""

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
    *("sampling/frac_prompts_tried", "sampling/frac_groups_set_aside"),
    *("completions/mean_length", "completions/clipped_ratio", "completions/without_teacher_ratio"),
    *("frac_groups_all_right", "frac_groups_all_wrong", "frac_groups_mixed", "frac_duplicates", "distinct_answers"),
)


class GroupStatistics(NamedMeans):
    """What a step's groups look like, under the names that TRL logs where it has one.

    As input to ``update``:

    - ``groups`` (:class:`~lightning_gft.types.GroupBatch`): scored groups
    - ``num_prompts`` (int): prompts that they were built for
    - ``correctness`` (:class:`Correctness`): which responses are correct; ``None`` leaves out what needs it

    As output of ``compute``, scalars over all groups since the last ``reset`` and over all ranks:

    - ``reward``, ``reward_std``: mean reward of a response; mean standard deviation within a group
    - ``rewards/<name>/mean``: mean of each reward, unweighted, over the responses that it applies to, if there are any
    - ``frac_reward_zero_std``: share of groups of several responses whose rewards are all equal
    - ``frac_groups_of_one``: share of groups of a single response
    - ``frac_prompts_without_group``: share of prompts that no source gave a response to
    - ``reward_by_source/<source>``, ``advantage_by_source/<source>``, ``length_by_source/<source>``,
      ``clipped_ratio_by_source/<source>``: mean reward, advantage and tokens of the responses of each source that gave
      any, and share of those that did not end in time
    - ``completions/mean_length``, ``completions/clipped_ratio``: the last two of the policy's own samples
    - ``frac_groups_all_right``, ``frac_groups_all_wrong``, ``frac_groups_mixed``: share of groups whose own samples are
      all correct, all wrong, or neither, among those that have own samples
    - ``frac_duplicates``: share of own samples whose text an earlier response of their group has
    - ``distinct_answers``: different answers of a group's own samples, on average, where the reward reads answers
    - ``completions/without_teacher_ratio``: where a source has a teacher, share of own samples that it did not judge
    - ``sampling/frac_prompts_tried``, ``sampling/num_prompts_never_sampled``, ``sampling/frac_groups_set_aside``,
      ``sampling/num_groups``: where prompts are sampled only until enough groups differ, share of prompts that were,
      and number of those that were not; share of groups that no loss trains on, and number of the others

    Args:
        reward_names: Names of the rewards, as in ``GroupBatch.reward_parts``.

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
    def update(  # type: ignore[override]  # other input
        self, groups: GroupBatch, num_prompts: int, correctness: Correctness | None = None
    ) -> None:
        """Count scored groups."""
        counted = CountedGroups.of(groups, self.reward_names)
        totals: Totals = {
            **reward_totals(counted, self.reward_names),
            **source_totals(counted),
            **prompt_totals(counted, num_prompts, groups.num_tried, groups.set_aside is not None),
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
