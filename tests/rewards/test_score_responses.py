import re

import pytest
import torch

from lightning_gft.rewards import NumericReward, Reward, RewardError, score_responses

BATCH = {"prompts": ["p0", "p1", "p2"], "responses": ["r0", "r1", "r2"], "references": [1, 2, 3], "columns": {}}


class Recorder(Reward):
    """Returns given scores, and keeps its arguments."""

    def __init__(self, result, weight=1.0):
        super().__init__(weight)
        self.result = result
        self.calls = []

    def __call__(self, **batch):
        self.calls.append(batch)
        return self.result


class FailsOn(Reward):
    def __init__(self, culprits):
        super().__init__()
        self.culprits = set(culprits)

    def __call__(self, *, prompts, responses, references, **columns):
        if self.culprits & set(responses):
            raise KeyError("boom")
        return torch.ones(len(responses))


class FailsOnBatch(Reward):
    def __call__(self, *, prompts, responses, references, **columns):
        if len(responses) > 1:
            raise ArithmeticError("too many")
        return torch.ones(1)


def test_the_total_is_weighted_and_the_parts_are_not():
    rewards = {
        "accuracy": Recorder(torch.tensor([1, 0, 1])),
        "length": Recorder(torch.tensor([10.0, 20.0, 30.0], dtype=torch.float64, requires_grad=True), weight=-0.1),
    }
    total, parts = score_responses(rewards, **BATCH)
    torch.testing.assert_close(total, torch.tensor([0.0, -2.0, -2.0]))
    assert list(parts) == ["accuracy", "length"]
    torch.testing.assert_close(parts["accuracy"], torch.tensor([1.0, 0.0, 1.0]))
    torch.testing.assert_close(parts["length"], torch.tensor([10.0, 20.0, 30.0]))
    assert not total.requires_grad
    assert not parts["length"].requires_grad


def test_a_reward_is_called_once_with_the_whole_batch_and_its_columns():
    reward = Recorder(torch.ones(3))
    score_responses({"r": reward}, **{**BATCH, "columns": {"level": [1, 2, 3]}})
    assert reward.calls == [
        {"prompts": BATCH["prompts"], "responses": BATCH["responses"], "references": [1, 2, 3], "level": [1, 2, 3]}
    ]


@pytest.mark.parametrize("name", ["prompts", "responses", "references", "self"])
def test_a_column_named_like_a_keyword_is_passed_over(name):
    reward = Recorder(torch.ones(3))
    score_responses({"r": reward}, **{**BATCH, "columns": {name: ["x", "y", "z"]}})
    assert reward.calls == [{key: BATCH[key] for key in ("prompts", "responses", "references")}]


def test_no_responses_call_no_reward():
    reward = Recorder(None)
    total, parts = score_responses({"r": reward}, prompts=[], responses=[], references=[], columns={})
    assert total.shape == parts["r"].shape == (0,)
    assert reward.calls == []


def test_no_reward_is_an_error():
    with pytest.raises(ValueError, match="`rewards`: expected at least one reward"):
        score_responses({}, **BATCH)


@pytest.mark.parametrize(
    "wrong",
    [{"references": [1]}, {"prompts": ["p"]}, {"columns": {"level": [1, 2, 3, 4]}}],
    ids=lambda w: next(iter(w)),
)
def test_uneven_arguments_are_an_error(wrong):
    with pytest.raises(ValueError, match=r"`(references|prompts|level)`: expected 3 entries, .*, got [14];"):
        score_responses({"r": Recorder(torch.ones(3))}, **{**BATCH, **wrong})


@pytest.mark.parametrize("shape", [(2,), (3, 1), (), (1, 3)])
def test_a_wrong_shape_is_an_error(shape):
    with pytest.raises(RewardError) as error:
        score_responses({"accuracy": Recorder(torch.ones(shape))}, **BATCH)
    assert str(error.value).startswith(f"reward 'accuracy' (Recorder) returned shape {list(shape)}, expected [3]")


