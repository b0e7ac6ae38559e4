import pytest
from jsonargparse import ArgumentError, ArgumentParser

from lightning_gft.rewards import Reward

REWARDS = {
    "FunctionReward": {"function": "math.fsum"},
    "ExactMatchReward": {"marker": "A:", "strip": False, "ignore_case": True},
    "NumericReward": {"marker": "####", "tolerance": 0.001},
    "FormatReward": {"pattern": ".*", "full_match": False},
    "MathAccuracyReward": {"float_rounding": 4, "seconds": 2, "memory_mb": None, "workers": 1, "failed_score": -1.0},
    "RepetitionPenalty": {"ngram_size": 2, "max_penalty": -0.5},
    "MultipleChoiceReward": {"choices_column": "choices", "marker": "A:"},
    "HTTPReward": {"url": "http://localhost:1/score", "columns": ["level"], "api_key_env": "KEY", "timeout": 3},
    "CodeExecutionReward": {"runs_model_code": True, "partial": True, "allow": ["files"]},
}


@pytest.fixture
def parser():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--rewards", type=dict[str, Reward])
    return parser


def entry(name, **init_args):
    return {"class_path": f"lightning_gft.rewards.{name}", "init_args": init_args}


def test_every_reward_is_built_from_a_config(parser):
    config = {name: entry(name, **options, weight=0.5) for name, options in REWARDS.items()}
    rewards = parser.instantiate(parser.parse_object({"rewards": config})).rewards
    assert {name: type(reward).__name__ for name, reward in rewards.items()} == {name: name for name in REWARDS}
    assert {reward.weight for reward in rewards.values()} == {0.5}
    assert rewards["NumericReward"].tolerance == 0.001
    assert rewards["ExactMatchReward"].strip is False


def test_a_limit_of_time_goes_around_any_reward(parser):
    within = entry("FormatReward", pattern=".*", weight=0.5)
    config = {"format": entry("TimeLimitedReward", reward=within, seconds=10)}
    reward = parser.instantiate(parser.parse_object({"rewards": config})).rewards["format"]
    assert (reward.seconds, reward.weight, reward.reward.pattern) == (10, 0.5, ".*")


def test_one_entry_is_overridden_from_the_command_line(parser):
    parser.add_argument("--config", action="config")
    config = (
        '{"rewards": {"accuracy": {"class_path": "lightning_gft.rewards.NumericReward", "init_args": {"weight": 2}}}}'
    )
    parsed = parser.parse_args([f"--config={config}", "--rewards.accuracy.tolerance=0.5"])
    reward = parser.instantiate(parsed).rewards["accuracy"]
    assert (reward.tolerance, reward.weight) == (0.5, 2.0)


@pytest.mark.parametrize("name", REWARDS)
def test_an_unknown_key_names_itself(parser, name):
    with pytest.raises(ArgumentError, match="wieght"):
        parser.parse_object({"rewards": {"r": entry(name, **REWARDS[name], wieght=1.0)}})


def test_a_value_of_the_wrong_type_names_its_key(parser):
    with pytest.raises(ArgumentError, match="tolerance"):
        parser.parse_object({"rewards": {"r": entry("NumericReward", tolerance="tight")}})


def test_the_base_is_refused(parser):
    with pytest.raises(ArgumentError, match="Reward"):
        parser.parse_object({"rewards": {"r": entry("Reward")}})
