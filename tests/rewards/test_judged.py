"""Rewards that judge each response by itself: failures are counted, warned of once and scored; verdicts are kept."""

import re

import pytest

from lightning_gft import ReasoningGymReward
from lightning_gft.checkpoint.describing import describe
from lightning_gft.rewards import FormatReward, FunctionReward, JudgedReward, MathAccuracyReward, score_responses
from tests.rewards.attacks import attack


class Attacked(JudgedReward):
    """Scores by what the response does; a number scores itself."""

    def __init__(self, **options):
        super().__init__(attack, workers=1, **options)
        self.asked = []

    def item(self, response, reference, columns):
        return float(response) if re.fullmatch(r"\d+", response) else (response, *columns.get("arguments", ()))

    def quick(self, item):
        return item if item in (0.0, 1.0) else None

    def score(self, *responses, **columns):
        count = len(responses)
        batch = {"prompts": ["p"] * count, "responses": list(responses), "references": [None] * count}
        return score_responses({"attacked": self}, **batch, columns=columns)[1]["attacked"].tolist()


@pytest.fixture
def made():
    rewards = []

    def make(**options):
        rewards.append(Attacked(**options))
        return rewards[-1]

    yield make
    for reward in rewards:
        reward.close()


def test_what_is_quick_needs_no_process(made):
    reward = made()
    assert reward.score("0", "1") == [0.0, 1.0]
    assert not reward.pool.is_running


def test_each_failure_is_counted_and_the_first_of_a_kind_is_warned_of(made):
    reward = made(seconds=600, failed_score=-0.5)
    reward.setup()
    with pytest.warns(UserWarning, match="Attacked") as warned:
        assert reward.score("7", "exits", "raises", "is_killed", "8", "segfaults") == [7, -0.5, -0.5, -0.5, 8, -0.5]
    reward.pool.seconds = 0.5
    late = r"took longer than 0\.5 s, .*failed_score=-0\.5.*counted as timeouts. .*'hangs_in_c'"
    with pytest.warns(UserWarning, match=late):
        assert reward.score("hangs_in_c") == [-0.5]
    reward.pool.seconds = 600
    assert reward.compute() == {"timeouts": 1, "memory": 1, "crashes": 2, "errors": 1}
    texts = [str(warning.message) for warning in warned]
    assert len(texts) == 3
    assert re.search(r"raised KeyError in raises, .*counted as errors.*response: 'raises'", texts[1])
    reward.reset()
    assert set(reward.compute().values()) == {0}
    reward.setup()  # another run
    with pytest.warns(UserWarning, match="response: 'raises'"):
        reward.score("raises")


def test_equal_items_are_judged_once_and_failures_again(made):
    reward = made(cache_size=2)
    (pid, same) = reward.score("pid", "pid")
    assert pid == same
    reward.close()
    assert reward.score("pid") == [pid], "is remembered"
    assert not reward.pool.is_running
    reward.score("2", "3")
    assert reward.score("pid") != [pid], "the two used last stay"
    with pytest.warns(UserWarning, match="exit status 3"):
        reward.score("exits", "exits")
    reward.score("exits")
    assert reward.compute()["crashes"] == 3


class NotApplicable(Attacked):
    """Does not apply to any response."""

    def item(self, response, reference, columns):
        return None


def test_none_says_that_a_reward_does_not_apply():
    reward = NotApplicable(weight=0.0)
    (score,) = reward(prompts=["p"], responses=["r"], references=[None])
    assert score is None
    assert reward(prompts=["p"], responses=["r"], references=[None]) == [None]
    reward.close()


def test_what_decides_a_score_is_among_the_settings_of_a_run():
    assert describe(MathAccuracyReward(failed_score=-0.5)).count("failed_score=-0.5") == 1
    assert "failed_score=-1" in describe(FunctionReward(attack, timeout=1, failed_score=-1))
    assert "failed_score" not in describe(FunctionReward(attack))
    assert "pattern='a+'" in describe(FormatReward("a+"))
    assert "answer_template='#{answer}'" in describe(ReasoningGymReward("#{answer}"))


def test_options_are_checked():
    with pytest.raises(ValueError, match="`cache_size` of Attacked: expected a whole number of at least 0, got -1"):
        Attacked(cache_size=-1)
    with pytest.raises(TypeError, match="`failed_score` of Attacked: expected a finite number, got None"):
        Attacked(failed_score=None)
