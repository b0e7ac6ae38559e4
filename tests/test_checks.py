"""Numbers that users give: what is one, and what an error says of what is none."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from lightning_gft import (
    AdaptiveCoefficientRectifier,
    ArithmeticDataModule,
    DynamicCoefficientRectifier,
    Evaluation,
    ExactMatchReward,
    ExpertSource,
    GroupDataModule,
    GroupNormalizedAdvantage,
    LoRA,
    NumericReward,
    PretrainedPolicy,
    SamplingParams,
    SelfSource,
    TransformersEngine,
)
from lightning_gft.checks import check_choice, check_count, check_number, check_seed, check_texts
from lightning_gft.functional import gft_loss, group_normalized_advantages, linear_logprob_loss, rectified_coefficients


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (0.5, 0.5),
        (1, 1),
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(1), 1),
        (np.array(0.5), 0.5),
        (torch.tensor(0.5), 0.5),
        (torch.tensor(1), 1),
        (Fraction(1, 2), Fraction(1, 2)),
    ],
    ids=repr,
)
def test_numbers_come_out_as_pythons_own(given, plain):
    number = check_number("x", given, least=0, most=1)
    assert number == plain
    assert type(number) is type(plain)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (math.nan, ValueError, "got nan"),
        (math.inf, ValueError, "got inf"),
        (-math.inf, ValueError, "got -inf"),
        (10**400, ValueError, "got 10+…; choose"),
        (torch.tensor(math.nan), ValueError, "got nan"),
        (-1, ValueError, "got -1; choose another"),
        (1.0, ValueError, r"got 1\.0; choose another"),
        (True, TypeError, "got True"),
        (np.True_, TypeError, "got True"),
        ("0.5", TypeError, "got '0.5'; write it without quotes"),
        ("half", TypeError, "got 'half'$"),
        (None, TypeError, "got None"),
        ([0.5], TypeError, r"got \[0\.5\]"),
        (torch.tensor([0.5]), TypeError, r"got tensor\(\[0\.5"),
        (Decimal("0.5"), TypeError, "got Decimal"),
        (0.5j, TypeError, r"got 0\.5j"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_number_or_out_of_range_is_named(given, error, words):
    with pytest.raises(error, match=rf"^`x` of Part: expected a number of at least 0 and below 1, or null, {words}"):
        check_number("x", given, least=0, below=1, of="Part", otherwise="null", remedy="choose another")


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({}, "a finite number"),
        ({"above": 0}, "a number above 0"),
        ({"least": 0}, "a number of at least 0"),
        ({"most": 2}, "a number at most 2"),
        ({"least": 0, "most": 1}, "a number from 0 to 1"),
        ({"above": 0, "below": 1}, "a number above 0 and below 1"),
    ],
    ids=str,
)
def test_ranges_are_put_into_words(bounds, expected):
    with pytest.raises(ValueError, match=f"^`x`: expected {expected}, got nan$"):
        check_number("x", math.nan, **bounds)


@pytest.mark.parametrize("given", [3, np.int32(3), torch.tensor(3)], ids=repr)
def test_whole_numbers(given):
    assert check_count("x", given) == 3
    assert type(check_count("x", given)) is int


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (0, ValueError, "a whole number of at least 1, got 0"),
        (10**30, ValueError, "got 10+; 9223372036854775807 is the most that a machine counts to"),
        (2.0, TypeError, r"got 2\.0"),
        (True, TypeError, "got True"),
        ("8", TypeError, "got '8'; write it without quotes"),
        (math.nan, TypeError, "got nan"),
    ],
)
def test_what_is_no_whole_number_is_named(given, error, words):
    with pytest.raises(error, match=words):
        check_count("x", given)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
def test_seeds_are_those_of_seed_everything(seed):
    assert check_seed("seed", 2**32 - 1) == 2**32 - 1
    with pytest.raises(ValueError, match=f"`seed`: expected a whole number from 0 to 4294967295, got {seed}"):
        check_seed("seed", seed)


def test_texts():
    assert check_texts("x", ["a", "b"]) == ("a", "b")
    assert check_texts("x", []) == ()
    for wrong in (["a", 1], None, 7, {"a": None}):
        with pytest.raises(TypeError, match=r"`x`: expected a text or a list of texts, got .*; in YAML, quote a text"):
            check_texts("x", wrong)


data = {"path": "rows.jsonl"}
OPTIONS = {
    "`temperature` of SelfSource": lambda x: SelfSource(temperature=x),
    "`max_new_tokens` of SelfSource": lambda x: SelfSource(max_new_tokens=x),
    "`num_generations` of SelfSource": lambda x: SelfSource(num_generations=x),
    "`min_p` of SelfSource": lambda x: SelfSource(min_p=x),
    "`num_responses` of ExpertSource": lambda x: ExpertSource(num_responses=x),
    "`top_k` of SamplingParams": lambda x: SamplingParams(top_k=x),
    "`num_samples` of Evaluation": lambda x: Evaluation(num_samples=x),
    "`max_new_tokens` of Evaluation": lambda x: Evaluation(max_new_tokens=x),
    "`temperature` of Evaluation": lambda x: Evaluation(temperature=x),
    "`seed` of Evaluation": lambda x: Evaluation(seed=x),
    "`max_batch_size`": lambda x: TransformersEngine(max_batch_size=x),
    "`threshold` of DynamicCoefficientRectifier": lambda x: DynamicCoefficientRectifier(threshold=x),
    "`rectified_fraction` of AdaptiveCoefficientRectifier": lambda x: AdaptiveCoefficientRectifier(x),
    "`momentum` of AdaptiveCoefficientRectifier": lambda x: AdaptiveCoefficientRectifier(momentum=x),
    "`initial_threshold` of AdaptiveCoefficientRectifier": lambda x: AdaptiveCoefficientRectifier(initial_threshold=x),
    "`eps` of GroupNormalizedAdvantage": lambda x: GroupNormalizedAdvantage(eps=x),
    "`tolerance` of NumericReward": lambda x: NumericReward(tolerance=x),
    "`lora.r`": lambda x: LoRA(r=x),
    "`lora.alpha`": lambda x: LoRA(alpha=x),
    "`lora.dropout`": lambda x: LoRA(dropout=x),
    "`dropout` of PretrainedPolicy": lambda x: PretrainedPolicy("folder", dropout=x),
    "`batch_size`": lambda x: GroupDataModule(**data, batch_size=x),
    "`seed` of GroupDataModule": lambda x: GroupDataModule(**data, seed=x),
    "`max_prompt_length`": lambda x: GroupDataModule(**data, max_prompt_length=x),
    "`teacher_slip`": lambda x: ArithmeticDataModule(teacher_slip=x),
    "`threshold`": lambda x: rectified_coefficients(torch.zeros(2), x),
    "`temperature`": lambda x: linear_logprob_loss(
        torch.eye(2), torch.eye(2), torch.tensor([0, 1]), lambda logprobs, _: logprobs, temperature=x
    ),
    "`eps`": lambda x: group_normalized_advantages(torch.ones(2), torch.zeros(2, dtype=torch.long), eps=x),
}


@pytest.mark.parametrize("given", [math.nan, -1, "0.5", True], ids=repr)
@pytest.mark.parametrize("option", OPTIONS)
def test_every_part_names_its_options(option, given):
    with pytest.raises((ValueError, TypeError), match=f"^{option}: expected .*, got {given!r}"):
        OPTIONS[option](given)


@pytest.mark.parametrize("weight", [math.nan, math.inf, "2", True], ids=repr)
def test_a_weight_may_be_negative_but_must_be_a_number(weight):
    assert ExactMatchReward(weight=-1).weight == -1
    with pytest.raises((ValueError, TypeError), match=f"`weight` of ExactMatchReward: expected .*, got {weight!r}"):
        ExactMatchReward(weight=weight)


def test_numbers_of_other_libraries_are_kept_as_pythons_own():
    sampling = SelfSource(np.int64(2), torch.tensor(7), np.float64(0.5), np.float64(0.5), np.int32(3)).sampling
    assert sampling == SamplingParams(7, 0.5, 0.5, 3)
    assert [type(value) for value in (sampling.max_new_tokens, sampling.temperature, sampling.top_k)] == [
        int,
        float,
        int,
    ]
    assert type(Evaluation(temperature=np.float64(0.5)).temperature) is float
    assert type(LoRA(alpha=np.float64(2)).alpha) is float


@pytest.mark.parametrize("threshold", ["0.7", None, [0.7]], ids=repr)
def test_a_threshold_of_another_type_is_named_by_the_functions_too(threshold):
    with pytest.raises(TypeError, match="`threshold`: expected a number of at least 0, got"):
        gft_loss(torch.zeros(1, 2), torch.ones(1), torch.ones(1, 2, dtype=torch.bool), threshold=threshold)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (torch.ones(3), r"shape \[3\]"),
        (torch.ones(2, 1), r"shape \[2, 1\]"),
        (torch.tensor(1.0), r"shape \[\]"),
        (1.0, "1.0"),
    ],
    ids=["longer", "two-dimensional", "scalar", "float"],
)
def test_coefficients_of_another_shape_are_named(returned, words):
    with pytest.raises(ValueError, match=rf"`coefficients`: expected a tensor \[2\], got {words}; return one"):
        linear_logprob_loss(torch.eye(2), torch.eye(2), torch.tensor([0, 1]), lambda logprobs, index: returned)


@pytest.mark.parametrize(
    ("choices", "words"),
    [(("a",), "expected a, got"), (("a", "b"), "expected a or b, got"), (("a", "b", "c"), "expected a, b or c, got")],
)
def test_choices_are_named(choices, words):
    check_choice("x", "a", choices)
    for wrong in ("d", "A", None, ["a"], np.array([1, 2])):
        with pytest.raises(ValueError, match=f"^`x` of Part: {words}"):
            check_choice("x", wrong, choices, of="Part")
