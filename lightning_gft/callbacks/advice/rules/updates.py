"""Rules about gradients and updates."""

from __future__ import annotations

from statistics import fmean, median

from typing_extensions import override

from lightning_gft.callbacks.advice.history import History
from lightning_gft.callbacks.advice.rule import Finding, Rule

_NORM, _RATE = "train/grad_norm", "train/learning_rate"
_RATIO, _KL = "train/update_ratio", "train/kl_step"
_LOSS, _SKIPPED = "train/loss", "train/nonfinite_updates"


class StillWeights(Rule):
    """In each of 3 logged steps, an update changes the weights by less than a millionth of their norm.

    Steps in a warm-up of the learning rate, at the end of its decay, or without a gradient do not count.
    """

    name = "still_weights"
    figures = (_RATIO, _KL, _NORM, _RATE)

    @override
    def find(self, history: History) -> Finding | None:
        ratios, norms = history.last(_RATIO, 3), history.last(_NORM, 3)
        if not (ratios and norms and history.at_full_rate(3)) or max(ratios) >= 1e-6 or min(norms) == 0:
            return None
        figures = {_RATIO: fmean(ratios), _RATE: history.last(_RATE, 1)[0]}
        moved = ""
        if (kl := history.mean(_KL, 1)) is not None:
            figures[_KL], moved = kl, f" and the policy by {kl:.2g} nats"
        return Finding(
            figures,
            f"an update moves the weights by {figures[_RATIO]:.1g} of their norm{moved}: with learning rate "
            f"{figures[_RATE]:.3g} nothing is learnt; raise it (1e-6 to 1e-5 for all weights, 1e-5 to 2e-4 for "
            "adapters)",
        )


class LargeSteps(Rule):
    """A single update moves the policy by 0.3 nats per token in 3 consecutive logged steps, or by 3 nats in one.

    An update larger than the weights counts as well, unless the policy has hardly moved, for example because all
    trained weights began at 0.
    """

    name = "large_steps"
    figures = (_KL, _RATIO, _RATE)

    @override
    def find(self, history: History) -> Finding | None:
        figures = {name: values[0] for name in self.figures if (values := history.last(name, 1))}
        kl, ratio = figures.get(_KL), figures.get(_RATIO)
        steps = history.last(_KL, 3)
        if steps and min(steps) >= 0.3:
            figures[_KL] = kl = fmean(steps)
        elif not (kl is not None and kl >= 3) and not (ratio is not None and ratio > 1 and (kl is None or kl >= 0.3)):
            return None
        moved = [] if kl is None else [f"the policy by {kl:.3g} nats a token"]
        moved += [f"the weights by {ratio:.3g} times their norm"] if ratio is not None and ratio > 1 else []
        rate = f" of {figures[_RATE]:.3g}" if _RATE in figures else ""
        return Finding(
            figures,
            f"one update moves {' and '.join(moved)}, more than a step can learn from its samples; lower the learning "
            f"rate{rate}, or gradient_clip_val",
        )


class SkippedUpdates(Rule):
    """The gradient of an update was not finite, and the update was skipped."""

    name = "skipped_updates"
    figures = (_SKIPPED,)

    @override
    def find(self, history: History) -> Finding | None:
        skipped = history.mean(_SKIPPED, 1)
        if not skipped:
            return None
        return Finding(
            {_SKIPPED: skipped},
            f"{skipped:.0f} update(s) skipped: gradient not finite; lower the learning rate, or, with half precision, "
            "raise trainer.precision to bf16-mixed or 32-true",
        )


class GradientSpikes(Rule):
    """In 3 of 20 steps, the norm of the gradient is above 10 times its median over the 50 steps before them."""

    name = "gradient_spikes"
    figures = (_NORM,)

    @override
    def find(self, history: History) -> Finding | None:
        norms = history.last(_NORM, 70)
        if not norms or not (usual := median(norms[:50])):
            return None
        spikes = [norm for norm in norms[50:] if norm > 10 * usual]
        if len(spikes) < 3:
            return None
        what = "the weight of demonstrations' improbable tokens (train/inverse_probability_max shows them)"
        other = "lower its threshold, which limits" if history.has("GFTLoss") else "train by GFTLoss, which limits"
        return Finding(
            {_NORM: max(spikes)},
            f"the norm of the gradient was {max(spikes):.3g} and above 10 times its median {usual:.3g} in "
            f"{len(spikes)} of 20 steps; lower the learning rate or gradient_clip_val, or {other} {what}",
        )


class SmallLoss(Rule):
    """Over 10 steps with a gradient, the absolute loss of a group method is below 0.002."""

    name = "small_loss"
    figures = (_LOSS, _NORM, "train/reward", "train/nll_by_source/self")
    explains = True

    @override
    def find(self, history: History) -> Finding | None:
        losses, norms, reward = history.last(_LOSS, 10), history.last(_NORM, 10), history.mean("train/reward", 10)
        if not history.uses_advantages or not losses or not norms or reward is None:
            return None
        loss = fmean(abs(value) for value in losses)
        if loss > 2e-3 or min(norms) == 0:
            return None
        figures = {"train/reward": reward}
        if (nll := history.mean("train/nll_by_source/self", 10)) is not None:
            figures["train/nll_by_source/self"] = nll
        shown = " and ".join(f"{name} ({value:.3g})" for name, value in figures.items())
        return Finding(
            {**figures, _LOSS: fmean(losses), _NORM: fmean(norms)},
            f"a loss near 0 is normal here: the advantages of a group cancel; watch {shown} instead",
        )
