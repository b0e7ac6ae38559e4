"""Real trainings that go wrong in one way each: the rule for it speaks, and the run says why."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.optim import AdamW

from lightning_gft import (
    Advice,
    DistillationLoss,
    Evaluation,
    ExpertSource,
    GFTLitModule,
    GRPOLoss,
    Reward,
    RewardAdvantage,
    SelfSource,
    SFTLoss,
    Teacher,
)
from lightning_gft.cli import main
from tests.callbacks.advice.test_advice import WORTHLESS, advised
from tests.cli.command import GFT, SMALL
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, Rows, fit, make_module, sgd
from tests.module.test_guards import ExplodesAt


class Seeing(Teacher):
    """Judges no prompt."""

    def logprobs(self, prompts: Any, responses: Any, policy: Any, seed: int) -> Any:
        return [None] * len(prompts)


class Scores(Reward):
    """Scores by a function of the number of its calls, and logs given figures."""

    def __init__(self, score: Callable[[int, int], list[float]], counts: dict[str, float] | None = None) -> None:
        super().__init__()
        self.score, self.counts, self.asked = score, counts or {}, 0

    def __call__(self, *, prompts: Any, responses: Any, references: Any, **columns: Any) -> Tensor:
        self.asked += 1
        return torch.tensor(self.score(self.asked, len(responses)))

    def compute(self) -> dict[str, Any]:
        return dict(self.counts)


class OffByOne(GFTLitModule):
    """Trains another policy than the one that has drawn the samples."""

    def configure_model(self) -> None:
        super().configure_model()
        drawn = self.policy.engine.generate

        def generate(*args: Any, **kwargs: Any) -> Any:
            responses = drawn(*args, **kwargs)
            for response in (response for of_prompt in responses for response in of_prompt):
                response.logprobs[:] = [value - 0.5 for value in response.logprobs]
            return responses

        self.policy.engine.generate = generate  # type: ignore[method-assign]


def always(score: float) -> Scores:
    return Scores(lambda _, number: [score] * number)


def adam(lr: float) -> Any:
    return partial(AdamW, lr=lr)


SELF = {"self": SelfSource(4, max_new_tokens=6)}
NOISE = Scores(lambda asked, number: torch.rand(number, generator=torch.Generator().manual_seed(asked)).tolist())
MADE: dict[str, tuple[int, dict[str, Any]]] = {
    "still_weights": (4, {"optimizer": sgd(1e-9)}),
    "large_steps": (4, {"optimizer": adam(3.0)}),
    "skipped_updates": (4, {"loss": ExplodesAt({1}, torch.nan)}),
    "gradient_spikes": (
        75,
        {
            "reward": Scores(lambda asked, number: [1e3 if asked > 60 and asked % 3 == 0 else 1.0] * number),
            "advantage": RewardAdvantage(),
            "optimizer": sgd(1e-12),
        },
    ),
    "negative_weight": (21, {"reward": always(-1.0), "advantage": RewardAdvantage(), "optimizer": sgd(1e-6)}),
    "scoring_fails": (11, {"reward": Scores(lambda _, number: [0.0, 1.0] * (number // 2), {"timeouts": 1})}),
    "equal_groups": (21, {"reward": always(1.0)}),
    "cut_off": (11, {"sources": {"self": SelfSource(4, max_new_tokens=1)}}),
    "duplicates": (21, {"sources": {"self": SelfSource(8, max_new_tokens=3, temperature=1e-3)}, "reward": NOISE}),
    "unjudged_samples": (
        6,
        {"sources": {"self": SelfSource(4, max_new_tokens=6, teacher=Seeing())}, "loss": DistillationLoss()},
    ),
    "sampling_mismatch": (6, {"sources": SELF, "kind": OffByOne}),
    "clipped_tokens": (
        11,
        {
            "sources": SELF,
            "reward": NOISE,
            "loss": GRPOLoss(epsilon=1e-6),
            "optimizer": adam(0.01),
            "updates_per_batch": 8,
        },
    ),
    "entropy_collapse": (
        60,
        {"sources": {"expert": ExpertSource()}, "loss": SFTLoss(), "optimizer": adam(0.01)},
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (steps > 50)) for name, (steps, _) in MADE.items()]
)
def test_a_training_that_goes_wrong(name):
    steps, settings = MADE[name]
    kind = settings.get("kind", GFTLitModule)
    module = make_module(**{key: value for key, value in settings.items() if key != "kind"})
    module.__class__ = kind
    updates = module.updates_per_batch
    fit(module, callbacks=[advice := Advice()], max_steps=steps * updates, max_epochs=-1, log_every_n_steps=1)
    assert name in {line.name for line in advice.lines}, [said.text for said in advice.lines]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rate"), [("flat_reward", 1e-5), ("reward_fell", 0.03)])
def test_a_reward_that_does_not_rise(name, rate):
    # Rewards differ within a group, if rarely after the fall: batches without any gradient would end the run.
    falls = Scores(
        lambda asked, number: [float(i % 2 == asked % 2 if asked <= 25 else asked % 4 == i) for i in range(number)]
    )
    score = falls if name == "reward_fell" else NOISE
    module = make_module(sources=SELF, reward=score, optimizer=sgd(rate))
    fit(
        module,
        callbacks=[advice := Advice(ignore=["cut_off", "equal_groups", "large_steps"])],
        max_steps=110,
        max_epochs=-1,
    )
    assert name in {line.name for line in advice.lines}


class Spoils(Callback):
    """Lets all responses be wrong after the first validation."""

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.sampler.rewards["score"].score = lambda asked, number: [0.0] * number


def test_accuracy_that_falls():
    module = make_module(reward=always(1.0), evaluation=Evaluation(num_samples=2, max_new_tokens=2, kl=False))
    settings = {"max_steps": 3, "max_epochs": -1, "val_check_interval": 1}
    fit(module, Rows(val_rows=ROWS), callbacks=[advice := Advice(), Spoils()], **settings)
    assert "accuracy_fell" in {line.name for line in advice.lines}


def advise(rank: int, folder: str, stop: bool) -> tuple[list[Any], int]:
    """Train on two ranks of which one alone has a log, and return what is said and the steps taken."""
    logger = CSVLogger(folder, name="", version="run")
    settings = {"max_steps": 8, "max_epochs": -1, "devices": 2, "strategy": "ddp", "log_every_n_steps": 1}
    trainer = fit(
        make_module(), Rows(WORTHLESS, batch_size=2), callbacks=[advice := Advice(stop=stop)], logger=logger, **settings
    )
    return [tuple(said) for said in advice.lines], trainer.global_step


@pytest.mark.slow
@pytest.mark.parametrize("stop", [False, True])
def test_two_ranks_say_the_same_and_stop_together(stop, tmp_path):
    first, second = run_two_processes(advise, str(tmp_path), stop)
    assert first == second
    said, steps = first
    assert steps == (5 if stop else 8)
    assert [row["name"] for row in advised(tmp_path / "run")] == [name for _, name, *_ in said]
    assert "teacher_scores_zero" in [name for _, name, *_ in said]


def test_the_command_line_advises_unless_its_configuration_says_how(tmp_path, capsys):
    given = "{class_path: lightning_gft.Advice, init_args: {stop: [expert_scores_zero]}}"
    overlay = tmp_path / "stop.yaml"
    overlay.write_text(f"trainer: {{callbacks: [{given}]}}")
    wrong = (
        "--model.sampler.rewards.accuracy.marker=nowhere",
        "--trainer.max_steps=7",
        "--trainer.val_check_interval=7",
    )
    for name, own in (("default", ()), ("stop", ("--config", str(overlay)))):
        main(["fit", "--config", GFT, *own, *SMALL, *wrong, f"--trainer.default_root_dir={tmp_path / name}"])
        shown = capsys.readouterr().err
        assert shown.count("Advice at step 5 (expert_scores_zero)") == 1
        assert ("the run ends here" in shown) == (name == "stop")
        (folder,) = (tmp_path / name / "lightning_logs").iterdir()
        assert "expert_scores_zero" in {row["name"] for row in advised(Path(folder))}
