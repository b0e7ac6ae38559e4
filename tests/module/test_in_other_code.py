"""The module in other people's code: their subclasses, callbacks, batches and notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback, SpikeDetection
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LambdaLR

from lightning_gft import Evaluation, GFTLitModule, GroupBatch, GroupSampler, TeacherSource
from lightning_gft.losses import GFTLoss
from tests.module.runs import ROWS, DigitSum, Rows, fit, fresh_weights, make_module, make_trainer, sgd, weights
from tests.tiny import tiny_loader

SHORT = Evaluation(num_samples=2, max_new_tokens=4, kl=False)


def own(kind: type[GFTLitModule], **settings: Any) -> Any:
    """Return a module of a subclass, as ``make_module`` does."""
    sampler = GroupSampler({"teacher": TeacherSource(4)}, {"score": DigitSum()})
    defaults = {"optimizer": sgd(), "evaluation": SHORT, "gradient_clip_val": 1.0}
    return kind(tiny_loader(), sampler, GFTLoss(), **{**defaults, **settings})


# Hooks


class Hooked(GFTLitModule):
    """Overrides every hook of an update, each doing what it does in Lightning's documentation."""

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.called: list[str] = []

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        self.called.append(f"optimizer_step {epoch} {batch_idx}")
        optimizer.param_groups[0]["lr"] = 0.5
        optimizer.step(closure=optimizer_closure)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        self.called.append(f"lr_scheduler_step {metric}")
        scheduler.step()

    def configure_gradient_clipping(self, *arguments: Any) -> None:
        self.called.append(f"configure_gradient_clipping {arguments[1:]}")
        self.clip_gradients(arguments[0], gradient_clip_val=0.01, gradient_clip_algorithm="norm")

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        self.called.append("optimizer_zero_grad")
        optimizer.zero_grad()

    def on_before_zero_grad(self, optimizer: Any) -> None:
        self.called.append("on_before_zero_grad")

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.called.append("on_before_optimizer_step")


class Hooks(Callback):
    """Remembers the hooks of an update."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def on_before_zero_grad(self, *_: Any) -> None:
        self.called.append("on_before_zero_grad")

    def on_before_backward(self, *_: Any) -> None:
        self.called.append("on_before_backward")

    def on_after_backward(self, *_: Any) -> None:
        self.called.append("on_after_backward")

    def on_before_optimizer_step(self, *_: Any) -> None:
        self.called.append("on_before_optimizer_step")


def test_overridden_hooks_of_an_update_are_called():
    module, hooks = own(Hooked, lr_scheduler=lambda optimizer: LambdaLR(optimizer, lambda step: 1.0)), Hooks()
    trainer = fit(module, precision="64-true", callbacks=[hooks])
    assert module.called == [
        "on_before_zero_grad",
        "optimizer_zero_grad",
        "configure_gradient_clipping (1.0, 'norm')",
        "optimizer_step 0 0",
        "on_before_optimizer_step",
        "lr_scheduler_step None",
    ]
    assert hooks.called == [
        *("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step"),
    ]
    start = fresh_weights(module)
    change = sum((value - start[name]).square().sum() for name, value in weights(module).items()).sqrt()
    assert change.item() == pytest.approx(0.5 * 0.01, rel=1e-3)  # the hooks' learning rate and limit
    assert trainer.callback_metrics["train/grad_norm"] > 0.02  # from before clipping
    assert trainer.global_step == 1


class Outputs(Callback):
    """Remembers what a step returned."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.seen = outputs


def test_a_step_returns_loss_and_groups():
    outputs, module = Outputs(), make_module()
    trainer = fit(module, callbacks=[outputs, SpikeDetection()])
    assert outputs.seen["loss"] == trainer.callback_metrics["train/loss"]
    assert not outputs.seen["loss"].requires_grad
    assert isinstance(outputs.seen["groups"], GroupBatch)
    assert torch.equal(outputs.seen["groups"].rewards, module.sampler.made[0].rewards)


# Batches


class Dictionaries(LightningDataModule):
    """Gives batches that are dictionaries, as most datamodules of others."""

    def _loader(self) -> Any:
        return torch.utils.data.DataLoader([{"prompt": "1+1="}])

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = _loader


@pytest.mark.parametrize(
    ("run", "stage"),
    [("fit", "training"), ("validate", "evaluation"), ("test", "evaluation"), ("predict", "prediction")],
)
def test_batches_of_others_are_refused_alike(run: str, stage: str):
    with pytest.raises(TypeError, match=rf"a batch of {stage}`: expected a PromptBatch.*\{{'prompt': \['1\+1='\]\}}"):
        getattr(make_trainer(), run)(own(GFTLitModule), datamodule=Dictionaries())


# Checkpoints


def parts() -> dict[str, Any]:
    sampler = GroupSampler({"teacher": TeacherSource(4)}, {"score": DigitSum()})
    return {"policy": tiny_loader(), "sampler": sampler, "loss": GFTLoss(), "evaluation": SHORT}


def test_load_from_checkpoint(tmp_path: Path):
    trained = own(GFTLitModule)
    fit(trained).save_checkpoint(tmp_path / "last.ckpt")
    loaded = GFTLitModule.load_from_checkpoint(tmp_path / "last.ckpt", **parts())
    torch.testing.assert_close(weights(loaded), weights(trained), rtol=0, atol=0)
    (figures,) = make_trainer().validate(loaded, datamodule=Rows(val_rows=ROWS), verbose=False)
    (expected,) = make_trainer().validate(trained, datamodule=Rows(val_rows=ROWS), verbose=False)
    assert figures == expected
    with pytest.raises(TypeError, match=r"load_from_checkpoint: expected .* got \[\] \(missing .* 'policy'\)"):
        GFTLitModule.load_from_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'strict'"):
        GFTLitModule.load_from_checkpoint(tmp_path / "last.ckpt", strict=True, **parts())


