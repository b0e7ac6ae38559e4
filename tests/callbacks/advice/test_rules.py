"""Each rule on made histories: it speaks of what it is for, and is silent just beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from lightning_gft.callbacks.advice import RULES, Finding, History, Rule
from lightning_gft.report.private import without_owner

BY_NAME = {rule.name: rule for rule in RULES}
SELF, EXPERT = "train/reward_by_source/self", "train/reward_by_source/expert"
RATE = "train/learning_rate"
ROUGH = [0.35, 0.45, 0.4, 0.5, 0.3]
"""A reward of 0.4 with noise."""

Values = Mapping[str, Sequence[float]]


def history_of(figures: Values, uses_advantages: bool = True) -> History:
    """Return figures step by step; those that are shorter begin later."""
    history, steps = History(uses_advantages), max(map(len, figures.values()))
    for step in range(steps):
        late = {name: step - steps + len(values) for name, values in figures.items()}
        history.add({name: values[late[name]] for name, values in figures.items() if late[name] >= 0})
    return history


def asked(name: str, figures: Values, uses_advantages: bool = True, *in_place: str) -> Finding | None:
    history = history_of(figures, uses_advantages)
    history.in_place = frozenset(in_place)
    return BY_NAME[name].find(history)


SPEAKS: dict[str, tuple[Values, str]] = {
    "expert_scores_zero": ({EXPERT: [0.0] * 5}, "the expert's responses score 0 in every step"),
    "teacher_scores_zero": ({"train/reward_by_source/teacher": [-1.0] * 5}, "the teacher's responses score -1"),
    "scoring_fails": ({"train/rewards/math/timeouts": [2.0] * 10}, r"the reward math fails on 2 responses .*timeouts"),
    "unjudged_samples": ({"train/completions/without_teacher_ratio": [0.5] * 5}, "did not judge 50% of own samples"),
    "sampling_mismatch": ({"train/sampling/logprob_difference": [0.3] * 5}, "differ by 0.3 nats"),
    "still_weights": (
        {
            "train/update_ratio": [1e-8] * 5,
            "train/grad_norm": [1.0] * 5,
            RATE: [1e-9] * 5,
            "train/kl_step": [1e-12] * 5,
        },
        "by 1e-08 of their norm and the policy by 1e-12 nats: with learning rate 1e-09 nothing is learnt",
    ),
    "large_steps": ({"train/kl_step": [0.5] * 3, RATE: [0.1] * 3}, "by 0.5 nats a token.*learning rate of 0.1"),
    "skipped_updates": ({"train/nonfinite_updates": [0.0, 2.0]}, r"2 update\(s\) skipped: gradient not finite"),
    "gradient_spikes": (
        {"train/grad_norm": [1.0] * 60 + [30.0, 1.0, 20.0, 40.0] + [1.0] * 6},
        "was 40 and above 10 times its median 1 in 3 of 20 steps",
    ),
    "cut_off": (
        {"train/completions/clipped_ratio": [0.6] * 10, "train/completions/mean_length": [40.0] * 10},
        "60% of own samples are truncated at max_new_tokens, with 40 tokens",
    ),
    "longer_responses": (
        {"train/completions/mean_length": [10.0] * 10 + [20.0] * 10 + [50.0] * 10, SELF: ROUGH * 6},
        "grew from 10 to 50 tokens while their reward went from 0.4 to 0.4",
    ),
    "equal_groups": ({"train/frac_reward_zero_std": [0.9] * 20}, "90% of groups .* raise num_generations"),
    "duplicates": ({"train/frac_duplicates": [0.95] * 20}, "95% of samples repeat another"),
    "entropy_collapse": (
        {"train/entropy_by_source/self": [1.0] * 10 + [0.1] * 10, "train/entropy": [1.0] * 20},
        "train/entropy_by_source/self fell from 1 to 0.1 nats",
    ),
    "entropy_rise": ({"train/entropy": [0.2] * 10 + [0.9] * 10}, "train/entropy rose from 0.2 to 0.9 nats"),
    "negative_weight": ({"train/negative/weight_fraction": [0.9] * 20}, "90% of the weight pushes responses down"),
    "clipped_tokens": ({"train/clip_ratio/region_mean": [0.9] * 10}, "90% of tokens are clipped"),
    "reward_fell": ({SELF: ROUGH * 4 + [0.1, 0.0] * 5}, "fell from 0.4 to 0.05"),
    "accuracy_fell": (
        {"val/greedy_accuracy": [0.9, 0.95, 0.6], "val/greedy_accuracy_stderr": [0.02] * 3},
        "fell from 0.95 to 0.6; .*monitor=val/greedy_accuracy",
    ),
    "flat_reward": ({SELF: ROUGH * 20, RATE: [1e-5] * 100}, "not risen in 100 steps: 0.4 at first, 0.4 now"),
    "small_loss": (
        {
            "train/loss": [1e-3, -1e-3] * 5,
            "train/grad_norm": [0.5] * 10,
            "train/reward": [0.4] * 10,
            "train/nll_by_source/self": [0.2] * 10,
        },
        r"a loss near 0 is normal here: the advantages of a group cancel; "
        r"watch train/reward \(0.4\) and train/nll_by_source/self \(0.2\) instead",
    ),
}


def test_every_rule_is_tried():
    assert set(SPEAKS) == set(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_rule_speaks_in_one_line_with_the_figure(name):
    figures, text = SPEAKS[name]
    finding = asked(name, figures)
    assert finding is not None
    assert re.search(text, finding.text), finding.text
    assert "\n" not in finding.text
    assert finding.figures
    assert without_owner(finding.text) == finding.text  # as a page shows it


@pytest.mark.parametrize("name", BY_NAME)
def test_rule_is_silent_without_its_figures_or_before_its_window(name):
    assert asked(name, {"train/other": [1.0] * 100}) is None
    shortest = 1 if name == "skipped_updates" else 2
    assert asked(name, {figure: values[:shortest] for figure, values in SPEAKS[name][0].items()}) is None


def changed(name: str, figure: str, values: Sequence[float]) -> Values:
    return {**SPEAKS[name][0], figure: values}


SILENT: dict[str, tuple[str, Values]] = {
    "the expert is right now and then": ("expert_scores_zero", {EXPERT: [0.0, 0.0, 0.1, 0.0, 0.0]}),
    "a verifier fails now and then": ("scoring_fails", {"train/rewards/math/timeouts": [2.0] * 9 + [0.0]}),
    "seconds are no failures": ("scoring_fails", {"train/rewards/math/seconds": [2.0] * 10}),
    "rounding of bfloat16": ("sampling_mismatch", {"train/sampling/logprob_difference": [0.03] * 5}),
    "one batch is another": ("sampling_mismatch", {"train/sampling/logprob_difference": [0.3] * 4 + [0.01]}),
    "a warm-up": ("still_weights", changed("still_weights", RATE, [1e-9, 2e-9, 3e-9, 4e-9, 5e-9])),
    "the end of a decay": ("still_weights", changed("still_weights", RATE, [1e-5, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9])),
    "nothing to learn": ("still_weights", changed("still_weights", "train/grad_norm", [0.0] * 5)),
    "Adam at 1e-6": ("still_weights", changed("still_weights", "train/update_ratio", [5e-5] * 5)),
    "one large step": ("large_steps", {"train/kl_step": [0.0, 0.5, 0.4], "train/update_ratio": [0.1] * 3}),
    "all that trains began at 0": ("large_steps", {"train/kl_step": [0.01], "train/update_ratio": [2.0]}),
    "all is finite": ("skipped_updates", {"train/nonfinite_updates": [0.0] * 9}),
    "two spikes": ("gradient_spikes", {"train/grad_norm": [1.0] * 60 + [30.0, 20.0] + [1.0] * 8}),
    "a gradient that grows": ("gradient_spikes", {"train/grad_norm": [1.0 + 0.05 * n for n in range(70)]}),
    "a warm-up of gradients": ("gradient_spikes", {"train/grad_norm": [0.0] * 50 + [1.0] * 20}),
    "a third is cut off": ("cut_off", changed("cut_off", "train/completions/clipped_ratio", [0.3] * 10)),
    "longer and better": ("longer_responses", changed("longer_responses", SELF, ROUGH * 4 + [0.9] * 10)),
    "longer, but no more so": (
        "longer_responses",
        changed("longer_responses", "train/completions/mean_length", [10.0] * 10 + [50.0] * 20),
    ),
    "half of the groups": ("equal_groups", {"train/frac_reward_zero_std": [0.5] * 20}),
    "some duplicates": ("duplicates", {"train/frac_duplicates": [0.5] * 20}),
    "duplicates of the right text": (
        "duplicates",
        changed("duplicates", "train/frac_groups_mixed", [0.5, 0.0] * 10),
    ),
    "entropy halves": ("entropy_collapse", {"train/entropy_by_source/self": [1.0] * 10 + [0.4] * 10}),
    "demonstrations are learnt": ("entropy_collapse", {"train/entropy": [1.0] * 10 + [0.15] * 10}),
    "small entropy rises": ("entropy_rise", {"train/entropy": [0.05] * 10 + [0.3] * 10}),
    "half of the weight": ("negative_weight", {"train/negative/weight_fraction": [0.5] * 20}),
    "some are clipped": ("clipped_tokens", {"train/clip_ratio/region_mean": [0.3] * 10}),
    "a bad batch": ("reward_fell", {SELF: ROUGH * 5 + [0.0] + ROUGH}),
    "validation is noisy": (
        "accuracy_fell",
        {"val/greedy_accuracy": [0.9, 0.7], "val/greedy_accuracy_stderr": [0.1] * 2},
    ),
    "the reward has risen": ("flat_reward", changed("flat_reward", SELF, ROUGH * 10 + [0.6, 0.5] * 25)),
    "as good as the expert": ("flat_reward", changed("flat_reward", EXPERT, [0.4] * 100)),
    "most are solved": ("flat_reward", changed("flat_reward", "train/frac_groups_all_right", [0.7] * 100)),
    "a warm-up of the reward": ("flat_reward", changed("flat_reward", RATE, [1e-7 * n for n in range(100)])),
    "a loss of some size": ("small_loss", changed("small_loss", "train/loss", [0.05] * 10)),
    "no gradient": ("small_loss", changed("small_loss", "train/grad_norm", [0.0] * 10)),
}


@pytest.mark.parametrize("case", SILENT)
def test_rule_is_silent_where_all_is_well(case):
    name, figures = SILENT[case]
    assert asked(name, figures) is None


@pytest.mark.parametrize("name", ["equal_groups", "small_loss"])
def test_groups_matter_only_to_a_loss_that_compares_them(name):
    assert asked(name, SPEAKS[name][0], uses_advantages=False) is None


@pytest.mark.parametrize(("right", "wrong", "remedy"), [(0.8, 0.1, "harder prompts"), (0.1, 0.8, "easier prompts")])
def test_equal_groups_are_solved_or_never_solved(right, wrong, remedy):
    shares = {"all_right": right, "all_wrong": wrong}
    figures = {f"train/frac_groups_{kind}": [share] * 20 for kind, share in shares.items()}
    finding = asked("equal_groups", {**SPEAKS["equal_groups"][0], **figures})
    assert finding is not None
    assert remedy in finding.text


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ({"train/kl_step": [2042.0], "train/update_ratio": [169.0]}, "by 2.04e.03 nats a token and .* by 169 times"),
        ({"train/kl_step": [0.0, 0.0, 3.5]}, "the policy by 3.5 nats a token, more"),
        ({"train/kl_step": [float("nan")], "train/update_ratio": [1.5]}, "moves the weights by 1.5 times their norm"),
    ],
)
def test_one_update_far_too_large_is_enough(figures, text):
    finding = asked("large_steps", figures)
    assert finding is not None
    assert re.search(text, finding.text), finding.text


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_reward_that_tells_nothing_is_not_taken_for_prompts_that_are_solved(reward):
    shares = {"train/frac_groups_all_right": [reward] * 30, "train/frac_groups_all_wrong": [1 - reward] * 30}
    equal = {"train/frac_reward_zero_std": [1.0] * 30, **shares, EXPERT: [reward] * 30}
    finding = asked("equal_groups", {**equal, SELF: [reward] * 30})
    assert finding is not None
    assert "does not tell better from worse" in finding.text
    for own in ([0.5, *[reward] * 29], []):  # learnt, and no other source
        finding = asked("equal_groups", {**equal, SELF: own})
        assert finding is not None
        assert "does not tell" not in finding.text


def test_causes_silence_effects_that_there_are():
    position = {rule.name: number for number, rule in enumerate(RULES)}
    for rule in RULES:
        assert all(position[cause] < position[rule.name] for cause in rule.after), rule.name


def test_rules_read_what_they_name():
    """A rule hears of no figure but those that it names, as the callback passes on no others."""

    class Seen(History):
        names_read: set[str]

        def last(self, name: str, number: int) -> list[float]:
            self.names_read.add(name)
            return super().last(name, number)

        def first(self, name: str, number: int) -> list[float]:
            self.names_read.add(name)
            return super().first(name, number)

    def read(rule: Rule) -> set[str]:
        history = history_of(SPEAKS[rule.name][0])
        history.__class__, history.names_read = Seen, set()
        rule.find(history)
        return {name for name in history.names_read if not name.startswith("train/rewards/")}

    assert {rule.name: read(rule) - set(rule.figures) for rule in RULES} == {rule.name: set() for rule in RULES}


def test_page_tells_of_every_rule_and_its_figures():
    page = (Path(__file__).parents[3] / "docs/advice.md").read_text().split("## Rules")[1]
    rows = {name: row for row in page.splitlines() for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}
    assert {name for name in rows if name in BY_NAME} == set(BY_NAME)
    assert set(rows) - set(BY_NAME) <= {"update_ratio", "kl_step"}  # of the text above the table
    for name, rule in BY_NAME.items():
        first = rule.figures[0].removeprefix("train/").replace("*", "<name>")
        first = first.replace("/expert", "/<source>").replace("/teacher", "/<source>")
        assert f"`{first}`" in rows[name] or rows[name].split(" | ")[1] == "the same", name


def test_history_is_kept_as_it_was():
    history = history_of({"train/a": [*map(float, range(150))], RATE: [1.0, float("nan"), 0.5]})
    again = History()
    again.load_state_dict(history.state_dict())
    assert again.state_dict() == history.state_dict()
    assert again.first("train/a", 20) == [*map(float, range(20))]
    assert again.last("train/a", 100) == [*map(float, range(50, 150))]
    assert again.count(RATE) == 2
