"""Short runs on a handful of rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch import seed_everything as seed_all
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import SGD
from transformers import PreTrainedModel

from lightning_gft import (
    Evaluation,
    GFTLitModule,
    GFTLoss,
    GroupBatch,
    GroupLoss,
    GroupSampler,
    PolicyLoader,
    PromptBatch,
    Reward,
    ScratchPolicy,
    TeacherSource,
)
from lightning_gft.data import Columns, ExampleEncoder, LengthLimits, PromptDataModule, PromptEncoder
from lightning_gft.types import ResponseGenerator
from tests.tiny import tiny_loader

Row = dict[str, Any]

ROWS: list[Row] = [
    {"prompt": "1+1=", "answer": "2", "expert": "2", "teacher": ["1234", "9", "55512", "70"]},
    {"prompt": "20-3+4=", "answer": "21", "expert": "9021", "teacher": ["1", "12345678", "3", "49"]},
    {"prompt": "5=", "answer": "5", "expert": "5", "teacher": ["27", "333", "9", "1224"]},  # all worth the same
    {"prompt": "a-b=", "answer": "1", "expert": "1", "teacher": ["81234", "7", "0", "23"]},
]


def of_the_run(row: Mapping[str, float]) -> dict[str, float]:
    """Return the figures of a row that follow from the run alone, not from the machine."""
    machine = re.compile(r".*(tokens_per_second|time/\w+|memory_gb)")
    return {name: value for name, value in row.items() if not machine.fullmatch(name)}


class DigitSum(Reward):
    """A tenth of the sum of the response's digits, which are its answer."""

    def __call__(self, *, prompts: Any, responses: Any, references: Any, **columns: Any) -> Tensor:
        sums = [sum(map(int, filter(str.isdigit, text))) / 10 for text in responses]
        return torch.tensor(sums, dtype=torch.float32)

    def reads_answers(self) -> bool:
        return True

    def read_answer(self, response: str, columns: Any) -> str | None:
        return "".join(filter(str.isdigit, response)) or None


class Rows(PromptDataModule):
    """Rows as they are given, in their order."""

    def __init__(self, rows: Sequence[Row] = ROWS, val_rows: Sequence[Row] = (), batch_size: int = 4) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=64, shuffle=False, seed=0, num_workers=0)
        self.rows, self.val_rows = list(rows), list(val_rows)

    def load_rows(self, split: str) -> dict[str, list[Row]]:
        if split == "train":
            return {"": self.rows}
        return {"": self.val_rows} if self.val_rows else {}

    def make_encoder(self, tokenizer: Any) -> ExampleEncoder:
        columns = Columns(**{f"{role}_column": role for role in ("expert", "teacher") if role in self.rows[0]})
        return ExampleEncoder(PromptEncoder(tokenizer, use_chat_template=False), columns, LengthLimits())


class RecordingSampler(GroupSampler):
    """Remembers the groups that it made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.made: list[GroupBatch] = []

    def sample(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> GroupBatch:
        self.made.append(super().sample(prompts, policy, seed))
        return self.made[-1]


class Passes(Callback):
    """Remembers how many sequences each pass with gradient ran."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        def count(_: Any, inputs: tuple[Any, ...]) -> None:
            self.sizes.append(len(inputs[1].tokens.sequence.unique()))

        pl_module.policy.register_forward_pre_hook(count)


def exact_loader() -> ScratchPolicy:
    """Return a policy that computes in double precision throughout; most architectures normalise in single."""
    return tiny_loader("gpt2")


class DoublePolicy(ScratchPolicy):
    """A policy whose weights are in double precision, whatever the trainer's precision."""

    def load_model(self) -> PreTrainedModel:
        return super().load_model().double()


def double_loader(**config: Any) -> ScratchPolicy:
    """Return a policy that computes in double precision throughout, for trainers that know no such precision."""
    loader = tiny_loader("gpt2", **config)
    loader.__class__ = DoublePolicy
    return loader


def sgd(lr: float = 0.1) -> Any:
    return lambda parameters: SGD(parameters, lr=lr)


def make_module(
    loss: GroupLoss | None = None,
    sources: dict[str, Any] | None = None,
    policy: PolicyLoader | None = None,
    reward: Reward | None = None,
    advantage: Any = None,
    **settings: Any,
) -> GFTLitModule:
    """Return a module that trains on four teacher responses a prompt by plain SGD without clipping, unless told.

    It is evaluated on few tokens: an untrained policy seldom ends a response by itself.
    """
    sampler = RecordingSampler(sources or {"teacher": TeacherSource(4)}, {"score": reward or DigitSum()}, advantage)
    brief = Evaluation(max_new_tokens=16)
    settings = {"optimizer": sgd(), "gradient_clip_val": None, "evaluation": brief, **settings}
    return GFTLitModule(policy or tiny_loader(), sampler, loss or GFTLoss(), **settings)


def make_trainer(**arguments: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    defaults = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "logger": False, "enable_checkpointing": False}
    return Trainer(**{**quiet, **defaults, **arguments})


def fit(
    module: GFTLitModule,
    data: PromptDataModule | None = None,
    *,
    seed: int = 0,
    ckpt_path: str | None = None,
    **arguments: Any,
) -> Trainer:
    """Train from weights drawn from ``seed``, and return the trainer."""
    seed_all(seed, verbose=False)
    trainer = make_trainer(**arguments)
    trainer.fit(module, datamodule=data or Rows(), ckpt_path=ckpt_path)
    return trainer


def weights(module: GFTLitModule) -> dict[str, Tensor]:
    """Return all weights, those that are split over processes too; then all processes ask together."""
    named = module.policy.model.named_parameters()
    return {name: (w.full_tensor() if isinstance(w, DTensor) else w).detach().clone() for name, w in named}


def fresh_weights(module: GFTLitModule, seed: int = 0) -> dict[str, Tensor]:
    """Return the weights that ``fit`` starts from."""
    torch.manual_seed(seed)
    return {name: p.detach().clone() for name, p in module.policy_loader.load_model().named_parameters()}
