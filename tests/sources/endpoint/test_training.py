"""A teacher that is asked live, within training, prediction and two ranks."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from torch.utils.data import DataLoader

from lightning_gft import (
    ChosenSource,
    GFTLitModule,
    GroupDataModule,
    GroupSampler,
    GroupWriter,
    HighestReward,
    PromptBatch,
    RewardAdvantage,
    SFTLoss,
    Source,
    StoredSource,
)
from tests.module.runs import DigitSum, Rows, fit, make_module, make_trainer, tiny_loader, weights
from tests.sources.endpoint.cases import source_of
from tests.sources.endpoint.servers import Body, FakeServer, completion, fails, serving
from tests.tiny import prompt_batch, tiny_policy
from tests.training.test_exchange import Recorder

PROMPTS = [f"{number}+1=" for number in range(6)]
ROWS = [{"prompt": prompt, "answer": "2"} for prompt in PROMPTS]


def digits(handler: Any, body: Body, number: int) -> None:
    """Answer with a few digits that follow from the seed."""
    handler.send(completion(str(body["seed"])[:4]))


def prompt_of(body: Body) -> str:
    return str(body["messages"][-1]["content"])


class Sampled(DigitSum):
    """Opens a gate once a step has sampled."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__()
        self.gate = gate

    def __call__(self, **texts: Any) -> Any:
        self.gate.set()
        return super().__call__(**texts)


class OnTime(Callback):
    """Lets the server answer while a step trains, and not while it samples, but for the first."""

    def __init__(self, server: FakeServer, num_responses: int) -> None:
        self.server, self.num_responses = server, num_responses
        self.open = threading.Event()
        self.open.set()
        self.answered: Counter[str] = Counter()
        self.arrived: list[set[str]] = []
        server.answer = self.answer

    def answer(self, handler: Any, body: Body, number: int) -> None:
        assert self.open.wait(120)
        digits(handler, body, number)
        self.answered[prompt_of(body)] += 1

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: PromptBatch, batch_idx: int) -> None:
        if batch_idx > 0:
            self.open.clear()
            assert [self.answered[prompt] for prompt in batch.prompts] == [self.num_responses] * len(batch)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: PromptBatch, batch_idx: int
    ) -> None:
        due = {*PROMPTS[: batch_idx + 3]}  # with those of the next two batches, asked for by another thread
        while not due <= (arrived := {prompt_of(body) for body in self.server.asked}):
            assert not threading.Event().wait(0.005)
        self.arrived.append(arrived)
        following = PROMPTS[batch_idx + 1 : batch_idx + 2]
        while following and self.answered[following[0]] < self.num_responses:
            assert not threading.Event().wait(0.005)


def test_a_step_waits_for_no_answer_that_was_asked_ahead(tmp_path: Path):
    with serving() as server:
        clock = OnTime(server, num_responses=2)
        source = source_of(server, tmp_path, num_responses=2, timeout=100.0)
        module = make_module(sources={"teacher": source}, reward=Sampled(clock.open))
        recorder = Recorder()
        fit(module, Rows(ROWS, batch_size=1), callbacks=[clock], logger=recorder, log_every_n_steps=1, max_epochs=2)
        # When a step ends the next two batches have been asked for, none is asked for twice, nor in the second epoch.
        assert clock.arrived[:4] == [{*PROMPTS[: step + 3]} for step in range(4)]
        assert Counter(map(prompt_of, server.asked)) == dict.fromkeys(PROMPTS, 2)
    rows = [row for row in recorder.rows if "train/loss" in row]
    assert sum(row["train/sources/teacher/requests"] for row in rows[:6]) == 12
    assert [row["train/sources/teacher/cached"] for row in rows] == [0] * 6 + [2] * 6
    assert [row["train/sources/teacher/replies"] for row in rows] == [2] * 12
    assert all("train/reward_by_source/teacher" in row for row in rows)


@pytest.mark.parametrize(
    ("settings", "asked"),
    [({"max_steps": 2}, 2), ({"limit_train_batches": 3}, 3), ({"max_steps": 3, "updates_per_batch": 2}, 2)],
)
def test_what_a_run_does_not_reach_is_not_asked_for(settings: dict[str, int], asked: int, tmp_path: Path):
    module_settings = {name: settings.pop(name) for name in ("updates_per_batch",) if name in settings}
    with serving(digits) as server:
        source = source_of(server, tmp_path, num_responses=2, ahead=4)
        fit(make_module(sources={"teacher": source}, **module_settings), Rows(ROWS, batch_size=1), **settings)
        assert {*map(prompt_of, server.asked)} == {*PROMPTS[:asked]}


def test_dynamic_sampling_asks_ahead_for_the_prompts_that_are_certain(tmp_path: Path):
    with serving(digits) as server:
        source = source_of(server, tmp_path, num_responses=2, ahead=1)
        sampler = GroupSampler(
            {"teacher": ChosenSource(source, 2, HighestReward())}, {"score": DigitSum()}, num_groups=1
        )
        module = make_module()
        module.sampler = sampler
        fit(module, Rows(ROWS, batch_size=3))
        # All groups differ, so that one prompt a batch is enough. Requests under way together arrive in any order.
        assert Counter(map(prompt_of, server.asked)) == {PROMPTS[0]: 2, PROMPTS[3]: 2}


def test_looking_ahead_changes_nothing(tmp_path: Path):
    trained = []
    for ahead in (0, 3):
        with serving(digits) as server:
            module = make_module(sources={"teacher": source_of(server, tmp_path, num_responses=2, ahead=ahead)})
            data = Rows(ROWS, batch_size=2)
            data.shuffle = True
            fit(module, data, max_epochs=2)
            trained.append(weights(module))
    torch.testing.assert_close(trained[0], trained[1], rtol=0, atol=0)


