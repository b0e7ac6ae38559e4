"""Slow, obvious oracles: plain Python numbers and loops, written from the formulas and not from the package."""

from tests.reference.advantages import group_normalized, leave_one_out, max_rl, self_baseline
from tests.reference.batches import groups_with_shared_prompts, random_groups
from tests.reference.coefficients import continuous, rectified
from tests.reference.distributions import entropy, logprob
from tests.reference.linear_head import full_logits, full_logits_loss
from tests.reference.losses import finite_differences, gft_gradient, gft_loss, token_weights
from tests.reference.majority import maj_at_k_by_precedence
from tests.reference.pass_at_k import pass_at_k_by_counting, pass_at_k_by_enumeration
from tests.reference.rectifier import exact_quantile, rectifier_statistics, weight_statistics

__all__ = [
    "continuous",
    "entropy",
    "exact_quantile",
    "finite_differences",
    "full_logits",
    "full_logits_loss",
    "gft_gradient",
    "gft_loss",
    "group_normalized",
    "groups_with_shared_prompts",
    "leave_one_out",
    "logprob",
    "maj_at_k_by_precedence",
    "max_rl",
    "pass_at_k_by_counting",
    "pass_at_k_by_enumeration",
    "random_groups",
    "rectified",
    "rectifier_statistics",
    "self_baseline",
    "token_weights",
    "weight_statistics",
]
