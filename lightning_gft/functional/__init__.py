"""Pure functions of tensors: the mathematics of the method, without state."""

from lightning_gft.functional.advantages import (
    check_rewards,
    group_normalized_advantages,
    group_standard_deviations,
    leave_one_out_advantages,
    max_rl_advantages,
    self_baseline_advantages,
)
from lightning_gft.functional.head.linear_logprob import linear_logprob_loss
from lightning_gft.functional.logprobs import label_entropy, label_logprobs, token_entropy, token_logprobs
from lightning_gft.functional.losses import gft_loss, masked_loss
from lightning_gft.functional.maj_at_k import maj_at_k
from lightning_gft.functional.pass_at_k import pass_at_k
from lightning_gft.functional.precision import widen
from lightning_gft.functional.rectification import (
    check_threshold,
    continuous_coefficients,
    floor_logprobs,
    rectified_coefficients,
)
from lightning_gft.functional.reductions import Reduction, reduction_weights

__all__ = [
    "Reduction",
    "check_rewards",
    "check_threshold",
    "continuous_coefficients",
    "floor_logprobs",
    "gft_loss",
    "group_normalized_advantages",
    "group_standard_deviations",
    "label_entropy",
    "label_logprobs",
    "leave_one_out_advantages",
    "linear_logprob_loss",
    "maj_at_k",
    "masked_loss",
    "max_rl_advantages",
    "pass_at_k",
    "rectified_coefficients",
    "reduction_weights",
    "self_baseline_advantages",
    "token_entropy",
    "token_logprobs",
    "widen",
]
