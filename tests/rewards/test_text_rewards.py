import pytest

from lightning_gft.rewards import (
    ExactMatchReward,
    FormatReward,
    FunctionReward,
    NumericReward,
    RewardError,
    score_responses,
)


def needs_level(responses, level):
    raise NotImplementedError


def score(reward, response, reference="Paris"):
    return reward(prompts=["p"], responses=[response], references=[reference]).item()


@pytest.mark.parametrize(
    ("options", "response", "reference", "expected"),
    [
        ({}, "Paris", "Paris", 1.0),
        ({}, " Paris\n", "Paris ", 1.0),
        ({}, "paris", "Paris", 0.0),
        ({}, "Paris.", "Paris", 0.0),
        ({}, "42", 42, 1.0),
        ({"strip": False}, " Paris", "Paris", 0.0),
        ({"ignore_case": True}, "STRASSE", "straße", 1.0),
        ({"marker": "A:"}, "Lyon? A: Paris", "Paris", 1.0),
        ({"marker": "A:"}, "A: Lyon A: Paris", "Paris", 1.0),
        ({"marker": "A:"}, "A: Paris A: Lyon", "Paris", 0.0),
        ({"marker": "A:"}, "Paris", "Paris", 0.0),
        ({"marker": "A:"}, "A: Paris", "thus A: Paris", 1.0),
        ({"marker": "A:"}, "A:", "Paris", 0.0),
    ],
)
def test_exact_match(options, response, reference, expected):
    assert score(ExactMatchReward(**options), response, reference) == expected


def test_exact_match_without_a_reference_is_an_error():
    with pytest.raises(ValueError, match="the reference of ExactMatchReward: expected a text, got null"):
        score(ExactMatchReward(marker="A:"), "no marker", None)


@pytest.mark.parametrize(
    ("pattern", "full_match", "response", "expected"),
    [
        ("<a>.*</a>", True, "<a>one\ntwo</a>", 1.0),
        ("<a>.*</a>", True, "<a>1</a> more", 0.0),
        ("<a>.*</a>", False, "more <a>1</a> more", 1.0),
        ("<a>.*</a>", False, "<a>1", 0.0),
        ("a|ab", True, "ab", 1.0),
    ],
)
def test_format(pattern, full_match, response, expected):
    assert score(FormatReward(pattern, full_match=full_match), response) == expected


def test_an_invalid_pattern_is_an_error_at_construction():
    with pytest.raises(ValueError, match=r"`pattern`: expected a regular expression, got '\(' \(.*missing"):
        FormatReward("(")


@pytest.mark.parametrize("reference", [14.0, [14.0], {"answer": "14"}, [["14"]]])
def test_exact_match_refuses_a_reference_that_no_response_could_equal(reference):
    with pytest.raises(ValueError, match=r"expected a text or a whole number, got .*14.* NumericReward"):
        score(ExactMatchReward(), "14", reference)


@pytest.mark.parametrize("reward", [ExactMatchReward, NumericReward])
def test_a_marker_that_yaml_has_read_as_a_comment_is_refused(reward):
    with pytest.raises(ValueError, match="`marker`: expected a text, got null; in YAML, quote"):
        reward(marker=None)


@pytest.mark.parametrize(
    ("reward", "reference", "message"),
    [
        (ExactMatchReward(), None, "expected a text, got null"),
        (ExactMatchReward(), " ", "expected a text that is not blank, got ' '"),
        (NumericReward(), "many", "expected a text that is one number"),
        (FunctionReward(f"{__name__}.needs_level"), "1", r"got \['level'\] of .*needs_level"),
    ],
)
def test_rows_are_checked_without_a_response(reward, reference, message):
    with pytest.raises(ValueError, match=message):
        reward.check_row(reference, {"prompt": "1"})


def test_good_rows_pass():
    FormatReward("a").check_row(None, {})
    NumericReward().check_row("1", {})
    FunctionReward(f"{__name__}.needs_level").check_row(None, {"level": 3})


@pytest.mark.parametrize(
    ("options", "response", "reference", "expected"),
    [
        ({}, "Lyon", ["Paris", "Lyon"], 1.0),
        ({}, "Nice", ["Paris", "Lyon"], 0.0),
        ({}, "7", ["x", 7], 1.0),
        ({}, "caf\u00e9", "cafe\u0301", 1.0),
        ({"ignore_case": True}, "CAFE\u0301", "caf\u00e9", 1.0),
        ({}, "", "Paris", 0.0),
        ({"marker": "A:"}, "", "Paris", 0.0),
    ],
)
def test_exact_match_of_lists_and_normal_forms(options, response, reference, expected):
    assert score(ExactMatchReward(**options), response, reference) == expected


@pytest.mark.parametrize("reference", [True, False, [], "A: ", ["Paris", " "], ["Paris", None]])
def test_exact_match_refuses_references_that_could_not_be_met_or_by_nothing_at_all(reference):
    with pytest.raises(ValueError, match="reference"):
        ExactMatchReward(marker="A:").check_row(reference, {})


def test_a_pattern_that_goes_astray_is_an_error_that_shows_the_response(monkeypatch):
    monkeypatch.setattr("lightning_gft.rewards.format._SECONDS", 0.1)
    reward = {"format": FormatReward("(a|a)+(a|a)+(a|a)+$")}
    with pytest.raises(RewardError, match=r"raised TimeoutError: `pattern`: expected a match within .*aaab"):
        score_responses(reward, prompts=["p"], responses=["a" * 60 + "b"], references=[None], columns={})


@pytest.mark.parametrize("pattern", ["<think>.*</think>.+", r"<\|im_start\|>.*", "(?!.*<think>).+", "(?:<think>)?.+"])
def test_a_pattern_that_names_a_special_token_is_warned_of_unless_the_token_is_kept(pattern, recwarn):
    tokens = ["<think>", "</think>", "<|im_start|>", ""]
    with pytest.warns(UserWarning, match=r"`pattern`: expected no special token .*, got .* set special_tokens: true"):
        FormatReward(pattern).check_tokens(tokens)
    recwarn.clear()
    FormatReward(pattern, special_tokens=True).check_tokens(tokens)
    FormatReward("[a-z]+").check_tokens([*tokens, "[PAD]"])
    assert not recwarn.list
