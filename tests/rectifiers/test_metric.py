from __future__ import annotations

import gc
import math
import pickle
import weakref

import pytest
import torch
from torch import nn
from torchmetrics import MetricCollection

from lightning_gft.rectifiers import (
    AdaptiveCoefficientRectifier,
    CoefficientRectifier,
    ContinuousCoefficientRectifier,
    DynamicCoefficientRectifier,
    IdentityRectifier,
)
from tests import reference
from tests.rectifiers.conftest import assert_statistics, every_rectifier, tokens


@every_rectifier
class TestBattery:
    """What holds for every rectifier, as for any torchmetrics metric."""

    def test_pieces_of_any_shape_equal_the_whole_and_the_loops(self, make, coefficient):
        pieces = [tokens(6, 1).view(2, 3), tokens(0), tokens(1, 2)[0], tokens(24, 3).view(2, 3, 4)]
        whole = torch.cat([piece.flatten() for piece in pieces])
        expected = reference.rectifier_statistics(whole.tolist(), coefficient)
        in_pieces, at_once = make(), make()
        for piece in pieces:
            in_pieces.update(piece)
        at_once.update(whole)
        assert_statistics(in_pieces.compute(), expected)
        assert_statistics(at_once.compute(), expected)

    def test_rectify_agrees_with_loops_and_counts_nothing(self, make, coefficient):
        rectifier, logprobs = make(), tokens(30).view(5, 6).requires_grad_()
        coefficients = rectifier.rectify(logprobs)
        expected = [[coefficient(math.exp(value)) for value in row] for row in logprobs.tolist()]
        torch.testing.assert_close(coefficients, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)
        assert not coefficients.requires_grad
        assert not rectifier.counts.any()

    def test_statistics_are_those_of_the_coefficients_that_were_used(self, make, coefficient):
        # A fp32 token exactly at the threshold keeps 1, and must not be counted as rectified.
        rectifier = make()
        for threshold in (0.1, 0.3, 0.7, 0.9):
            if not isinstance(rectifier, IdentityRectifier):
                rectifier.threshold = torch.tensor(threshold, dtype=torch.float64)
            logprobs = torch.tensor([threshold, threshold / 2, 1.0]).log()
            used = rectifier.rectify(logprobs)
            rectifier.reset()
            rectifier.update(logprobs)
            statistics = rectifier.compute()
            assert statistics["rectified_fraction"].item() == pytest.approx((used != 1).double().mean().item())
            assert statistics["coefficient_mean"].item() == pytest.approx(used.double().mean().item(), rel=1e-6)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
    def test_every_floating_dtype(self, make, coefficient, dtype: torch.dtype):
        rectifier, logprobs = make(), tokens(dtype=dtype)
        assert rectifier.rectify(logprobs).dtype == dtype
        rectifier.update(logprobs)
        expected = reference.rectifier_statistics(logprobs.double().tolist(), coefficient)
        assert_statistics(rectifier.compute(), expected, tolerance=1e-3 if dtype.itemsize == 2 else 1e-6)

    def test_reset_forgets_the_tokens(self, make, coefficient):
        rectifier = make()
        rectifier.update(tokens(seed=1))
        rectifier.reset()
        assert not rectifier.counts.any()
        rectifier.update(tokens(seed=2))
        assert_statistics(rectifier.compute(), reference.rectifier_statistics(tokens(seed=2).tolist(), coefficient))

    def test_clone_goes_its_own_way(self, make, coefficient):
        rectifier = make()
        rectifier.update(tokens(seed=1))
        copy = rectifier.clone()
        before = rectifier.compute()
        copy.update(tokens(seed=2))
        copy.step()
        torch.testing.assert_close(rectifier.compute(), before, rtol=0, atol=0)
        assert_statistics(
            copy.compute(),
            reference.rectifier_statistics([*tokens(seed=1).tolist(), *tokens(seed=2).tolist()], coefficient),
        )

    def test_pickle_goes_on_where_it_was(self, make, coefficient):
        rectifier = make()
        rectifier.update(tokens(seed=1))
        copy = pickle.loads(pickle.dumps(rectifier))  # noqa: S301
        for one in (rectifier, copy):
            one.update(tokens(seed=2))
            one.step()
        assert repr(copy) == repr(rectifier)
        torch.testing.assert_close(copy.compute(), rectifier.compute(), rtol=0, atol=0)
        torch.testing.assert_close(copy.rectify(tokens()), rectifier.rectify(tokens()), rtol=0, atol=0)

    def test_state_dict_holds_what_steers_training_and_nothing_else(self, make, coefficient):
        rectifier = make()
        rectifier.update(tokens())
        steers = {"threshold", "num_steps"} if isinstance(rectifier, AdaptiveCoefficientRectifier) else set()
        annealed = "Annealing" in repr(rectifier)
        assert set(rectifier.state_dict()) == ({"num_steps"} if annealed else steers)

    def test_forward_returns_the_values_of_the_batch_and_keeps_counting(self, make, coefficient):
        rectifier = make()
        for seed in (1, 2):
            batch = rectifier(tokens(seed=seed))
            assert_statistics(batch, reference.rectifier_statistics(tokens(seed=seed).tolist(), coefficient))
        both = [*tokens(seed=1).tolist(), *tokens(seed=2).tolist()]
        assert_statistics(rectifier.compute(), reference.rectifier_statistics(both, coefficient))

    @pytest.mark.filterwarnings("ignore:The ``compute`` method of metric .* was called before")
    def test_before_any_token_everything_is_zero(self, make, coefficient):
        rectifier = make()
        expected = dict.fromkeys(reference.rectifier_statistics([], coefficient), 0.0)
        assert_statistics(rectifier.compute(), expected)
        rectifier.update(torch.zeros(0))
        assert_statistics(rectifier.compute(), expected)
        rectifier.step()

    def test_ends_of_the_range_are_finite(self, make, coefficient):
        rectifier = make()
        rectifier.update(torch.tensor([-torch.inf, 0.0, -1e5]))
        assert all(value.isfinite() for value in rectifier.compute().values())
        assert rectifier.rectify(torch.tensor([-torch.inf, 0.0])).isfinite().all()
        rectifier.step()
        assert rectifier.rectify(torch.tensor([-torch.inf, 0.0, -1.0])).isfinite().all()

    def test_many_impossible_tokens_are_finite(self, make, coefficient):
        rectifier = make()
        for _ in range(2):
            rectifier.update(torch.full((100_000,), -torch.inf))
        assert {name for name, value in rectifier.compute().items() if not value.isfinite()} == set()

    @pytest.mark.parametrize(
        "convert",
        [
            lambda module: module.to(torch.bfloat16),
            lambda module: module.to(torch.float16),
            lambda module: module.to("cpu", torch.bfloat16),
            lambda module: module.to(torch.empty(0, dtype=torch.bfloat16)),
            lambda module: module.half(),
            lambda module: module.bfloat16(),
            lambda module: module.float(),
        ],
        ids=["to-bfloat16", "to-float16", "to-cpu-bfloat16", "to-like", "half", "bfloat16", "float"],
    )
    @pytest.mark.parametrize("when", ["before", "between", "after"])
    def test_converting_a_parent_harms_no_statistics(self, make, coefficient, convert, when: str):
        rectifier, untouched = make(), make()
        parent = nn.ModuleDict({"layer": nn.Linear(2, 2), "rectifier": rectifier})
        for moment in ("before", "between", "after"):
            if moment == when:
                convert(parent)
            if moment != "after":
                for one in (rectifier, untouched):
                    one.update(tokens(1001, seed=len(moment)))
        assert parent["layer"].weight.dtype != torch.float64
        torch.testing.assert_close(rectifier.compute(), untouched.compute(), rtol=0, atol=0)
        for one in (rectifier, untouched):
            one.step()
        torch.testing.assert_close(rectifier.rectify(tokens()), untouched.rectify(tokens()), rtol=0, atol=0)

    def test_moves_to_another_device_with_its_parent(self, make, coefficient):
        rectifier = make()
        rectifier.update(tokens())
        nn.Sequential(rectifier).to("meta")
        assert rectifier.device.type == "meta"
        assert {getattr(rectifier, name).device.type for name in rectifier._defaults if name != "pending"} == {"meta"}

    def test_keeps_no_hold_on_what_it_was_given(self, make, coefficient):
        rectifier = make()
        logprobs = tokens().requires_grad_() * 1.0
        gone = weakref.ref(logprobs)
        rectifier.update(logprobs)
        del logprobs
        gc.collect()
        assert gone() is None
        assert not any(value.requires_grad for value in rectifier.compute().values())

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_writing_over_the_tokens_later_changes_nothing(self, make, coefficient, dtype: torch.dtype):
        rectifier, untouched = make(), make()
        logprobs = tokens(dtype=dtype)
        rectifier.update(logprobs)
        untouched.update(logprobs.clone())
        logprobs.fill_(-3.0)
        for one in (rectifier, untouched):
            one.step()
        torch.testing.assert_close(rectifier.compute(), untouched.compute(), rtol=0, atol=0)
        torch.testing.assert_close(rectifier.rectify(tokens()), untouched.rectify(tokens()), rtol=0, atol=0)

    def test_memory_does_not_grow(self, make, coefficient):
        rectifier = make()
        sizes = []
        for round_ in range(60):
            rectifier.update(tokens(200, seed=round_))
            rectifier.step()
            if round_ % 7 == 0:
                rectifier.reset()
            if round_ >= 10:
                sizes.append(len(pickle.dumps(rectifier)))
        assert max(sizes) - min(sizes) < 1000  # one round's tokens alone are 1600 bytes

    def test_in_a_metric_collection(self, make, coefficient):
        collection = MetricCollection({"a": make(), "b": make()}, prefix="train/")
        collection.update(tokens(seed=1))
        collection.update(tokens(seed=2))
        both = [*tokens(seed=1).tolist(), *tokens(seed=2).tolist()]
        expected = reference.rectifier_statistics(both, coefficient)
        values = collection.compute()
        for metric in ("a", "b"):
            assert_statistics({name: values[f"train/{metric}_{name}"] for name in expected}, expected)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("dynamic", 0.3), ("dynamic", 0.6)),
        (("identity", None), ("dynamic", 0.6)),
        (("dynamic", 0.6), ("continuous", 0.6)),
    ],
    ids=str,
)
def test_different_rectifiers_in_a_metric_collection_stay_apart(first, second):
    # After a first batch that none of them rectifies, their statistics are equal; a collection must not merge them.
    def make(kind: str, threshold: float | None) -> CoefficientRectifier:
        if kind == "identity":
            return IdentityRectifier()
        return {"dynamic": DynamicCoefficientRectifier, "continuous": ContinuousCoefficientRectifier}[kind](threshold)

    collection = MetricCollection({"first": make(*first), "second": make(*second)})
    alone = {"first": make(*first), "second": make(*second)}
    for logprobs in (torch.tensor([0.9, 0.95]).log(), torch.tensor([0.5, 0.2]).log()):
        collection.update(logprobs)
        for one in alone.values():
            one.update(logprobs)
    values = collection.compute()
    for which, one in alone.items():
        assert_statistics(
            {name: values[f"{which}_{name}"] for name in one.compute()},
            {name: value.item() for name, value in one.compute().items() if name != "threshold"},
        )
