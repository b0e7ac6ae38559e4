import functools
import json
import math
import pickle

import numpy as np
import pytest
import torch

from lightning_gft import ExactMatchReward, ExpertSource, GroupSampler
from lightning_gft.rewards import FunctionReward, Reward, RewardError, TimeLimitedReward, score_responses
from tests.rewards.attacks import attacks_one, odd

BATCH = {"prompts": ["p", "q"], "responses": ["a", "bcd"], "references": ["x", None]}
NOT_A_FUNCTION = 3


def everything(*, prompts, responses, references, **columns):
    assert (prompts, references) == (BATCH["prompts"], BATCH["references"])
    return torch.tensor([len(r) for r in responses]) * torch.tensor(columns["level"])


def only_named(responses, level=(0, 0)):
    return [len(response) + extra for response, extra in zip(responses, level, strict=True)]


def array(responses):
    return np.array([len(response) for response in responses], dtype=np.float64)


def words(responses):
    return list(responses)


@pytest.mark.parametrize("separator", [".", ":"])
def test_everything_is_passed_to_a_function_that_takes_it(separator):
    scores = FunctionReward(f"{__name__}{separator}everything")(**BATCH, level=[2, 3])
    assert scores.tolist() == [2, 9]


def test_only_what_the_function_names_is_passed():
    reward = FunctionReward(f"{__name__}.only_named")
    assert reward(**BATCH, unknown=[1, 1]) == [1, 3]
    assert reward(**BATCH, unknown=[1, 1], level=[5, 6]) == [6, 9]


@pytest.mark.parametrize("function", ["array", "only_named", "booleans", "tensors"])
def test_lists_and_arrays_become_float32(function):
    reward = {"r": FunctionReward(f"{__name__}.{function}")}
    _, parts = score_responses(reward, **BATCH, columns={})
    assert parts["r"].dtype == torch.float32
    assert parts["r"].tolist() == ([1.0, 0.0] if function == "booleans" else [1.0, 3.0])


def booleans(responses):
    return np.array([len(response) == 1 for response in responses])


def tensors(responses):
    return [torch.tensor(float(len(response)), requires_grad=True) for response in responses]


@pytest.mark.parametrize("function", ["words", "pairs", "nothing", "awaited"])
def test_what_is_no_numbers_is_named_on_return(function):
    reward = {"r": FunctionReward(f"{__name__}.{function}")}
    fault = r"'r' \(FunctionReward\) returned .*; expected a list, a tensor or an array with a number for each of 2"
    with pytest.raises(RewardError, match=fault):
        score_responses(reward, **BATCH, columns={})


def pairs(responses):
    return [[1.0, 2.0] for _ in responses]


def nothing(responses):
    return None


class Awaited:
    def __repr__(self):
        return "an awaitable"


def awaited(responses):
    return Awaited()


class Scorer:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, responses, **columns):
        return [self.factor * len(response) for response in responses]

    def method(self, responses):
        return self(responses)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (Scorer(2), f"{__name__}.Scorer"),
        (Scorer(2).method, f"{__name__}.Scorer.method"),
        (functools.partial(only_named, level=(1, 3)), f"{__name__}.only_named"),
        (lambda responses: [2, 6], f"{__name__}.<lambda>"),
    ],
)
def test_anything_that_can_be_called_is_a_reward_from_python(function, name):
    reward = FunctionReward(function)
    assert reward.function == name
    assert list(reward(**BATCH)) == [2, 6]
    sampler = GroupSampler({"expert": ExpertSource()}, {"score": function, "exact": ExactMatchReward()})
    assert isinstance(sampler.rewards["score"], FunctionReward)
    assert list(sampler.rewards["score"](**BATCH)) == [2, 6]


def test_a_class_among_the_rewards_is_not_called_for_a_function():
    with pytest.raises(TypeError, match=r"`rewards\.exact`.*ExactMatchReward"):
        GroupSampler({"expert": ExpertSource()}, {"exact": ExactMatchReward})


def test_a_function_whose_parameters_cannot_be_read_is_refused():
    with pytest.raises(TypeError, match=r"`function`: expected one with a readable signature, got builtins.type"):
        FunctionReward(type)
    with pytest.raises(TypeError, match="`function`: expected a function or its dotted path, got 3"):
        FunctionReward(3)


def test_trl_calls_a_response_a_completion():
    with pytest.raises(ValueError, match="a response is called `responses` here, not `completions`"):
        FunctionReward(lambda completions, **kwargs: [1.0 for _ in completions]).check_row("1", {"prompt": "1"})


def test_a_column_that_the_data_lacks_is_named():
    with pytest.raises(
        ValueError,
        match=r"`function`: expected parameters that the data has, got \['level'\] of .*everything_needed",
    ):
        FunctionReward(f"{__name__}.everything_needed")(**BATCH)


def everything_needed(responses, level):
    raise AssertionError("must not be called without its column")


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (
            "no_such_package_here.f",
            ImportError,
            "expected .* imported, got 'no_such_package_here.f' .*No module named.*PYTHONPATH",
        ),
        (f"{__name__}.missing", ImportError, "expected .* imported, got .*no attribute 'missing'"),
        (f"{__name__}.NOT_A_FUNCTION", TypeError, "expected a function, got .*, a int"),
        ("alone", ValueError, "expected package.module.function"),
        ("package.module.f(1)", ValueError, "expected package.module.function"),
        (".relative.f", ValueError, "expected package.module.function"),
        ("", ValueError, "expected package.module.function"),
    ],
)
def test_a_wrong_path_is_an_error_at_construction(path, error, message):
    with pytest.raises(error, match=message):
        FunctionReward(path)