def test_a_list_of_numbers_is_as_good_as_a_tensor():
    total, _ = score_responses({"r": Recorder([1, 0.5, True])}, **BATCH)
    assert total.tolist() == [1.0, 0.5, 1.0]


@pytest.mark.parametrize(("value", "shown"), [(float("nan"), "nan"), (float("-inf"), "-inf")])
def test_a_score_that_is_not_finite_shows_the_first_response_concerned(value, shown):
    scores = torch.tensor([1.0, value, value], dtype=torch.float64)
    with pytest.raises(RewardError) as error:
        score_responses({"accuracy": Recorder(scores)}, **BATCH)
    message = str(error.value)
    assert message.startswith(f"reward 'accuracy' (Recorder) returned {shown}; 2 of 3 scores are not finite")
    assert "'p1'" in message
    assert "'r1'" in message
    assert "'r2'" not in message


@pytest.mark.parametrize("scores", [torch.tensor([1, 1e308, 1], dtype=torch.float64), [1.0, 1e308, None]])
def test_a_score_beyond_float32_is_shown_as_it_was_returned(scores):
    with pytest.raises(RewardError, match=r"returned 1e\+308; 1 of 3 scores are beyond float32, about 3.4e38"):
        score_responses({"accuracy": Recorder(scores)}, **BATCH)


def test_a_failing_reward_shows_the_first_response_that_fails_by_itself():
    with pytest.raises(RewardError) as error:
        score_responses({"good": Recorder(torch.ones(3)), "bad": FailsOn({"r1", "r2"})}, **BATCH)
    message = str(error.value)
    assert re.match(r"reward 'bad' \(FailsOn\) raised KeyError in __call__, .*responses\.py:\d+: 'boom'", message)
    assert "index 1" in message
    assert "prompt: 'p1'\n  response: 'r1'\n  reference: 2" in message
    assert "r2" not in message
    assert isinstance(error.value.__cause__, KeyError)


class Reverses(Reward):
    def __call__(self, *, prompts, responses, references, **columns):
        responses.reverse()
        return torch.zeros(len(responses))


def test_a_reward_cannot_change_what_the_next_one_sees():
    batch = {**BATCH, "responses": ["1", "2", "3"]}
    rewards = {"reverses": Reverses(), "accuracy": NumericReward()}
    _, parts = score_responses(rewards, **batch)
    assert parts["accuracy"].tolist() == [1.0, 1.0, 1.0]
    assert batch["responses"] == ["1", "2", "3"]


def test_a_reward_that_fails_on_the_whole_batch_alone_says_so():
    with pytest.raises(RewardError, match=r"(?s)ArithmeticError in .* many\nNo response fails by itself.*'p0'.*'r0'"):
        score_responses({"bad": FailsOnBatch()}, **BATCH)


def test_columns_are_cut_with_the_responses_when_the_culprit_is_looked_for():
    class NeedsLevel(Reward):
        def __call__(self, *, prompts, responses, references, level):
            return torch.tensor([1.0 / value for value in level])

    with pytest.raises(RewardError, match=r"(?s)ZeroDivisionError.*index 2 of the batch.*'r2'"):
        score_responses({"r": NeedsLevel()}, **{**BATCH, "columns": {"level": [1, 2, 0]}})


def test_a_reference_without_a_number_reaches_the_user():
    with pytest.raises(RewardError, match=r"(?s)the reference of NumericReward: expected .*, got 'many'; .*'p1'"):
        score_responses({"accuracy": NumericReward()}, **{**BATCH, "references": ["1", "many", "3"]})


def test_long_texts_are_shortened_and_keep_their_end():
    long = {**BATCH, "responses": ["a" * 5000 + "END", "r1", "r2"]}
    with pytest.raises(RewardError) as error:
        score_responses({"r": FailsOn(set(long["responses"]))}, **long)
    message = str(error.value)
    assert "END" in message
    assert len(message) < 600


def test_an_interrupt_is_not_caught():
    class Interrupted(Reward):
        def __call__(self, *, prompts, responses, references, **columns):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_responses({"r": Interrupted()}, **BATCH)