def test_dataloaders_of_others_do_without_looking_ahead(tmp_path: Path):
    module = make_module()
    batches = [prompt_batch(module.tokenizer, [prompt]) for prompt in PROMPTS[:3]]
    with serving(digits) as server:
        module.sampler = GroupSampler({"teacher": source_of(server, tmp_path, num_responses=2)}, {"score": DigitSum()})
        make_trainer().fit(module, DataLoader(batches, batch_size=None))
        assert [*dict.fromkeys(map(prompt_of, server.asked))] == PROMPTS[:3]


class NoModel(Callback):
    """Refuses every pass of the model."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        def refuse(*_: Any) -> None:
            raise AssertionError("the model runs")

        pl_module.configure_model()
        pl_module.policy.model.register_forward_pre_hook(refuse)


def test_predict_collects_a_teachers_texts_without_running_the_model(tmp_path: Path):
    with serving(digits) as server:
        source = source_of(server, tmp_path, num_responses=2, ahead=2)
        sampler = GroupSampler({"teacher": source}, {"score": DigitSum()})
        module = GFTLitModule(tiny_loader(), sampler, SFTLoss())
        given = make_trainer(callbacks=[NoModel()]).predict(module, datamodule=Rows(ROWS, batch_size=2))
        assert [prompt for groups in given for prompt in groups.prompts] == [p for p in PROMPTS for _ in range(2)]
        assert all((groups.source == Source.TEACHER).all() for groups in given)
        assert Counter(map(prompt_of, server.asked)) == dict.fromkeys(PROMPTS, 2)


def test_predict_looks_ahead(tmp_path: Path):
    several = threading.Barrier(3, timeout=60)  # three batches are under way together, or none is answered

    def waits(handler: Any, body: Body, number: int) -> None:
        several.wait()
        digits(handler, body, number)

    with serving(waits) as server:
        module = make_module(sources={"teacher": source_of(server, tmp_path, ahead=2)}, advantage=RewardAdvantage())
        given = make_trainer().predict(module, datamodule=Rows(ROWS, batch_size=1))
        assert len(given) == 6


def test_texts_collected_by_predict_are_trained_on_later(tmp_path: Path):
    def breaks_down(handler: Any, body: Body, number: int) -> None:
        if prompt_of(body) == PROMPTS[0]:
            handler.send(completion("12", "length"))  # a prompt without any demonstration
        elif prompt_of(body) == PROMPTS[4] and not mended.is_set():
            fails(500)(handler, body, number)
        else:
            digits(handler, body, number)

    def predict() -> None:
        source = source_of(server, tmp_path / "cache", num_responses=2, max_retries=0, ahead=0)
        module = make_module(sources={"teacher": source}, advantage=RewardAdvantage())
        make_trainer(callbacks=[GroupWriter(str(tmp_path / "groups"))]).predict(
            module, datamodule=Rows(ROWS, batch_size=1)
        )

    mended = threading.Event()
    with serving(breaks_down) as server:
        seed_everything(1, verbose=False)
        with pytest.raises(RuntimeError, match="500"):
            predict()
        mended.set()
        seed_everything(1, verbose=False)
        predict()
        answered = Counter(map(prompt_of, server.asked))
        assert {answered[prompt] for prompt in PROMPTS if prompt != PROMPTS[4]} == {2}
    data = GroupDataModule(str(tmp_path / "groups"), use_chat_template=False, batch_size=6, shuffle=False)
    data.tokenizer = tiny_loader().tokenizer
    data.setup("fit")
    (prompts,) = data.train_dataloader()
    stored = StoredSource("teacher", num_responses=2).respond(prompts, tiny_policy(), 0)
    assert [len(given) for given in stored] == [0, 2, 2, 2, 2, 2]
    decode = data.tokenizer.decode
    asked = {(prompt_of(body), str(body["seed"])[:4]) for body in server.asked}
    texts = {(prompt, decode(one.token_ids[:-1])) for prompt, of in zip(PROMPTS, stored, strict=True) for one in of}
    assert texts <= asked


def test_an_error_ends_the_run_and_what_is_under_way(tmp_path: Path):
    def fails_late(handler: Any, body: Body, number: int) -> None:
        (fails(500, "out of memory") if prompt_of(body) == PROMPTS[3] else digits)(handler, body, number)

    with serving(fails_late) as server:
        source = source_of(server, tmp_path, num_responses=2, max_retries=0)
        module = make_module(sources={"teacher": source})
        with pytest.raises(RuntimeError, match=r"`base_url` of EndpointSource: .*500: out of memory.*Replies received"):
            fit(module, Rows(ROWS, batch_size=1))
        assert module.global_step == 3  # it is raised at its turn
        assert source._asker is None
        assert not [thread for thread in threading.enumerate() if thread.name == "EndpointSource"]


def test_an_interrupt_while_a_step_waits(tmp_path: Path):
    released = threading.Event()

    def interrupts(handler: Any, body: Body, number: int) -> None:
        if number == 1:  # a second one, for a request that was sent ahead, would end the tests
            os.kill(os.getpid(), signal.SIGINT)
        released.wait(60)

    with serving(interrupts) as server:
        module = make_module(sources={"teacher": source_of(server, tmp_path)}, advantage=RewardAdvantage())
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            fit(module, Rows(ROWS, batch_size=1))
        assert not [thread for thread in threading.enumerate() if thread.name == "EndpointSource"]
        released.set()
