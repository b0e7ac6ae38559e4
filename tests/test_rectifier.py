from __future__ import annotations

import gc
import math
import pickle
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from jsonargparse import ArgumentError, ArgumentParser
from torch import Tensor, nn
from torchmetrics import MetricCollection

from lightning_gft.rectifiers import (
    AdaptiveCoefficientRectifier,
    CoefficientRectifier,
    ContinuousCoefficientRectifier,
    DynamicCoefficientRectifier,
    IdentityRectifier,
)
from tests import reference

RECTIFIERS: dict[str, tuple[Callable[[], CoefficientRectifier], Callable[[float], float]]] = {
    "identity": (IdentityRectifier, lambda p: 1.0),
    "dynamic": (lambda: DynamicCoefficientRectifier(0.5), lambda p: reference.rectified(p, 0.5)),
    "continuous": (lambda: ContinuousCoefficientRectifier(0.5), lambda p: reference.continuous(p, 0.5)),
    "adaptive": (
        lambda: AdaptiveCoefficientRectifier(0.3, momentum=0.5, initial_threshold=0.5),
        lambda p: reference.rectified(p, 0.5),
    ),
}
every_rectifier = pytest.mark.parametrize(("make", "coefficient"), RECTIFIERS.values(), ids=RECTIFIERS.keys())


def tokens(number: int = 40, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return log-probabilities of uniform probabilities."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(number, dtype=torch.float64, generator=generator).log().to(dtype)


def assert_statistics(actual: dict[str, Tensor], expected: dict[str, float], tolerance: float = 1e-7) -> None:
    counted = {name: value.item() for name, value in actual.items() if name != "threshold"}
    assert counted == pytest.approx(expected, rel=tolerance, abs=1e-12)


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
        assert rectifier.num_tokens == 0

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
        assert rectifier.num_tokens == 0
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
        assert set(rectifier.state_dict()) == steers

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


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DynamicCoefficientRectifier(threshold=-0.1), "threshold=-0.1"),
        (lambda: DynamicCoefficientRectifier(threshold=math.nan), "threshold=nan"),
        (lambda: ContinuousCoefficientRectifier(threshold=-1), "threshold=-1"),
        (lambda: AdaptiveCoefficientRectifier(rectified_fraction=0.0), "rectified_fraction=0.0.*IdentityRectifier"),
        (lambda: AdaptiveCoefficientRectifier(rectified_fraction=1.0), "rectified_fraction=1.0"),
        (lambda: AdaptiveCoefficientRectifier(rectified_fraction=math.nan), "rectified_fraction=nan"),
        (lambda: AdaptiveCoefficientRectifier(momentum=1.0), "momentum=1.0"),
        (lambda: AdaptiveCoefficientRectifier(momentum=-0.1), "momentum=-0.1"),
        (lambda: AdaptiveCoefficientRectifier(initial_threshold=-0.5), "threshold=-0.5"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_arguments_are_named(make, words: str):
    with pytest.raises(ValueError, match=words):
        make()


def test_abstract_rectifier_cannot_be_made():
    with pytest.raises(TypeError, match="rectify"):
        CoefficientRectifier()  # type: ignore[abstract]


class TestYaml:
    def parse(self, **config) -> CoefficientRectifier:
        parser = ArgumentParser(exit_on_error=False)
        parser.add_argument("--rectifier", type=CoefficientRectifier)
        return parser.instantiate(parser.parse_object({"rectifier": config})).rectifier

    @pytest.mark.parametrize(
        ("name", "init_args"),
        [
            ("IdentityRectifier", {}),
            ("DynamicCoefficientRectifier", {"threshold": 0.3}),
            ("ContinuousCoefficientRectifier", {"threshold": 0.3}),
            (
                "AdaptiveCoefficientRectifier",
                {"rectified_fraction": 0.4, "momentum": 0.5, "initial_threshold": 0.3},
            ),
        ],
    )
    def test_class_path_and_init_args(self, name: str, init_args):
        rectifier = self.parse(class_path=f"lightning_gft.rectifiers.{name}", init_args=init_args)
        assert type(rectifier).__name__ == name
        for key, value in init_args.items():
            assert getattr(rectifier, key.removeprefix("initial_")) == value

    def test_arguments_of_torchmetrics_are_passed_on(self):
        rectifier = self.parse(
            class_path="lightning_gft.rectifiers.DynamicCoefficientRectifier", init_args={"sync_on_compute": False}
        )
        assert rectifier.sync_on_compute is False

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            ({"class_path": "lightning_gft.rectifiers.DynamicCoefficientRectifier", "init_args": {"tau": 1}}, "tau"),
            (
                {"class_path": "lightning_gft.rectifiers.DynamicCoefficientRectifier", "init_args": {"threshold": "x"}},
                "x",
            ),
            ({"class_path": "lightning_gft.losses.GFTLoss"}, "GFTLoss"),
            (
                {"class_path": "lightning_gft.rectifiers.CoefficientRectifier"},
                "abstract|not.*subclass|CoefficientRectifier",
            ),
        ],
        ids=["misspelt", "no-number", "other-class", "abstract"],
    )
    def test_mistakes_are_named(self, config, words: str):
        with pytest.raises((ArgumentError, TypeError), match=words):
            self.parse(**config)


