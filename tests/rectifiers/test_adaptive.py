from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lightning_gft.rectifiers import AdaptiveCoefficientRectifier
from tests import reference
from tests.rectifiers.conftest import assert_statistics, tokens


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

    @pytest.mark.slow  # 17 million tokens
    def test_more_tokens_than_torch_quantile_takes(self):
        rectifier = AdaptiveCoefficientRectifier(0.5, momentum=0.0)
        number = 2**24 + 1
        rectifier.update(torch.linspace(-1, 0, number))
        rectifier.step()
        assert rectifier.threshold.item() == pytest.approx(math.exp(-0.5), abs=1e-4)
