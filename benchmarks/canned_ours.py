"""Our update on given work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from lightning.pytorch import seed_everything
from torch import Tensor
from torch.optim import AdamW
from torch.utils.data import DataLoader
from typing_extensions import override

from benchmarks.lightning_side import NoteSteps, fit
from benchmarks.steps import StepLog
from benchmarks.work import Job, Work, token_ids
from lightning_gft import (
    DynamicCoefficientRectifier,
    Evaluation,
    GFTLitModule,
    GFTLoss,
    GroupNormalizedAdvantage,
    GroupSampler,
    PolicyLoader,
    PretrainedPolicy,
    Reward,
)
from lightning_gft.sources import ResponseSource
from lightning_gft.types import PromptBatch, Response, ResponseGenerator, Source

ADVANTAGE_EPS = 1e-4
"""Added to the standard deviation, as TRL does."""


class CannedSource(ResponseSource):
    """Hands out given responses as if the policy had just drawn them.

    Args:
        work: Where they are from.
    """

    source: ClassVar[Source] = Source.SELF
    draws: ClassVar[bool] = False

    def __init__(self, work: Work) -> None:
        super().__init__(len(work.responses[0]))
        self.work = work

    @override
    def respond(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[list[Response]]:
        return [[Response(ids, logprobs=[0.0] * len(ids)) for ids in self.work.of(text)] for text in prompts.prompts]


class CannedReward(Reward):
    """Scores as the work says.

    Args:
        work: See :meth:`benchmarks.work.Work.scores`.
    """

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor:
        """Return ``[N]`` scores."""
        return torch.tensor(self.work.scores(prompts, responses))


def settings(job: Job) -> dict[str, Any]:
    """Return what is ours alone to set, for the record; the rest are our defaults.

    Args:
        job: The training.
    """
    return {
        "library": "lightning_gft",
        "loss": "GFTLoss(DynamicCoefficientRectifier(threshold=0))",
        "precision": "bf16-mixed" if job.autocast else "32-true",
        "learning_rate": job.setting.learning_rate,
        "gradient_clip_val": job.max_grad_norm,
    }


def train(job: Job, log: StepLog, policy: type[PretrainedPolicy] = PretrainedPolicy) -> None:
    """Train with an objective that is GRPO's on a policy's own samples.

    Args:
        job: The training.
        log: Takes notes.
        policy: Loads the model.
    """
    module = make_module(
        job, policy(str(job.model), torch_dtype=job.setting.dtype, gradient_checkpointing=job.gradient_checkpointing)
    )
    fit(
        module,
        DataLoader([batch_of(job.work.prompts)], batch_size=None),  # an epoch is a step
        NoteSteps(log),
        device=job.setting.device,
        autocast=job.autocast,
        steps=job.steps,
        workplace=job.workplace,
    )


def make_module(
    job: Job, policy: PolicyLoader, source: ResponseSource | None = None, micro_batch_tokens: int = 16384
) -> GFTLitModule:
    """Return what trains, its chance set to the seed.

    Args:
        job: The training.
        policy: Loads the model.
        source: Where responses come from, by default the work.
        micro_batch_tokens: Tokens that go through the model at once.
    """
    setting = job.setting
    seed_everything(setting.seed, verbose=False)
    return GFTLitModule(
        policy=policy,
        sampler=GroupSampler(
            sources={"self": source or CannedSource(job.work)},
            rewards={"score": CannedReward(job.work)},
            advantage=GroupNormalizedAdvantage(eps=ADVANTAGE_EPS),
        ),
        loss=GFTLoss(DynamicCoefficientRectifier(threshold=0)),
        optimizer=lambda parameters: AdamW(parameters, lr=setting.learning_rate, weight_decay=0.01),
        evaluation=Evaluation(kl=False),
        micro_batch_tokens=micro_batch_tokens,
        gradient_clip_val=job.max_grad_norm,
    )


def batch_of(texts: list[str], places: list[int] | None = None) -> PromptBatch:
    """Return prompts as a batch.

    Args:
        texts: Of the prompts.
        places: Where they stand in the batch of all processes.
    """
    return PromptBatch([token_ids(text) for text in texts], texts, references=[None] * len(texts), places=places)
