"""What all datamodules share: orders, processes, and work within Lightning."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lightning_gft.data import Columns, ExampleEncoder, LengthLimits, PromptDataModule, PromptEncoder
from lightning_gft.types import PromptBatch


class Countdown(PromptDataModule):
    """Rows that are their own numbers."""

    def __init__(self, num_rows: int = 10, seed: int = 0, shuffle: bool = True, num_workers: int = 0) -> None:
        super().__init__(batch_size=3, eval_batch_size=4, shuffle=shuffle, seed=seed, num_workers=num_workers)
        self.num_rows = num_rows

    def load_rows(self, split: str) -> dict[str, list[dict[str, Any]]]:
        rows = [{"prompt": str(i)} for i in range(self.num_rows)]
        return {"": rows} if split == "train" else {"": rows[:2], "second": rows[:5]}

    def make_encoder(self, tokenizer: PreTrainedTokenizerBase) -> ExampleEncoder:
        return ExampleEncoder(PromptEncoder(tokenizer), Columns(answer_column=None), LengthLimits())


class Recorder(LightningModule):
    """Learns nothing and remembers what it was shown."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.automatic_optimization = False
        self.seen: list[tuple[int, list[str]]] = []
        self.evaluated: list[tuple[str, int]] = []

    def training_step(self, batch: PromptBatch, batch_idx: int) -> None:
        self.seen.append((self.current_epoch, batch.prompts))
        optimizer = self.optimizers()
        optimizer.step()

    def validation_step(self, batch: PromptBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.evaluated.append((batch.dataset, len(batch)))

    test_step = validation_step

    def predict_step(self, batch: PromptBatch, batch_idx: int) -> list[str]:
        return batch.prompts

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _trainer(folder: Path, **arguments: Any) -> Trainer:
    defaults = {"max_epochs": 2, "logger": False, "enable_checkpointing": False, "num_sanity_val_steps": 0}
    return Trainer(
        **{**defaults, **arguments},
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _fit(
    tokenizer: PreTrainedTokenizerFast, folder: Path, data: PromptDataModule | None = None, **arguments: Any
) -> Recorder:
    module, checkpoint = Recorder(tokenizer), arguments.pop("ckpt_path", None)
    _trainer(folder, **arguments).fit(module, datamodule=data or Countdown(), ckpt_path=checkpoint)
    return module


def _as_rank(data: Countdown, tokenizer: PreTrainedTokenizerFast, rank: int, num_replicas: int) -> list[str]:
    data.tokenizer = tokenizer
    data.setup("fit")
    kwargs = {"rank": rank, "num_replicas": num_replicas}
    data.trainer = SimpleNamespace(distributed_sampler_kwargs=kwargs)  # type: ignore[assignment]
    return [prompt for batch in data.train_dataloader() for prompt in batch.prompts]


def test_fit_takes_the_modules_tokenizer_and_a_new_order_every_epoch(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    seen = _fit(tokenizer, tmp_path).seen
    epochs = [[p for epoch, prompts in seen for p in prompts if epoch == e] for e in (0, 1)]
    assert [len(prompts) for _, prompts in seen] == [3, 3, 3, 1] * 2
    assert sorted(epochs[0]) == sorted(epochs[1]) == [str(i) for i in range(10)]
    assert epochs[0] != epochs[1]


def test_second_fit_starts_from_the_same_order_and_another_seed_from_another(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    data = Countdown()
    first = _fit(tokenizer, tmp_path, data).seen
    torch.rand(7)  # what else draws from the global generator must not matter
    assert _fit(tokenizer, tmp_path, data).seen == first
    assert _fit(tokenizer, tmp_path, Countdown(seed=1)).seen != first


def test_shuffle_can_be_left_out(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    seen = _fit(tokenizer, tmp_path, Countdown(shuffle=False), max_epochs=1).seen
    assert [p for _, prompts in seen for p in prompts] == [str(i) for i in range(10)]


def test_processes_take_turns_at_one_order(tokenizer: PreTrainedTokenizerFast) -> None:
    alone = _as_rank(Countdown(), tokenizer, 0, 1)
    first, second = (_as_rank(Countdown(), tokenizer, rank, 2) for rank in (0, 1))
    assert [prompt for pair in zip(first, second, strict=True) for prompt in pair] == alone


def test_uneven_rows_leave_no_process_short(tokenizer: PreTrainedTokenizerFast) -> None:
    shares = [_as_rank(Countdown(num_rows=7), tokenizer, rank, 3) for rank in range(3)]
    assert [len(share) for share in shares] == [3, 3, 3]
    assert {prompt for share in shares for prompt in share} == {str(i) for i in range(7)}


@pytest.mark.parametrize(
    ("num_workers", "last"), [(0, {"max_epochs": 3}), (0, {"max_epochs": -1, "max_steps": 12}), (1, {"max_epochs": 3})]
)
def test_resuming_in_mid_epoch_goes_on_where_it_stopped(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, num_workers: int, last: dict[str, int]
) -> None:
    data = Countdown(num_workers=num_workers)
    whole = _fit(tokenizer, tmp_path, data, **last).seen
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    _fit(tokenizer, tmp_path, data, max_steps=6, max_epochs=3, callbacks=[saver], enable_checkpointing=True)
    resumed = _fit(tokenizer, tmp_path, data, ckpt_path=tmp_path / "step=6.ckpt", **last).seen
    assert resumed == whole[6:]


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("last", [{"max_epochs": 3}, {"max_epochs": -1, "max_steps": 6}])
def test_resuming_at_the_end_of_an_epoch_starts_the_next_one_whole(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, limit: int | None, last: dict[str, int]
) -> None:
    arguments = {"limit_train_batches": limit} if limit else {}
    num_batches = limit or 4
    whole = _fit(tokenizer, tmp_path, max_epochs=4, **arguments).seen
    saver = ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    _fit(tokenizer, tmp_path, max_epochs=1, callbacks=[saver], enable_checkpointing=True, **arguments)
    resumed = _fit(tokenizer, tmp_path, ckpt_path=tmp_path / "last.ckpt", **last, **arguments).seen
    if "max_steps" not in last:
        assert resumed == whole[num_batches : 3 * num_batches]
        return
    # Told a number of steps, Lightning counts the finished epoch once more: the order is the one after the next.
    assert [prompts for _, prompts in resumed] == [prompts for _, prompts in whole[2 * num_batches :]][: len(resumed)]


def test_overfitting_repeats_the_same_batches(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="overfit"):
        seen = _fit(tokenizer, tmp_path, overfit_batches=2).seen
    assert [prompts for _, prompts in seen] == [["0", "1", "2"], ["3", "4", "5"]] * 2


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_data_sets_keep_their_names(tokenizer: PreTrainedTokenizerFast, tmp_path: Path, stage: str) -> None:
    module = Recorder(tokenizer)
    getattr(_trainer(tmp_path), stage)(module, datamodule=Countdown(), verbose=False)
    assert module.evaluated == [("", 2), ("second", 4), ("second", 1)]


def test_predict_goes_through_the_training_prompts_in_order(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    batches = _trainer(tmp_path).predict(Recorder(tokenizer), datamodule=Countdown())
    assert [prompt for prompts in batches for prompt in prompts] == [str(i) for i in range(10)]


def test_fit_without_validation_data_validates_nothing(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    class TrainOnly(Countdown):
        def load_rows(self, split: str) -> dict[str, list[dict[str, Any]]]:
            return super().load_rows(split) if split == "train" else {}

    module = _fit(tokenizer, tmp_path, TrainOnly(), num_sanity_val_steps=2, max_epochs=1)
    assert len(module.seen) == 4
    assert module.evaluated == []


def test_what_is_missing_is_said(tokenizer: PreTrainedTokenizerFast) -> None:
    data = Countdown()
    with pytest.raises(RuntimeError, match="the datamodule: expected a tokenizer, got none; set its `tokenizer`"):
        data.setup("fit")
    with pytest.raises(RuntimeError, match="train data: expected `setup` to have loaded them"):
        data.train_dataloader()


def test_evaluation_counts_each_row_once_whatever_the_number_of_processes(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = []
    for rank in range(3):
        data = Countdown()
        _as_rank(data, tokenizer, rank, 3)
        rows += [prompt for batch in data.predict_dataloader()[0] for prompt in batch.prompts]
    assert sorted(rows) == sorted(str(i) for i in range(10))


def test_order_follows_seed_everything_too(tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = []
    for seed in ("1", "1", "2"):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        orders.append(_as_rank(Countdown(), tokenizer, 0, 1))
    assert orders[0] == orders[1] != orders[2]
