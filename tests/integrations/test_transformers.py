"""Objectives in Hugging Face's trainer: as the trainer's own loss, exact under accumulation, and by groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

from lightning_gft import (
    AdaptiveCoefficientRectifier,
    CHORDPhiLoss,
    DFTLoss,
    EAFTLoss,
    GFTLoss,
    GroupBatch,
    GRPOLoss,
    InfoSFTLoss,
    KLPenalty,
    Policy,
    RFTLoss,
    SFTLoss,
)
from lightning_gft.integrations.transformers import GroupCollator, TrainerLoss
from tests.conftest import quick
from tests.tiny import tiny_policy

TEXTS = [("1+1=", "2"), ("20-3+4=", "9021"), ("5=", "55512"), ("a-b=", "1")]
GROUPS = {"advantage": [1.0, -0.5, 0.5, -1.0], "source": ["expert", "self", "teacher", "self"]}
GROUPS["reward"] = [1.0, 0.0, 1.0, 1.0]
LR = 0.1


def rows(policy: Policy, **columns: list[Any]) -> list[dict[str, Any]]:
    made = []
    for number, (prompt, response) in enumerate(TEXTS):
        start, end = policy.tokenizer.encode(prompt), policy.encode(response)
        row = {"input_ids": start + end, "attention_mask": [1] * len(start + end)}
        given = {name: values[number] for name, values in columns.items()}
        made.append({**row, "labels": [-100] * len(start) + end, **given})
    return made


def train(
    policy: Policy, data: list[dict[str, Any]], folder: Path, grouped: Any = None, batch: int = 2, **arguments: Any
) -> Trainer:
    """Take one step of plain SGD over all rows, in accumulated batches that differ in their number of labels."""
    collator: Any = DataCollatorForSeq2Seq(policy.tokenizer)
    trainer = Trainer(
        policy.model,
        TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=len(data) // batch,
            max_steps=1,
            logging_steps=1,
            max_grad_norm=1e9,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=grouped is None,
        ),
        data_collator=collator if grouped is None else GroupCollator(collator, grouped),
        train_dataset=data,  # type: ignore[arg-type]
        optimizers=(SGD(policy.model.parameters(), lr=LR), None),  # type: ignore[arg-type]
        **arguments,
    )
    trainer.create_scheduler = lambda *_, **__: setattr(  # type: ignore[method-assign]
        trainer, "lr_scheduler", torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda _: 1.0)
    )
    trainer.train()
    return trainer


def weights(policy: Policy) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in policy.model.named_parameters()}


def after_a_step(coefficient: Any, taken: tuple[int, ...] = (0, 1, 2, 3)) -> dict[str, Tensor]:
    """Return the weights after a step along ``sum c log p / Z``, one token after another and without padding."""
    policy = tiny_policy()
    total, count = torch.tensor(0.0), 0
    for number, row in enumerate(rows(policy)):
        logits = policy.model(torch.tensor([row["input_ids"]])).logits[0]
        for position, label in enumerate(row["labels"]):
            if label == -100 or number not in taken:
                continue
            log_p = logits[position - 1].log_softmax(dim=0)[label]
            total, count = total - coefficient(number, float(log_p.detach().exp())) * log_p, count + 1
    (total / count).backward()
    return {name: w.detach() - LR * w.grad for name, w in policy.model.named_parameters() if w.grad is not None}


def test_imitation_is_the_trainers_own_loss(tmp_path: Path):
    own, ours = tiny_policy(), tiny_policy()
    expected = train(own, rows(own), tmp_path)
    made = train(ours, rows(ours), tmp_path, compute_loss_func=TrainerLoss(SFTLoss()))
    torch.testing.assert_close(weights(ours), weights(own))
    assert made.state.log_history[0]["loss"] == pytest.approx(expected.state.log_history[0]["loss"], abs=1e-4)


def test_plain_labels_are_rectified(tmp_path: Path):
    policy = tiny_policy()
    trainer = train(policy, rows(policy), tmp_path, compute_loss_func=TrainerLoss())
    torch.testing.assert_close(weights(policy), after_a_step(lambda _, p: p if p < 0.1 else 1.0), rtol=1e-4, atol=1e-6)
    assert "rectified_fraction" not in trainer.state.log_history[0]


@pytest.mark.parametrize("batch", quick([1, 4], 1))
def test_groups_train_by_advantage_and_source_however_they_are_accumulated(batch: int, tmp_path: Path):
    policy, loss = tiny_policy(), GFTLoss()
    objective = TrainerLoss(loss)
    trainer = train(
        *(policy, rows(policy, **GROUPS), tmp_path, loss, batch), compute_loss_func=objective, callbacks=[objective]
    )

    def coefficient(number: int, p: float) -> float:
        own = GROUPS["source"][number] == "self"
        return float(GROUPS["advantage"][number]) * (1.0 if own or p >= 0.1 else p)

    torch.testing.assert_close(weights(policy), after_a_step(coefficient), rtol=1e-4, atol=1e-6)
    assert 0 < trainer.state.log_history[0]["rectified_fraction"] <= 1


def test_sequences_that_take_no_part_are_not_counted(tmp_path: Path):
    policy, loss = tiny_policy(), RFTLoss()
    train(policy, rows(policy, **GROUPS), tmp_path, loss, compute_loss_func=TrainerLoss(loss))
    right = after_a_step(lambda *_: 1.0, taken=(3,))  # the only own sample with a reward of 1
    torch.testing.assert_close(weights(policy), right, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_entropy_is_that_of_the_logits(tmp_path: Path):
    policy, plain = tiny_policy(), tiny_policy()
    train(policy, rows(policy), tmp_path, compute_loss_func=TrainerLoss(EAFTLoss()))
    ids = DataCollatorForSeq2Seq(plain.tokenizer)(rows(plain))
    logits, labels = plain.model(ids["input_ids"], ids["attention_mask"]).logits, ids["labels"]
    distribution = logits[:, :-1].softmax(dim=-1)
    entropy = torch.zeros(labels.shape)
    entropy[:, 1:] = -(distribution * distribution.log()).sum(dim=-1)
    logprobs = torch.zeros(labels.shape)
    logprobs[:, 1:] = logits[:, :-1].log_softmax(-1).gather(-1, labels[:, 1:, None].clamp(min=0))[..., 0]
    EAFTLoss()(logprobs, GroupBatch.from_labels(labels), entropy=entropy).backward()
    expected = {name: w.detach() - LR * w.grad for name, w in plain.model.named_parameters() if w.grad is not None}
    torch.testing.assert_close(weights(policy), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (GRPOLoss(reduction="token-mean"), "which needs old_logprobs; train it by GFTLitModule"),
        (KLPenalty(SFTLoss(), 0.1), "needs ref_logprobs"),
        (SFTLoss(reduction="sequence-mean"), "got SFTLoss with reduction='sequence-mean'"),
        (GFTLoss(AdaptiveCoefficientRectifier()), r"without state.* got GFTLoss with rectifier\.num_steps"),
        (CHORDPhiLoss(), "`loss`: expected"),
    ],
    ids=lambda case: type(case).__name__,
)
def test_a_loss_that_the_trainer_cannot_provide_for_is_refused(loss: Any, message: str):
    with pytest.raises(ValueError, match=message):
        TrainerLoss(loss)


@pytest.mark.parametrize("loss", [SFTLoss(), DFTLoss(floor=0.1), InfoSFTLoss(), EAFTLoss(), RFTLoss(), GFTLoss()])
def test_losses_of_the_table_are_accepted(loss: Any):
    assert TrainerLoss(loss).loss is loss


def test_missing_inputs_are_refused():
    labels, logits = torch.tensor([[-100, 2, 3]]), torch.zeros(1, 3, 4)
    with pytest.raises(ValueError, match="`labels`: expected token ids"):
        TrainerLoss()({"logits": logits}, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="use_liger_kernel=False"):
        TrainerLoss()({"logits": None}, labels)
    with pytest.raises(ValueError, match=r"expected a GroupCollator's, as RFTLoss"):
        TrainerLoss(RFTLoss())({"logits": logits}, labels)
    with pytest.raises(ValueError, match=r"`logits`, `labels`: expected \[N, T, V\] and \[N, T\], got \[1, 2, 4\]"):
        TrainerLoss()({"logits": logits[:, 1:]}, labels)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([{}, {}], "expected rows with advantage, got labels; .*remove_unused_columns=False"),
        ([{"advantage": 1.0}, {}], "`advantage`: expected it in all rows of a batch or in none, got 1 of 2"),
        ([{"advantage": 1.0, "source": "me"}] * 2, "`source`: expected expert, teacher, self, got me"),
    ],
)
def test_rows_without_what_the_loss_needs_are_refused(columns: Any, message: str):
    collator = GroupCollator(lambda rows: {"labels": torch.zeros(2, 2)}, GFTLoss())
    with pytest.raises(ValueError, match=message):
        collator([{"labels": [-100, 3], **row} for row in columns])


def test_a_collator_without_labels_is_refused():
    with pytest.raises(ValueError, match="`collator`: expected a batch with labels, got input_ids"):
        GroupCollator(lambda rows: {"input_ids": torch.zeros(1, 2)}, SFTLoss())([{"input_ids": [1, 2]}])


@pytest.mark.slow
def test_trls_trainer_takes_it(tmp_path: Path):
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    policy, objective = tiny_policy(), TrainerLoss()
    data = [{name: row[name] for name in ("input_ids", "labels")} for row in rows(policy)]
    trainer = trl.SFTTrainer(
        policy.model,
        trl.SFTConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            max_steps=1,
            logging_steps=1,
            max_grad_norm=1e9,
            use_cpu=True,
            bf16=False,
            report_to=[],
            save_strategy="no",
            gradient_checkpointing=False,
            lr_scheduler_type="constant",
        ),
        train_dataset=datasets.Dataset.from_list(data),
        processing_class=policy.tokenizer,
        optimizers=(SGD(policy.model.parameters(), lr=LR), None),
        compute_loss_func=objective,
        callbacks=[objective],
    )
    trainer.train()
    torch.testing.assert_close(weights(policy), after_a_step(lambda _, p: p if p < 0.1 else 1.0), rtol=1e-4, atol=1e-6)
    assert "rectified_fraction" in trainer.state.log_history[0]
