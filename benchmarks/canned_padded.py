"""Our update where a model cannot be packed: rows are padded, and none shares anything."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from benchmarks import canned_ours
from benchmarks.steps import StepLog
from benchmarks.work import Job
from lightning_gft import Policy, PretrainedPolicy
from lightning_gft.lm.packable import Packability


class PaddedPolicy(PretrainedPolicy):
    """A policy that is never packed."""

    @override
    def load(self, keep_reference: bool = False) -> Policy:
        policy = super().load(keep_reference)
        policy.packability = Packability(0, "this is what is measured")
        return policy


def settings(job: Job) -> dict[str, Any]:
    """Return what is ours alone to set, for the record.

    Args:
        job: The training.
    """
    return {**canned_ours.settings(job), "packed": False}


def train(job: Job, log: StepLog) -> None:
    """Train as :func:`benchmarks.canned_ours.train` does.

    Args:
        job: The training.
        log: Takes notes.
    """
    canned_ours.train(job, log, PaddedPolicy)
