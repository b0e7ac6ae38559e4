from __future__ import annotations

import math

import pytest
import torch

from lightning_gft.functional import (
    check_threshold,
    continuous_coefficients,
    floor_logprobs,
    rectified_coefficients,
)
from tests import reference

both = pytest.mark.parametrize(
    ("function", "oracle"),
    [(rectified_coefficients, reference.rectified), (continuous_coefficients, reference.continuous)],
    ids=["rectified", "continuous"],
)


@both
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_agrees_with_loops(function, oracle, threshold: float, as_tensor: bool):
    probs = torch.rand(4, 25, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    logprobs = probs.log()
    expected = [[oracle(math.exp(value), threshold) for value in row] for row in logprobs.tolist()]
    actual = function(logprobs, torch.tensor(threshold, dtype=torch.float64) if as_tensor else threshold)
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


@both
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4)], ids=str)
def test_keeps_shape_and_dtype_and_carries_no_gradient(function, oracle, dtype, shape):
    coefficients = function(torch.full(shape, -1.0, dtype=dtype, requires_grad=True), 0.5)
    assert (coefficients.shape, coefficients.dtype) == (shape, dtype)
    assert not coefficients.requires_grad


@both
def test_threshold_that_carries_a_gradient_is_taken_as_a_number(function, oracle):
    assert not function(torch.tensor([-1.0]), torch.tensor(0.5, requires_grad=True)).requires_grad


@both
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_probability_at_the_threshold_keeps_1(function, oracle, dtype: torch.dtype, threshold: float):
    # The threshold as it is represented at the precision of the comparison, taken to log-probabilities.
    precision = torch.float64 if dtype == torch.float64 else torch.float32
    logprobs = torch.tensor(threshold, dtype=precision).log()
    if dtype == torch.bfloat16:  # rounded to bf16, the log-probability is at or to one side of the threshold
        logprobs = torch.maximum(logprobs, logprobs.to(dtype).float()).to(dtype)
        if logprobs.float() < torch.tensor(threshold).log():
            logprobs = torch.tensor(0.0, dtype=dtype)
    assert function(logprobs, threshold).item() == 1.0


def test_rectified_coefficient_just_below_the_threshold_is_the_probability():
    at = torch.tensor(0.7, dtype=torch.float64).log()
    below = torch.nextafter(at, torch.tensor(-1.0).double())
    assert rectified_coefficients(below, 0.7).item() == pytest.approx(0.7, abs=1e-12)
    assert rectified_coefficients(at, 0.7).item() == 1.0


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.7])
def test_inverse_probability_weight_is_bounded(threshold: float):
    logprobs = torch.linspace(-50, 0, 401, dtype=torch.float64)
    jump, smooth = (
        function(logprobs, threshold) / logprobs.exp() for function in (rectified_coefficients, continuous_coefficients)
    )
    assert jump.max() <= 1 / threshold + 1e-12
    assert smooth.max() <= 1 / threshold + 1e-12
    torch.testing.assert_close(jump[logprobs.exp() < threshold], torch.ones_like(logprobs)[logprobs.exp() < threshold])
    assert (smooth[1:] <= smooth[:-1] + 1e-12).all()  # no jump up anywhere


@both
@pytest.mark.parametrize("threshold", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_ends_of_the_range_are_finite(function, oracle, threshold: float, dtype: torch.dtype):
    coefficients = function(torch.tensor([-torch.inf, -1e6, 0.0], dtype=dtype), threshold)
    expected = [oracle(prob, threshold) for prob in (0.0, 0.0, 1.0)]
    assert coefficients.tolist() == expected


@both
@pytest.mark.parametrize("threshold", [-0.1, -math.inf, math.nan])
def test_threshold_out_of_range_is_named(function, oracle, threshold: float):
    with pytest.raises(ValueError, match="`threshold`: expected a number of at least 0"):
        function(torch.zeros(1), threshold)
    with pytest.raises(ValueError, match="`threshold`: expected a number of at least 0"):
        check_threshold(threshold)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
def test_floor_replaces_minus_infinity_alone(dtype: torch.dtype):
    logprobs = torch.tensor([-torch.inf, -60000.0, -1.0, 0.0], dtype=dtype)
    floored = floor_logprobs(logprobs)
    assert floored.dtype == dtype
    assert floored[1:].tolist() == logprobs[1:].tolist()
    assert floored[0].isfinite()
    assert floored[0] < -1000


@pytest.mark.parametrize("coefficients", [rectified_coefficients, continuous_coefficients])
def test_integers_are_logprobs_too(coefficients):
    integers = torch.tensor([0, -1, -2])
    torch.testing.assert_close(coefficients(integers, 0.7), coefficients(integers.float(), 0.7))


@pytest.mark.parametrize("coefficients", [rectified_coefficients, continuous_coefficients])
def test_a_negative_threshold_is_refused_as_a_tensor_too(coefficients):
    with pytest.raises(ValueError, match=r"expected a number of at least 0, got -0\.5"):
        coefficients(torch.zeros(1), torch.tensor(-0.5))