def distribution(seed: int, number: int) -> Tensor:
    """Return log-probabilities of a language model's kind: many sure tokens and a long tail of unlikely ones."""
    logits = 2 + 3 * torch.randn(number, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return nn.functional.logsigmoid(logits)


class TestAdaptive:
    @pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.9])
    @pytest.mark.parametrize("momentum", [0.5, 0.9])
    def test_converges_to_the_fraction_asked_for(self, fraction: float, momentum: float):
        rectifier = AdaptiveCoefficientRectifier(fraction, momentum)
        for step in range(60):
            rectifier.update(distribution(step, 3000))
            rectifier.step()
        rectifier.reset()
        rectifier.update(distribution(1000, 100_000))
        assert rectifier.compute()["rectified_fraction"].item() == pytest.approx(fraction, abs=0.01)

    @pytest.mark.parametrize("fraction", [0.01, 0.25, 0.5, 0.99])
    @pytest.mark.parametrize("number", [1, 3, 100, 1001])
    def test_one_step_finds_the_quantile_to_a_hundredth_in_log_odds(self, fraction: float, number: int):
        rectifier, logprobs = AdaptiveCoefficientRectifier(fraction, momentum=0.0), distribution(0, number)
        rectifier.update(logprobs)
        rectifier.step()
        quantile = logprobs.exp().sort().values[int(fraction * number)]
        assert rectifier.threshold.logit().item() == pytest.approx(quantile.logit().item(), abs=0.01)

    def test_first_step_is_taken_whole_and_later_ones_by_momentum(self):
        rectifier = AdaptiveCoefficientRectifier(0.5, momentum=0.75, initial_threshold=0.123)
        alone = AdaptiveCoefficientRectifier(0.5, momentum=0.0)
        expected = None
        for step in range(4):
            for each in (rectifier, alone):
                each.update(tokens(101, seed=step))
                each.step()
            quantile = alone.threshold.item()
            expected = quantile if expected is None else 0.75 * expected + 0.25 * quantile
            assert rectifier.threshold.item() == pytest.approx(expected, abs=1e-12)
            assert rectifier.num_steps.item() == step + 1

    def test_probabilities_of_zero_and_one_are_counted(self):
        rectifier = AdaptiveCoefficientRectifier(0.5, momentum=0.0)
        rectifier.update(torch.tensor([-torch.inf, -torch.inf, 0.0]))
        rectifier.step()
        assert 0 <= rectifier.threshold.item() < 1e-12

    def test_follows_a_distribution_that_moves(self):
        rectifier = AdaptiveCoefficientRectifier(0.2, momentum=0.0)
        for shift in (0.0, -2.0, -5.0):
            rectifier.update(distribution(0, 1000) + shift)
            rectifier.step()
            share = (distribution(0, 1000) + shift < rectifier.threshold.log()).double().mean().item()
            assert share == pytest.approx(0.2, abs=0.002)

    def test_pieces_equal_the_whole(self):
        pieces, whole = (AdaptiveCoefficientRectifier(0.3, momentum=0.0) for _ in range(2))
        for piece in tokens(100).split([1, 0, 59, 40]):
            pieces.update(piece)
        whole.update(tokens(100))
        for one in (pieces, whole):
            one.step()
        assert pieces.threshold == whole.threshold

    @pytest.mark.parametrize("empty_update", [False, True])
    def test_step_without_tokens_does_nothing(self, empty_update: bool):
        rectifier = AdaptiveCoefficientRectifier(0.3, initial_threshold=0.6)
        if empty_update:
            rectifier.update(torch.zeros(0))
        rectifier.step()
        assert rectifier.threshold.item() == 0.6
        assert rectifier.num_steps.item() == 0

    def test_a_step_uses_its_tokens_once(self):
        rectifier = AdaptiveCoefficientRectifier(0.3, momentum=0.5)
        rectifier.update(tokens(seed=1))
        rectifier.step()
        after = rectifier.threshold.item()
        rectifier.step()
        assert (rectifier.threshold.item(), rectifier.num_steps.item()) == (after, 1)

    @pytest.mark.filterwarnings("ignore:The ``compute`` method of metric .* was called before")
    def test_threshold_is_reported_as_it_stands(self):
        rectifier = AdaptiveCoefficientRectifier(0.3, initial_threshold=0.6)
        assert rectifier.compute()["threshold"].item() == 0.6
        rectifier.update(tokens())
        assert rectifier.compute()["threshold"].item() == 0.6
        rectifier.step()
        assert rectifier.compute()["threshold"] == rectifier.threshold != 0.6

    @pytest.mark.parametrize("computed_before", [False, True])
    def test_step_does_not_change_statistics(self, computed_before: bool):
        rectifier = AdaptiveCoefficientRectifier(0.3)
        rectifier.update(tokens())
        if computed_before:
            rectifier.compute()
        rectifier.step()
        expected = reference.rectifier_statistics(tokens().tolist(), lambda p: reference.rectified(p, 0.7))
        assert_statistics(rectifier.compute(), expected)

    def test_reset_keeps_the_threshold(self):
        rectifier = AdaptiveCoefficientRectifier(0.3)
        rectifier.update(tokens())
        rectifier.step()
        kept = rectifier.threshold.item(), rectifier.num_steps.item()
        rectifier.reset()
        assert (rectifier.threshold.item(), rectifier.num_steps.item()) == kept
        assert rectifier.threshold.item() != 0.7

    def test_reset_drops_tokens_that_no_step_has_used(self):
        rectifier = AdaptiveCoefficientRectifier(0.3)
        rectifier.update(tokens())
        rectifier.reset()
        rectifier.step()
        assert rectifier.num_steps.item() == 0

    @pytest.mark.parametrize("calls", [1, 2, 7])
    def test_forward_moves_the_threshold_as_update_does(self, calls: int):
        by_update, by_forward = (AdaptiveCoefficientRectifier(0.3, momentum=0.9) for _ in range(2))
        for step in range(3):
            for call in range(calls):
                by_update.update(tokens(50, seed=10 * step + call))
                by_forward(tokens(50, seed=10 * step + call))
                assert (by_forward.threshold, by_forward.threshold.dtype) == (by_update.threshold, torch.float64)
            for one in (by_update, by_forward):
                one.step()
        assert by_forward.num_steps == by_update.num_steps == 3
        assert by_forward.threshold == by_update.threshold

    def test_state_survives_a_checkpoint(self, tmp_path):
        trained = AdaptiveCoefficientRectifier(0.3, momentum=0.8)
        for step in range(3):
            trained.update(tokens(seed=step))
            trained.step()
        torch.save(trained.state_dict(), tmp_path / "rectifier.pt")
        resumed = AdaptiveCoefficientRectifier(0.3, momentum=0.8)
        resumed.load_state_dict(torch.load(tmp_path / "rectifier.pt", weights_only=True))
        assert (resumed.threshold, resumed.num_steps) == (trained.threshold, trained.num_steps)
        assert resumed.threshold.dtype == torch.float64
        for one in (trained, resumed):
            one.update(tokens(seed=9))
            one.step()
        assert resumed.threshold == trained.threshold

    def test_checkpoint_is_not_changed_by_going_on(self):
        rectifier = AdaptiveCoefficientRectifier(0.3)
        saved = rectifier.state_dict()
        copy = {name: value.clone() for name, value in saved.items()}
        rectifier.load_state_dict(saved)
        rectifier.update(tokens())
        rectifier.step()
        assert saved == copy

    def test_checkpoint_of_another_device_lands_on_this_one(self):
        # With a gradient backend that knows one kind of device, a state left on the other cannot be gathered.
        rectifier = AdaptiveCoefficientRectifier(0.3)
        saved = rectifier.state_dict()
        rectifier.to("meta")
        rectifier.load_state_dict(saved)
        assert {rectifier.threshold.device.type, rectifier.num_steps.device.type} == {"meta"}

    def test_more_tokens_than_torch_quantile_takes(self):
        rectifier = AdaptiveCoefficientRectifier(0.5, momentum=0.0)
        number = 2**24 + 1
        rectifier.update(torch.linspace(-1, 0, number))
        rectifier.step()
        assert rectifier.threshold.item() == pytest.approx(math.exp(-0.5), abs=1e-4)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors gain nothing from threads, and sums of one thread are the same on every machine."""
    number = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(number)
