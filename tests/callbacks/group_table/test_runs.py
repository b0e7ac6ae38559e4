"""What a run keeps and shows of its groups, beside what its steps returned."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from pyarrow import parquet

from lightning_gft import (
    Evaluation,
    ExactMatchReward,
    GFTLitModule,
    GFTLoss,
    GroupBatch,
    GroupSampler,
    SelfSource,
    Source,
    TeacherSource,
)
from lightning_gft.callbacks import GroupTable
from lightning_gft.errors import GFTValueError
from lightning_gft.samples import SampledGroup, SampledResponse, read_samples
from lightning_gft.types import TrainedTokens
from tests.module.runs import ROWS, DigitSum, Rows, fit, make_module, make_trainer, sgd
from tests.tiny import tiny_loader

EVALUATION = Evaluation(num_samples=3, max_new_tokens=6)


def module_of(**settings: Any) -> GFTLitModule:
    sampler = GroupSampler(
        {"teacher": TeacherSource(4), "self": SelfSource(3, max_new_tokens=6)},
        {"score": DigitSum(), "exact": ExactMatchReward(weight=0.5)},
    )
    return GFTLitModule(tiny_loader(), sampler, GFTLoss(), **{"optimizer": sgd(), "evaluation": EVALUATION, **settings})


def run(folder: Path, table: GroupTable, *others: Callback, **arguments: Any) -> list[SampledGroup]:
    """Train on two prompts a step, validate after every second, and return what was kept."""
    arguments = {"module": module_of(), "max_epochs": 2, "val_check_interval": 2, **arguments}
    logger = arguments.pop("logger", CSVLogger(str(folder), name="", version=""))
    fit(data=Rows(val_rows=ROWS, batch_size=2), callbacks=[*others, table], logger=logger, **arguments)
    return read_samples(folder)


class Seen(Callback):
    """Remembers what steps and evaluations returned."""

    def __init__(self) -> None:
        self.steps: dict[int, tuple[GroupBatch, TrainedTokens, Any]] = {}
        self.evaluated: dict[int, Any] = {}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps[trainer.global_step] = outputs["groups"], outputs["trained"], batch

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.evaluated[trainer.global_step] = [*pl_module.evaluator.evaluated[""]]


def check_response(kept: SampledResponse, groups: GroupBatch, row: int) -> None:
    ids = groups.input_ids[row][groups.response_mask[row]]
    assert kept.source == Source(int(groups.source[row])).name.lower()
    assert kept.completion == groups.responses[row]
    assert kept.completion_length == len(ids)
    assert (kept.finish_reason == "stop") == bool(groups.finished[row])
    assert kept.reward == float(groups.rewards[row])
    assert kept.rewards == {name: float(part[row]) for name, part in groups.reward_parts.items()}


def check_tokens(kept: SampledResponse, groups: GroupBatch, trained: TrainedTokens, row: int, decode: Any) -> None:
    """Compare with what the step returned, token by token."""
    tokens = trained.tokens
    of_row = [t for t in range(len(tokens)) if int(tokens.sequence[t]) == row]
    if not of_row:
        assert kept.trained is None
        return
    ids = groups.input_ids[row][groups.response_mask[row]].tolist()
    assert kept.trained is not None
    assert kept.trained.tokens == [decode([token]) for token in ids]
    assert [int(tokens.position[t]) for t in of_row] == list(range(len(ids)))
    assert tokens.entropy is not None
    for name, values in {
        "logprobs": tokens.logprobs,
        "coefficients": trained.coefficients,
        "factors": trained.factors,
        "entropies": tokens.entropy,
    }.items():
        assert getattr(kept.trained, name) == [float(values[t]) for t in of_row]


@pytest.mark.parametrize("updates", [1, 2])
def test_every_figure_is_that_of_the_step(tmp_path: Path, updates: int):
    module, seen = module_of(updates_per_batch=updates), Seen()
    kept = run(tmp_path, GroupTable(num_groups=9, responses="all"), seen, module=module)
    of_training = [group for group in kept if group.kind == "train"]
    assert [(group.step, group.group) for group in of_training] == [
        (step, number) for step in (updates * n for n in range(1, 5)) for number in (0, 1)
    ]
    skipped = 0
    for group in of_training:
        groups, trained, batch = seen.steps[group.step]
        rows = (groups.group_index == group.group).nonzero().squeeze(1).tolist()
        assert (group.prompt, group.size, group.dataset) == (batch.prompts[group.group], len(rows), "")
        assert group.weights == {"score": 1.0, "exact": 0.5}
        assert [response.number for response in group.responses] == list(range(len(rows)))
        for row, response in zip(rows, group.responses, strict=True):
            check_response(response, groups, row)
            assert response.advantage == float(groups.advantages[row])
            check_tokens(response, groups, trained, row, module.tokenizer.decode)
            skipped += response.trained is None
    assert sum(len(group.responses) for group in of_training) - skipped > 0


def test_a_group_of_equal_rewards_has_no_figures_of_tokens(tmp_path: Path):
    rows = [{**ROWS[0], "teacher": ["12", "21", "3", "111"]}]
    sampler = GroupSampler({"teacher": TeacherSource(4)}, {"score": DigitSum()})
    module = GFTLitModule(tiny_loader(), sampler, GFTLoss(), optimizer=sgd())
    logger = CSVLogger(str(tmp_path), name="", version="")
    fit(module, Rows(rows=rows, batch_size=1), callbacks=[GroupTable()], logger=logger)
    (group,) = read_samples(tmp_path)
    assert [(response.number, response.trained) for response in group.responses] == [(0, None), (1, None)]


def test_validations_keep_the_greedy_response_and_the_best_and_worst_sample(tmp_path: Path):
    seen = Seen()
    kept = run(tmp_path, GroupTable(num_groups=3), seen)
    validations = [group for group in kept if group.kind == "val"]
    assert [(group.step, group.group) for group in validations] == [(s, n) for s in (2, 4) for n in range(3)]
    for group in validations:
        (drawn,) = seen.evaluated[group.step]
        assert (group.prompt, group.size) == (ROWS[group.group]["prompt"], 4)
        greedy, *samples = group.responses
        check_response(greedy, drawn.greedy, group.group)
        assert (greedy.greedy, greedy.number) == (True, 0)
        for sample in samples:
            check_response(sample, drawn.samples, 3 * group.group + sample.number - 1)
            assert (sample.greedy, sample.advantage, sample.trained) == (False, None, None)
        rewards = drawn.samples.rewards[3 * group.group : 3 * group.group + 3].tolist()
        assert {sample.reward for sample in samples} == {max(rewards), min(rewards)}


def test_prompts_of_a_validation_are_counted_over_its_batches(tmp_path: Path):
    data = Rows(val_rows=[*ROWS, *ROWS], batch_size=4)
    data.eval_batch_size = 3
    logger = CSVLogger(str(tmp_path), name="", version="")
    fit(module_of(), data, callbacks=[GroupTable(num_groups=7, responses=1)], logger=logger)
    kept = [group for group in read_samples(tmp_path) if group.kind == "val"]
    assert [group.group for group in kept] == list(range(7))
    assert [group.prompt for group in kept] == [row["prompt"] for row in [*ROWS, *ROWS][:7]]


def test_a_run_that_was_killed_and_resumes_has_no_step_twice(tmp_path: Path):
    trainer = make_trainer(max_steps=2, logger=False)
    torch.manual_seed(0)
    trainer.fit(module_of(), Rows(batch_size=2))
    trainer.save_checkpoint(tmp_path / "2.ckpt")
    before = run(tmp_path, GroupTable())
    after = run(tmp_path, GroupTable(), ckpt_path=str(tmp_path / "2.ckpt"))
    assert [(group.step, group.kind, group.group) for group in after] == [
        (group.step, group.kind, group.group) for group in before
    ]
    assert [group for group in after if group.step <= 2] == [group for group in before if group.step <= 2]
    (tmp_path / "samples/train-000001.parquet").write_bytes(b"PAR1")
    with pytest.warns(UserWarning, match=r"train-000001.parquet: expected a complete file of groups, .*damaged-0"):
        again = run(tmp_path, GroupTable(), ckpt_path=str(tmp_path / "2.ckpt"))
    assert again == [group for group in before if group.step > 1]


def test_a_reader_finds_whole_files_while_the_run_goes_on(tmp_path: Path):
    found: list[list[int]] = []

    class Reader(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            found.append([group.step for group in read_samples(tmp_path) if group.kind == "train"])

    table = GroupTable(num_groups=1, keep=2)
    logger = CSVLogger(str(tmp_path), name="", version="")
    fit(module_of(), Rows(batch_size=2), callbacks=[table, Reader()], logger=logger, max_epochs=2)
    assert found == [[1], [1, 2], [1, 2], [1, 4]]


def test_a_disk_that_is_full_is_told_of_and_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet, "write_table", full)
    with pytest.warns(UserWarning, match="GroupTable keeps no more groups: .*No space left on device"):
        kept = run(tmp_path, GroupTable())
    assert not kept
    assert not [*(tmp_path / "samples").iterdir()]


def test_nothing_is_kept_where_nothing_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run(tmp_path, GroupTable(), logger=False)
    run(tmp_path, GroupTable(), logger=True, fast_dev_run=True)
    run(tmp_path, GroupTable(keep=0))
    assert not [*tmp_path.rglob("*.parquet")]


def test_tables_come_at_the_first_step_and_every_so_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run(tmp_path, GroupTable(show=True, every_n_steps=2, num_groups=1))
    told = [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("Step ")]
    assert told == [
        "Step 1, training, prompt 0",
        "Step 2, training, prompt 0",
        "Step 2, validation, prompt 0",
        "Step 4, training, prompt 0",
        "Step 4, validation, prompt 0",
    ]
    run(tmp_path, GroupTable())
    assert "training" not in capsys.readouterr().out


def test_a_terminal_that_has_gone_is_no_reason_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Gone(StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    kept = run(tmp_path, GroupTable(show=True, every_n_steps=1))
    assert kept


def test_tensorboard_gets_tables_if_asked(tmp_path: Path):
    logged: list[tuple[str, int]] = []
    logger = TensorBoardLogger(str(tmp_path), name="", version="")
    logger.experiment.add_text = lambda tag, text, step: logged.append((tag, step))
    run(tmp_path, GroupTable(every_n_steps=2), logger=logger)
    steps = [("samples/train", 1), ("samples/train", 2), ("samples/val", 2), ("samples/train", 4), ("samples/val", 4)]
    assert logged == steps
    run(tmp_path, GroupTable(log=False), logger=logger)
    assert logged == steps


def test_validate_alone(tmp_path: Path):
    logger = CSVLogger(str(tmp_path), name="", version="")
    trainer = make_trainer(callbacks=[GroupTable()], logger=logger)
    trainer.validate(module_of(), Rows(val_rows=ROWS), verbose=False)
    assert {(group.kind, group.step) for group in read_samples(tmp_path)} == {("val", 0)}


def test_a_module_whose_step_returns_something_else(tmp_path: Path):
    class Own(GFTLitModule):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx)["loss"]

    module = module_of()
    module.__class__ = Own
    assert {group.kind for group in run(tmp_path, GroupTable(), module=module)} == {"val"}


def test_two_of_them_are_refused():
    with pytest.raises(GFTValueError, match=r"`trainer.callbacks`: expected one GroupTable, got two; leave one out"):
        fit(make_module(), callbacks=[GroupTable(), GroupTable(keep=1, num_groups=1)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_groups": 0}, "`num_groups` of GroupTable: expected a whole number of at least 1, got 0"),
        ({"keep": -1}, "`keep` of GroupTable: expected a whole number of at least 0, got -1"),
        ({"keep": 1}, "`keep` of GroupTable: expected 0, or at least num_groups=2, got 1; raise it"),
        ({"every_n_steps": 0}, "`every_n_steps` of GroupTable: expected a whole number of at least 1, got 0"),
    ],
)
def test_numbers_out_of_range(options: dict[str, int], message: str):
    with pytest.raises(GFTValueError, match=message):
        GroupTable(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"show": "yes"}, "`show`: expected a bool, got 'yes'"),
        ({"log": "no"}, "`log`: expected a bool, got 'no'"),
        ({"responses": None}, "`responses` of GroupTable: .* best_and_worst or all, got None"),
        ({"num_groups": 0}, "got 0; keep=0 keeps none at all"),
        ({"keep": -1}, "got -1; 0 keeps none"),
        ({"every_n_steps": 0}, "got 0; log=False and show=False make no tables"),
    ],
)
def test_settings_of_another_kind_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises((TypeError, ValueError), match=message):
        GroupTable(**settings)
