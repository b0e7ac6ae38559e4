"""The two sides of :mod:`benchmarks.whole_step`: whole training steps of the policy that comes with the package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from lightning.pytorch import seed_everything
from torch.optim import AdamW

from benchmarks import trl_side
from benchmarks.lightning_side import NoteSteps, fit
from benchmarks.setting import Device
from benchmarks.steps import StepLog
from lightning_gft import (
    ArithmeticDataModule,
    ArithmeticPolicy,
    DynamicCoefficientRectifier,
    Evaluation,
    ExactMatchReward,
    GFTLitModule,
    GFTLoss,
    GroupSampler,
    SelfSource,
)

_REWARD = ExactMatchReward(marker="#")


@dataclass(frozen=True)
class Run:
    """What both sides do.

    Args:
        device: Where to train.
        prompts: Prompts a training step.
        group_size: Responses a prompt.
        max_new_tokens: Longest response.
        rows_per_pass: Sequences that TRL runs through the model at once with gradient; ours takes its default.
        seed: Of problems and samples.
        learning_rate: AdamW's.
    """

    device: Device = "cpu"
    prompts: int = 32
    group_size: int = 8
    max_new_tokens: int = 48
    rows_per_pass: int = 64
    seed: int = 0
    learning_rate: float = 3e-5

    def data(self, steps: int) -> ArithmeticDataModule:
        """Return as many problems as so many steps take, always in the same order."""
        return ArithmeticDataModule(
            num_train=steps * self.prompts,
            num_val=1,
            num_second_skill=0,
            num_teacher=0,
            batch_size=self.prompts,
            shuffle=False,
            seed=self.seed,
        )


def train_ours(run: Run, workplace: Path, log: StepLog, steps: int) -> None:
    """Train our side, with the objective that GRPO's is on a policy's own samples.

    Args:
        run: What to do.
        workplace: Folder to write to.
        log: Takes notes.
        steps: Training steps.
    """
    seed_everything(run.seed, verbose=False)
    module = GFTLitModule(
        policy=ArithmeticPolicy(),
        sampler=GroupSampler(
            sources={"self": SelfSource(run.group_size, max_new_tokens=run.max_new_tokens)},
            rewards={"accuracy": _REWARD},
        ),
        loss=GFTLoss(DynamicCoefficientRectifier(threshold=0)),
        optimizer=lambda parameters: AdamW(parameters, lr=run.learning_rate, weight_decay=0.01),
        evaluation=Evaluation(kl=False),
    )
    data, autocast = run.data(steps), run.device == "cuda"
    fit(module, data, NoteSteps(log), device=run.device, autocast=autocast, steps=steps, workplace=workplace)


def train_trl(run: Run, workplace: Path, log: StepLog, steps: int) -> None:
    """Train TRL's side.

    Args:
        run: What to do.
        workplace: Folder to write to.
        log: Takes notes.
        steps: Training steps.
    """

    def score(prompts: list[str], completions: list[str], answer: list[str], **_: Any) -> list[float]:
        return _REWARD(prompts=prompts, responses=completions, references=answer).tolist()

    rows = run.data(steps).load_rows("train")[""]
    rows = [{name: row[name] for name in ("prompt", "answer")} for row in rows]
    model = Path(str(files("lightning_gft.arithmetic") / "assets"))
    trl_side.train(model, rows, score, trl_settings(run, steps), workplace, log)


def trl_settings(run: Run, steps: int) -> dict[str, Any]:
    """Return the arguments of ``GRPOConfig``, for the record too.

    Args:
        run: What to do.
        steps: Training steps.
    """
    return {
        **trl_side.ALIKE,
        "loss_type": "dapo",
        "model_init_kwargs": {"dtype": "float32"},
        "gradient_checkpointing": False,
        "bf16": run.device == "cuda",
        "use_cpu": run.device == "cpu",
        "per_device_train_batch_size": run.rows_per_pass,
        "gradient_accumulation_steps": run.prompts * run.group_size // run.rows_per_pass,
        "num_generations": run.group_size,
        "max_completion_length": run.max_new_tokens,
        "shuffle_dataset": False,
        "optim": "adamw_torch",
        "learning_rate": run.learning_rate,
        "max_grad_norm": 1.0,
        "max_steps": steps,
        "seed": run.seed,
    }