def test_an_import_error_inside_the_module_keeps_its_cause(tmp_path, monkeypatch):
    (tmp_path / "a_rewards_package").mkdir()
    (tmp_path / "a_rewards_package" / "broken.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="no_such_dependency"):
        FunctionReward("a_rewards_package.broken.f")


def test_pickles():
    reward = pickle.loads(pickle.dumps(FunctionReward(f"{__name__}.array", weight=0.5)))  # noqa: S301
    assert reward.weight == 0.5
    assert reward(**BATCH).tolist() == [1.0, 3.0]


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_is_refused(weight):
    with pytest.raises(ValueError, match="`weight` of FunctionReward: expected a finite number"):
        FunctionReward(f"{__name__}.array", weight=weight)


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Reward()


def score_within_limits(reward, *responses):
    batch = {"prompts": ["p"] * len(responses), "responses": responses, "references": [None] * len(responses)}
    return score_responses(
        {"mine": reward, "other": FunctionReward(lambda responses: [0.0] * len(responses))},
        **batch,
        columns={"level": [10 * n for n in range(len(responses))], "other": ["x"] * len(responses)},
    )[1]["mine"].tolist()


def test_with_a_timeout_a_failure_costs_the_response_alone():
    reward = FunctionReward(attacks_one, timeout=600, failed_score=-1, memory_mb=512)
    reward.setup()
    try:
        with pytest.warns(UserWarning, match="failed_score=-1") as warned:
            scores = score_within_limits(reward, "a", "none", "exits", "takes", "a")
        assert [math.floor(score) for score in scores if not math.isnan(score)] == [0, -1, -1, 40]
        assert math.isnan(scores[1])
        assert scores[4] - 40 == pytest.approx(scores[0], abs=1e-4), "draws follow from the response"
        assert len(warned) == 2
        reward._scorer.pool.seconds = 0.5
        with pytest.warns(UserWarning, match=r"FunctionReward took longer than 0\.5 s"):
            assert score_within_limits(reward, "hangs_in_c") == [-1]
        reward._scorer.pool.seconds = 600
        assert reward.compute() == {"timeouts": 1, "crashes": 1, "memory": 1, "errors": 0}
        assert (reward._scorer.failures.failed, reward._scorer.failures.judged) == (3, 6)
        reward.reset()
        assert reward.compute()["timeouts"] == 0
        with pytest.raises(RewardError, match=r"(?s)raised KeyError in raises, .*index 1.*response: 'raises'"):
            score_within_limits(reward, "a", "raises")
        with pytest.raises(RewardError, match=r"(?s)returned \[1\.0, 2\.0\] for one response.*response: 'two'"):
            score_within_limits(reward, "two")
    finally:
        reward.close()


def lines(responses):
    raise ValueError("my fault\n\n  second line\n")


def parses(responses):
    return [json.loads(response) for response in responses]


def direct(reward, *responses):
    return reward(prompts=["p"] * len(responses), responses=responses, references=[None] * len(responses))


def test_what_is_no_number_is_one_error_of_a_direct_call_with_a_timeout_too():
    limited = FunctionReward(odd, timeout=600)
    within = TimeLimitedReward(FunctionReward(odd), seconds=600)
    try:
        for reward in (FunctionReward(odd), limited, within):
            assert direct(reward, "number", "none") == [1.0, None]
            for response in ("text", "dict", "list"):
                message = r"^returned .*, a list, by tests.rewards.attacks.odd; expected a list, a tensor or"
                with pytest.raises(RewardError, match=message) as caught:
                    direct(reward, "number", response)
                assert "\n" not in str(caught.value)
            with pytest.raises(RewardError, match=r"^returned nan for response . of .; return a finite number"):
                direct(reward, "number", "nan")
        for reward in (limited, within):
            with pytest.raises(RewardError, match=r"(?s)returned nan.*response: 'nan'"):
                score_within_limits(reward, "number", "nan")
    finally:
        limited.close()
        within.close()


def test_the_text_of_an_exception_is_one_line_and_names_the_function():
    with pytest.raises(RewardError) as caught:
        score_within_limits(FunctionReward(lines), "a")
    first = str(caught.value).splitlines()[0]
    assert first.startswith("reward 'mine' (FunctionReward) raised ValueError in lines, ")
    assert first.endswith(": my fault second line")
    with pytest.raises(RewardError, match=r"raised JSONDecodeError in raw_decode, .*, called from .*parses"):
        score_within_limits(FunctionReward(parses), "a")


def test_without_a_timeout_there_is_no_process_and_nothing_is_counted():
    reward = FunctionReward(only_named)
    reward.setup()
    assert reward(**BATCH) == [1, 3]
    assert reward.compute() == {}
    reward.reset()
    reward.close()


def test_limits_of_a_function_are_checked():
    with pytest.raises(
        ValueError, match="`timeout` of FunctionReward: expected a number above 0, or null for none, got 0"
    ):
        FunctionReward(array, timeout=0)
    for limit in ({"memory_mb": 512}, {"failed_score": -1.0}):
        with pytest.raises(ValueError, match="` of FunctionReward: expected none without timeout"):
            FunctionReward(array, **limit)
    with pytest.raises(TypeError, match="`failed_score` of FunctionReward: expected a finite number, got 'a'"):
        FunctionReward(array, timeout=1, failed_score="a")
