"""Our side: a ``GFTLitModule`` under a Lightning ``Trainer``, with GRPO's objective over tokens."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, ClassVar

from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import Strategy
from torch.optim import Optimizer
from torch.utils.data import DataLoader

import lightning_gft as gft
from benchmarks.harness import StepLog
from benchmarks.job import Job

ADVANTAGE_EPS = 1e-4
"""Added to the standard deviation, as TRL does."""
_FIGURES = ("reward", "completions/mean_length")


class GivenSource(gft.ResponseSource):
    """Hands out given responses as if the policy had just drawn them."""

    source: ClassVar[gft.Source] = gft.Source.SELF

    def __init__(self, responses: dict[str, list[list[int]]]) -> None:
        super().__init__(max(map(len, responses.values())))
        self.responses = responses

    def draws(self) -> bool:
        """Return that the policy is not asked."""
        return False

    def respond(self, prompts: gft.PromptBatch, policy: Any, seed: int) -> list[list[gft.Response]]:
        """Return the responses of each prompt."""
        return [
            [gft.Response(ids, logprobs=[0.0] * len(ids)) for ids in self.responses[text]] for text in prompts.prompts
        ]


class NoteSteps(Callback):
    """Notes each training step in a log."""

    def __init__(self, log: StepLog) -> None:
        self.notes = log  # Lightning gives callbacks a `log` of its own

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The model is loaded."""
        policy: Any = pl_module.policy
        self.notes.watch(policy.model, policy.pad_token_id)

    def on_train_batch_start(self, *_: Any) -> None:
        """Begin a step."""
        self.notes.begin()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Gradients are there."""
        policy: Any = pl_module.policy
        self.notes.before_optimizer(policy.model)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """End a step."""
        self.notes.end()
        self.notes.steps[-1] |= {name: float(trainer.callback_metrics[f"train/{name}"]) for name in _FIGURES}


def settings(job: Job) -> dict[str, Any]:
    """Return what is ours alone to set, for the record; all else is our default."""
    return {
        "library": "lightning_gft",
        "loss": "GRPOLoss(reduction='token-mean')",
        "updates_per_batch": job.updates_per_batch,
        "precision": "bf16-mixed" if job.autocast else "32-true",
        "gradient_checkpointing": job.gradient_checkpointing,
        "micro_batch_tokens": job.micro_batch_tokens,
        "learning_rate": job.learning_rate,
        "gradient_clip_val": job.max_grad_norm,
        "evaluation.kl": False,  # no frozen copy, as the peer keeps none at beta=0
    }


def load(
    job: Job, loader: type[gft.PretrainedPolicy] = gft.PretrainedPolicy, **quantization: Any
) -> gft.PretrainedPolicy:
    """Return what loads the policy."""
    return loader(
        str(job.model),
        torch_dtype=job.dtype,  # type: ignore[arg-type]
        gradient_checkpointing=job.gradient_checkpointing,
        lora=None if job.method == "full" else gft.LoRA(r=16, alpha=32),
        quantization=gft.Quantization(**quantization) if job.method == "qlora" else None,
    )


def train(
    job: Job,
    log: StepLog,
    *callbacks: Callback,
    policy: gft.PolicyLoader | None = None,
    places: list[int] | None = None,
    strategy: str | Strategy = "auto",
    devices: int | Sequence[int] = 1,
) -> None:
    """Train, without what has no part in a measurement: loggers, checkpoints, bars.

    ``places`` are those of the prompts in the batch of all processes.
    """
    seed_everything(job.seed, verbose=False)
    drawn = gft.SelfSource(job.group_size, max_new_tokens=job.response_length)
    module = gft.GFTLitModule(
        policy=policy or load(job),
        sampler=gft.GroupSampler(
            sources={"self": GivenSource(job.responses) if job.responses else drawn},
            rewards={"score": job.score},
            advantage=gft.GroupNormalizedAdvantage(eps=ADVANTAGE_EPS),
        ),
        loss=gft.GRPOLoss(reduction="token-mean"),
        optimizer=lambda parameters: _optimizer(job, parameters),
        evaluation=gft.Evaluation(kl=False),
        updates_per_batch=job.updates_per_batch,
        micro_batch_tokens=job.micro_batch_tokens,
        gradient_clip_val=job.max_grad_norm,
    )
    trainer = Trainer(
        accelerator="gpu" if job.device == "cuda" else "cpu",
        devices=devices,  # type: ignore[arg-type]
        strategy=strategy,
        precision="bf16-mixed" if job.autocast else "32-true",
        max_steps=job.steps * job.updates_per_batch,
        callbacks=[NoteSteps(log), *callbacks],
        default_root_dir=job.workplace,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader([_batch(job, rows, places) for rows in job.batches], batch_size=None))


def _batch(job: Job, rows: list[dict[str, Any]], places: list[int] | None) -> gft.PromptBatch:
    prompts = [row["prompt"] for row in rows]
    ids = job.tokenizer(prompts)["input_ids"]
    return gft.PromptBatch(ids, prompts, references=[row["answer"] for row in rows], places=places)


def _optimizer(job: Job, parameters: Any) -> Optimizer:
    library = importlib.import_module("torch.optim" if job.optimizer == "AdamW" else "bitsandbytes.optim")
    optimizer: Optimizer = getattr(library, job.optimizer)(parameters, lr=job.learning_rate, weight_decay=0.01)
    return optimizer
