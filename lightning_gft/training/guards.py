"""Guards that stop a run which can no longer succeed, and report the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.checks import check_count
from lightning_gft.errors import GFTRuntimeError
from lightning_gft.losses import GroupLoss
from lightning_gft.training.plan import ReduceFn
from lightning_gft.types import GroupBatch

_COUNTED = (
    "nonfinite_updates",
    "informative_batches",
    "_nonfinite_in_a_row",
    "_uninformative_in_a_row",
    "_seen_response",
)


@dataclass
class UpdateGuard:
    """Counts consecutive updates and batches without effect, and stops the run when there are too many.

    Args:
        max_nonfinite_updates: Number of consecutive updates with a gradient that is not finite at which the run stops.
        max_uninformative_batches: Number of consecutive batches without any gradient, as when no rewards differ within
            a group, at which the run stops; ``None`` sets no limit.

    Example:
        >>> guard = UpdateGuard(max_nonfinite_updates=2)
        >>> guard.check_gradient(finite=False)
        >>> guard.nonfinite_updates
        1
    """

    max_nonfinite_updates: int = 5
    max_uninformative_batches: int | None = 100
    nonfinite_updates: int = 0
    informative_batches: int = 0
    _nonfinite_in_a_row: int = 0
    _uninformative_in_a_row: int = 0
    _seen_response: bool = False

    def __post_init__(self) -> None:
        self.max_nonfinite_updates = check_count("max_nonfinite_updates", self.max_nonfinite_updates)
        if (limit := self.max_uninformative_batches) is not None:
            self.max_uninformative_batches = check_count(
                "max_uninformative_batches", limit, otherwise="null for no limit"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, for a checkpoint."""
        return {name: getattr(self, name) for name in _COUNTED}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the counts of a checkpoint.

        Args:
            state_dict: The dict that :meth:`state_dict` returned.
        """
        for name in _COUNTED:
            setattr(self, name, state_dict.get(name, getattr(self, name)))

    def check_gradient(self, finite: bool) -> None:
        """Count an update whose gradient is ``finite`` or not.

        Raises:
            RuntimeError: If the last ``max_nonfinite_updates`` gradients were not finite.
        """
        self.nonfinite_updates += not finite
        self._nonfinite_in_a_row = 0 if finite else self._nonfinite_in_a_row + 1
        if self._nonfinite_in_a_row >= self.max_nonfinite_updates:
            raise GFTRuntimeError(
                "`max_nonfinite_updates`: expected a finite gradient, got one that was not in "
                f"{self._nonfinite_in_a_row} updates in a row, none of them applied; lower the learning rate, or use "
                "precision bf16-mixed or 32-true; train/grad_norm and train/inverse_probability_max show the beginning"
            )

    def check_groups(self, groups: GroupBatch, loss: GroupLoss, reduce: ReduceFn) -> None:
        """Count a batch of groups, reduced over all ranks; see :meth:`check_batch`."""
        counts = torch.stack([torch.tensor(len(groups), device=groups.source.device), loss.trained(groups).sum()])
        num_responses, num_trained = reduce(counts, "sum").tolist()
        self.check_batch(num_responses, num_trained)
        _warn_of_small_groups(groups, loss)

    def check_batch(self, num_responses: int, num_informative: int) -> None:
        """Count a batch by its numbers over all ranks.

        Args:
            num_responses: Number of responses from all sources.
            num_informative: Number of responses among them that carry a gradient.

        Raises:
            RuntimeError: If the first batch has no response, or the last ``max_uninformative_batches`` batches had no
                gradient.
        """
        if not num_responses and not self._seen_response:
            raise GFTRuntimeError(
                "`sampler.sources`: expected responses to the first batch of prompts, got none; check the "
                "demonstration columns and whether max_response_length dropped them all, or add a SelfSource"
            )
        self._seen_response = True
        self.informative_batches += bool(num_informative)
        self._uninformative_in_a_row = 0 if num_informative else self._uninformative_in_a_row + 1
        limit = self.max_uninformative_batches
        if limit is not None and self._uninformative_in_a_row >= limit:
            raise GFTRuntimeError(
                "`max_uninformative_batches`: expected rewards that differ within a group, got "
                f"{self._uninformative_in_a_row} batches in a row without any gradient; check that the reward can tell "
                "good from bad responses, raise the temperature or num_generations of the SelfSource, or use prompts "
                "that the policy neither always nor never solves; null sets no limit"
            )


def _warn_of_small_groups(groups: GroupBatch, loss: GroupLoss) -> None:
    """Warn of groups with a single response, if the loss uses advantages."""
    if "advantages" in loss.needs() and (groups.group_index.bincount() == 1).any():
        rank_zero_warn(
            "`sampler.sources`: expected several responses in each group, got a group with one, because demonstrations "
            "are missing or were dropped as too long; its advantage is its reward: add demonstrations or own samples. "
            "train/frac_groups_of_one is the share of such groups"
        )
