"""Repetition, in words and in scripts without spaces."""

from __future__ import annotations

import math

import pytest

from lightning_gft.rewards import ExactMatchReward, RepetitionPenalty


def penalties(*responses: str, **options: object) -> list[float]:
    count = len(responses)
    return list(RepetitionPenalty(**options)(prompts=["p"] * count, responses=responses, references=[None] * count))


def by_definition(words: list[str], size: int, most: float) -> float:
    """The published formula, for words that are given."""
    ngrams = [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]
    return (1 - len(set(ngrams)) / len(ngrams)) * most if ngrams else 0.0


@pytest.mark.parametrize("size", [1, 2, 3, 5, 40])
@pytest.mark.parametrize("most", [-1.0, -0.2, 0.0])
def test_it_is_the_published_formula(size: int, most: float):
    texts = ["the cat and the dog and the cat and The DOG", "a b c d e f", "a a a a a a", "", "a", "a b"]
    expected = [by_definition(text.lower().split(), size, most) for text in texts]
    assert penalties(*texts, ngram_size=size, max_penalty=most) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("repeated", "varied"),
    [
        ("我爱你我爱你我爱你我爱你", "床前明月光疑是地上霜"),
        ("ありがとうありがとうありがとう", "いろはにほへとちりぬる"),
        ("กขคงกขคงกขคงกขคง", "กขคงจฉชซญด"),
        ("고양이 고양이 고양이 고양이", "고양이 강아지 나무 하늘"),
        ("да нет да нет да нет", "раз два три четыре"),
        ("!!!!!!!!!!!!!!", "x = (1 + 2)"),
        ("= = = = = = =", "a + b - c * d"),
        ("no, no, no, no, no", "one, two; three: four"),
    ],
)
def test_repetition_in_any_script(repeated: str, varied: str):
    bad, good = penalties(repeated, varied)
    assert bad < -0.3
    assert good == 0
    assert math.copysign(1, good) == 1


def test_a_response_that_gets_longer_by_repeating_gets_worse():
    scores = penalties(*["the same words again " * count for count in (1, 2, 4, 8, 16)])
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 5
    assert -1 < scores[-1] < -0.9


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ngram_size": 0}, ValueError),
        ({"ngram_size": 1.5}, TypeError),
        ({"max_penalty": 0.1}, ValueError),
        ({"max_penalty": math.nan}, ValueError),
        ({"max_penalty": "x"}, TypeError),
    ],
)
def test_settings_out_of_range(options, error):
    with pytest.raises(error, match="of RepetitionPenalty: expected"):
        RepetitionPenalty(**options)


def test_it_measures_nothing():
    assert not RepetitionPenalty().measures()
    assert ExactMatchReward().measures()


def test_megabytes():
    assert penalties("a b c " * 200_000) == pytest.approx([-1], abs=1e-4)
