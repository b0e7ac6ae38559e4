"""Training with TRL's ``GRPOTrainer``, for every measurement that has it on the other side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer  # type: ignore[attr-defined] # they are there, lazily

from benchmarks.steps import StepLog

_FIGURES = ("reward", "completions/mean_length", "grad_norm")

ALIKE: dict[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "beta": 0.0,
    "lr_scheduler_type": "constant",
    "weight_decay": 0.01,
    "use_liger_kernel": False,
    "use_vllm": False,
}
"""Arguments of ``GRPOConfig`` that make it do what our module does by default."""


class NoteSteps(TrainerCallback):
    """Notes each training step.

    Args:
        log: Where to.
        pad_token_id: What rows are filled up with.
    """

    def __init__(self, log: StepLog, pad_token_id: int) -> None:
        self.log = log
        self.pad_token_id = pad_token_id

    def on_train_begin(self, *_: Any, model: Any = None, **__: Any) -> None:
        """Begin."""
        self.log.watch(model, self.pad_token_id)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Begin a step."""
        self.log.begin()

    def on_pre_optimizer_step(self, *_: Any, model: Any = None, **__: Any) -> None:
        """Gradients are there."""
        self.log.before_optimizer(model)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """End a step."""
        self.log.end()

    def on_log(self, *_: Any, logs: dict[str, float] | None = None, **__: Any) -> None:
        """Take the figures of the step that has just ended."""
        if logs is not None and "reward" in logs:  # else it is the summary at the end
            self.log.figures.append({name: float(logs[name]) for name in _FIGURES})


def load_tokenizer(model: str | Path) -> PreTrainedTokenizerFast:
    """Return a model's tokenizer; the automatic choice goes by the model's type, and would not read our words.

    Args:
        model: Folder.
    """
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(model, padding_side="left")
    return tokenizer


def configure(workplace: Path, settings: dict[str, Any]) -> GRPOConfig:
    """Return a configuration without what has no part in a measurement: reports, checkpoints, bars.

    Args:
        workplace: Folder to write to.
        settings: Arguments of ``GRPOConfig``.
    """
    return GRPOConfig(
        output_dir=str(workplace),
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        **settings,
    )


def train(
    model: str | Path,
    rows: list[dict[str, Any]],
    reward: Any,
    settings: dict[str, Any],
    workplace: Path,
    log: StepLog,
    **more: Any,
) -> None:
    """Train, and note the steps.

    Args:
        model: Folder of the model.
        rows: Prompts, in the column ``prompt``, and what the reward needs.
        reward: A reward function as TRL calls it.
        settings: Arguments of ``GRPOConfig``.
        workplace: Folder to write to.
        log: Takes notes.
        **more: Arguments of ``GRPOTrainer``.
    """
    tokenizer = load_tokenizer(model)
    trainer = GRPOTrainer(
        model=str(model),
        args=configure(workplace, settings),
        reward_funcs=reward,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[NoteSteps(log, tokenizer.pad_token_id)],
        **more,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
