"""Stopping a run that can no longer succeed, with the reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class UpdateGuard:
    """Counts updates that taught nothing, and stops the run when there were too many in a row.

    Args:
        max_nonfinite_updates: Most updates in a row whose gradient is not finite.
        max_uninformative_batches: Most batches in a row in which no response differs from its group; ``None`` for any
            number.

    Example:
        >>> guard = UpdateGuard(max_nonfinite_updates=2)
        >>> guard.check_gradient(finite=False)
        >>> guard.nonfinite_updates
        1
    """

    max_nonfinite_updates: int = 5
    max_uninformative_batches: int | None = 100
    nonfinite_updates: int = 0
    _nonfinite_in_a_row: int = 0
    _uninformative_in_a_row: int = 0

    def check_gradient(self, finite: bool) -> None:
        """Count an update.

        Raises:
            RuntimeError: If too many in a row were not finite.
        """
        self.nonfinite_updates += not finite
        self._nonfinite_in_a_row = 0 if finite else self._nonfinite_in_a_row + 1
        if self._nonfinite_in_a_row >= self.max_nonfinite_updates:
            raise RuntimeError(
                f"the gradient was not finite in {self._nonfinite_in_a_row} updates in a row; none was applied. "
                "Lower the learning rate, use precision 'bf16-mixed' or '32-true', or look at train/grad_norm and "
                "train/inverse_probability_max for when it began"
            )

    def check_batch(self, informative: bool, mean_reward: float) -> None:
        """Count a batch.

        Raises:
            RuntimeError: If too many in a row taught nothing.
        """
        self._uninformative_in_a_row = 0 if informative else self._uninformative_in_a_row + 1
        limit = self.max_uninformative_batches
        if limit is not None and self._uninformative_in_a_row >= limit:
            raise RuntimeError(
                f"in {self._uninformative_in_a_row} batches in a row the rewards were equal within every group (mean "
                f"reward {mean_reward:.3g}), so there was nothing to learn. Check that the reward can tell good from "
                "bad responses, raise the temperature or num_generations of the SelfSource, or choose prompts that the "
                "policy neither always nor never solves; max_uninformative_batches: null carries on regardless"
            )
