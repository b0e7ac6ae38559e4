"""Rules about the probabilities of tokens."""

from __future__ import annotations

from typing_extensions import override

from lightning_gft.callbacks.advice.history import History
from lightning_gft.callbacks.advice.in_place import DEMONSTRATIONS
from lightning_gft.callbacks.advice.rule import Finding, LimitRule, Rule, either

_OWN_ENTROPY, _ENTROPY = "train/entropy_by_source/self", "train/entropy"


def _entropies(history: History) -> tuple[str, float, float] | None:
    """Return the name, first and last mean of the entropy of own samples, or of all trained tokens without them."""
    name = _OWN_ENTROPY if history.count(_OWN_ENTROPY) else _ENTROPY
    before, now = history.first_mean(name, 10), history.mean(name, 10)
    if before is None or now is None or history.count(name) < 20:
        return None
    return name, before, now


class EntropyCollapse(Rule):
    """The entropy over 10 steps is below 20% of that of the first 10 steps.

    It is the entropy of own samples. In a run without any it is that of demonstrations, which may fall to 10% as they
    are learnt.
    """

    name = "entropy_collapse"
    figures = (_OWN_ENTROPY, _ENTROPY)

    @override
    def find(self, history: History) -> Finding | None:
        found = _entropies(history)
        if found is None or found[2] >= (0.2 if found[0] == _OWN_ENTROPY else 0.1) * found[1]:
            return None
        name, before, now = found
        if name == _OWN_ENTROPY:
            remedy = either(
                f"raise the temperature{' or epsilon_high' if history.has('epsilon_high') else ''}",
                "raise the beta of KLPenalty" if history.has("KLPenalty") else "add a KL penalty (KLPenalty)",
                "lower the learning rate",
            )
        else:
            other = "" if history.has("GFTLoss") else "train by GFTLoss, which limits rare tokens' weight"
            remedy = either("stop earlier", "lower the learning rate", other)
        return Finding(
            {name: now},
            f"{name} fell from {before:.3g} to {now:.3g} nats, so samples become all alike; {remedy}",
        )


class EntropyRise(Rule):
    """The entropy over 10 steps is above 3 times that of the first 10 steps, and above 0.5 nats."""

    name = "entropy_rise"
    figures = (_OWN_ENTROPY, _ENTROPY)
    after = ("large_steps",)

    @override
    def find(self, history: History) -> Finding | None:
        found = _entropies(history)
        if found is None or found[2] <= max(3 * found[1], 0.5):
            return None
        name, before, now = found
        fewer = "" if history.has("SelfBaselineAdvantage") else ", SelfBaselineAdvantage"
        return Finding(
            {name: now},
            f"{name} rose from {before:.3g} to {now:.3g} nats, so the policy unlearns what it knew; lower the learning "
            f"rate, or the share of negative coefficients (fewer own samples{fewer})",
        )


class SamplingMismatch(Rule):
    """Log-probabilities of sampling and of training differ by 0.1 nats per token, in each of 5 steps."""

    name = "sampling_mismatch"
    figures = ("train/sampling/logprob_difference",)

    @override
    def find(self, history: History) -> Finding | None:
        (name,) = self.figures
        differences = history.last(name, 5)
        if not differences or min(differences) < 0.1:
            return None
        difference = sum(differences) / len(differences)
        corrected = history.has("ImportanceCorrection")
        wrap = "" if corrected else "for stored samples, wrap the loss in ImportanceCorrection"
        return Finding(
            {name: difference},
            f"log-probabilities of sampling and of training differ by {difference:.3g} nats a token, so the sampled "
            "policy differs from the trained one; "
            f"{either('check the weights, the precision and the chat template of the engine', wrap)}",
        )


class NegativeWeight(LimitRule):
    """Coefficients that push responses down, which has no lower bound, are 80% of the weight over 20 steps."""

    name = "negative_weight"
    figures = ("train/negative/weight_fraction",)
    steps, limit = 20, 0.8
    text = "{value:.0%} of the weight pushes responses down, from which a policy can collapse; {remedies}"

    @override
    def remedies(self, history: History) -> str:
        given = history.has(DEMONSTRATIONS)
        return either(
            "give more demonstrations per group" if given else "add demonstrations (ExpertSource)",
            "" if history.has("GroupNormalizedAdvantage") else "use GroupNormalizedAdvantage",
            "lower the learning rate",
        )


class ClippedTokens(LimitRule):
    """Over 10 steps, 40% of tokens lie outside the loss's clip range and carry no gradient."""

    name = "clipped_tokens"
    figures = ("train/clip_ratio/region_mean",)
    steps, limit = 10, 0.4
    text = "{value:.0%} of tokens are clipped and teach nothing; lower the learning rate{remedies}, or widen epsilon"

    @override
    def remedies(self, history: History) -> str:
        return " or updates_per_batch" if history.has("updates_per_batch") else ""