def test_load_from_checkpoint_of_a_subclass(tmp_path: Path):
    class Passing(GFTLitModule):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    fit(own(Passing)).save_checkpoint(tmp_path / "last.ckpt")
    assert isinstance(Passing.load_from_checkpoint(tmp_path / "last.ckpt", **parts()), Passing)


def test_load_from_checkpoint_refuses_other_parts(tmp_path: Path):
    fit(own(GFTLitModule)).save_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match="the checkpoint: expected one of this run"):
        GFTLitModule.load_from_checkpoint(tmp_path / "last.ckpt", **{**parts(), "policy": tiny_loader("gpt2")})


# Optimizers


def nothing(parameters: Any) -> Any:
    return SGD([torch.zeros(1, requires_grad=True)], lr=0.1)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (sgd(-1.0), r"`model.optimizer`: Invalid learning rate: -1.0"),
        (sgd(float("nan")), r"`model.optimizer.lr`: expected a finite number, got nan"),
        (sgd(float("inf")), r"`model.optimizer.lr`: expected a finite number, got inf"),
        (
            lambda weights: AdamW(weights, lr=0.1, weight_decay=-1.0),
            r"`model.optimizer`: Invalid weight_decay",
        ),
        (lambda weights: AdamW(weights, lr=0.1, foo=1), r"`model.optimizer`: .*unexpected keyword argument 'foo'"),
        (nothing, r"`model.optimizer`: expected an optimizer of the \d+ trainable weights, got a SGD that has none"),
        (lambda weights: None, r"`model.optimizer`: expected an optimizer of the trainable weights, got None"),
    ],
)
def test_errors_of_the_optimizer_say_whose_they_are(optimizer: Any, message: str):
    with pytest.raises((TypeError, ValueError), match=message):
        fit(make_module(optimizer=optimizer))


def test_an_optimizer_of_some_weights_is_told():
    with pytest.warns(UserWarning, match=r"`model.optimizer`: \d+ of \d+ trainable weights are not in the SGD"):
        fit(make_module(optimizer=lambda weights: SGD(list(weights)[:1], lr=0.1)))


def test_a_policy_of_which_nothing_trains_is_refused():
    class Frozen(GFTLitModule):
        def configure_model(self) -> None:
            super().configure_model()
            self.policy.requires_grad_(False)

    with pytest.raises(ValueError, match=r"`model.optimizer`: expected trainable weights, got .* model.policy.lora"):
        fit(own(Frozen))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda weights: None, "`configure_optimizers`: expected an optimizer of the .*Mock"),
        (lambda weights: [SGD(weights, lr=0.1), SGD(weights, lr=0.1)], "expected one optimizer .*got 2 and 0"),
        (nothing, "`configure_optimizers`: expected an optimizer of the"),
    ],
)
def test_other_optimizers_of_a_subclass_are_refused(made: Any, message: str):
    class Other(GFTLitModule):
        def configure_optimizers(self) -> Any:
            return made(list(self.parameters()))

    with pytest.raises(ValueError, match=message):
        fit(own(Other))


def test_an_optimizer_of_a_subclass_trains():
    class Other(GFTLitModule):
        def configure_optimizers(self) -> Any:
            return SGD(self.parameters(), lr=0.1)

    module, plain = own(Other), own(GFTLitModule)
    fit(module)
    fit(plain)
    torch.testing.assert_close(weights(module), weights(plain), rtol=0, atol=0)


# Notebooks


@pytest.fixture
def short_run() -> Any:
    return lambda **settings: make_trainer(max_epochs=1, max_steps=-1, **settings)


def test_a_module_is_trained_measured_and_trained_again(short_run: Any):
    module, data = own(GFTLitModule), Rows(val_rows=ROWS)
    torch.manual_seed(0)
    seen = []
    for _ in range(2):
        trainer: Trainer = short_run()
        trainer.fit(module, datamodule=data)
        assert trainer.global_step == 1
        seen.append(weights(module))
        trainer.validate(module, datamodule=data, verbose=False)
    whole = own(GFTLitModule)
    torch.manual_seed(0)
    trainer = short_run(num_sanity_val_steps=0, limit_val_batches=0)
    trainer.fit(whole, datamodule=data)
    torch.testing.assert_close(weights(whole), seen[0], rtol=0, atol=0)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(whole, datamodule=data)  # the same trainer continues
    torch.testing.assert_close(weights(whole), seen[1], rtol=0, atol=0)


def test_predict_returns_groups_on_the_cpu(short_run: Any):
    class Prompts(Rows):
        def predict_dataloader(self) -> Any:
            return self.train_dataloader()

    groups = short_run().predict(own(GFTLitModule), datamodule=Prompts())
    assert sum(len(batch.rewards) for batch in groups) == 16
    assert groups[0].input_ids.device.type == "cpu"


def test_a_deterministic_run_and_a_short_one_that_logs_rarely():
    module = own(GFTLitModule)
    trainer = fit(module, deterministic=True, log_every_n_steps=50)
    torch.use_deterministic_algorithms(False)
    assert trainer.callback_metrics["train/loss"].isfinite()
