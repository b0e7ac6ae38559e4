"""What a checkpoint holds, which run it belongs to, and that a run resumes from it as if never stopped."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    SequentialLR,
    StepLR,
)

from lightning_gft import Evaluation, GFTLitModule, ScratchPolicy
from lightning_gft.checkpoint import AtomicCheckpointIO
from lightning_gft.checkpoint.frozen import FrozenWeights, digest
from lightning_gft.checkpoint.settings import setting_differences
from tests.conftest import quick
from tests.module.runs import ROWS, Rows, fit, make_module, make_trainer, sgd, weights
from tests.tiny import ALPHABET, tiny_loader


def adamw(**settings: Any) -> Any:
    return lambda parameters: AdamW(parameters, **{"lr": 0.01, **settings})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of a run of two updates."""
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    schedule = {"lr_scheduler": lambda optimizer: CosineAnnealingLR(optimizer, T_max=10)}
    fit(make_module(optimizer=adamw(), **schedule), max_epochs=2).save_checkpoint(path)
    return path


def go_on(path: Path, **settings: Any) -> GFTLitModule:
    module = make_module(**{"optimizer": adamw(), **settings})
    fit(module, ckpt_path=str(path), max_epochs=3)
    return module


def test_frozen_weights_are_not_in_it(checkpoint: Path):
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    module = make_module()
    module.configure_model()
    assert any("reference_model" in name for name in module.state_dict())
    assert {name for name in module.state_dict() if "reference_model" not in name} == set(state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"policy": tiny_loader(intermediate_size=64)},
            r"gate_proj.weight is \[48, 32\] in the checkpoint and \[64, 32\] in this run \(and ",
        ),
        ({"policy": tiny_loader(num_hidden_layers=3)}, r"layers\.2.* is only in this run \(and \d+ more\)"),
        ({"policy": tiny_loader(num_hidden_layers=1)}, r"layers\.1.* is only in the checkpoint \(and"),
        (
            {"policy": ScratchPolicy(ALPHABET[::-1], config={"hidden_size": 32, "num_hidden_layers": 2})},
            r"tokenizer is TokenizersBackend of 33 tokens \(\w+\) in the checkpoint and .* in this run",
        ),
        (
            {"optimizer": lambda parameters: SGD(parameters, lr=0.1)},
            r"`model\.optimizer`: expected torch\.optim\..*AdamW, .*got .*SGD;",
        ),
    ],
)
def test_it_is_refused_where_it_does_not_belong(settings: dict[str, Any], message: str, checkpoint: Path):
    with pytest.raises(ValueError, match=message):
        go_on(checkpoint, **settings)


def test_another_reference_is_refused(checkpoint: Path):
    with pytest.raises(ValueError, match=r"policy\.reference_model\..*, which is not trained, has other values"):
        fit(make_module(optimizer=adamw()), ckpt_path=str(checkpoint), seed=1)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, checkpoint: Path):
    content = torch.load(checkpoint, weights_only=True)
    del content["lightning_gft"]
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="expected one that GFTLitModule wrote, got another module's"):
        go_on(tmp_path / "other.ckpt")


def test_frozen_weights_that_were_trained_before_are_kept(tmp_path: Path):
    module = make_module(evaluation=Evaluation(max_new_tokens=16, kl=False))
    trainer = fit(module)
    for parameter in module.policy.parameters():
        parameter.requires_grad_(False)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    assert set(torch.load(tmp_path / "end.ckpt", weights_only=True)["state_dict"]) == set(module.state_dict())


SCHEDULES: dict[str, Any] = {
    "LambdaLR": lambda optimizer: LambdaLR(optimizer, lambda step: 0.9**step),
    "StepLR": lambda optimizer: StepLR(optimizer, 2, gamma=0.5),
    "MultiStepLR": lambda optimizer: MultiStepLR(optimizer, [1, 3], gamma=0.5),
    "CosineAnnealingLR": lambda optimizer: CosineAnnealingLR(optimizer, T_max=10),
    "CosineAnnealingWarmRestarts": lambda optimizer: CosineAnnealingWarmRestarts(optimizer, T_0=3),
    "OneCycleLR": lambda optimizer: OneCycleLR(optimizer, max_lr=0.1, total_steps=10),
    "SequentialLR": lambda optimizer: SequentialLR(
        optimizer, [LinearLR(optimizer, 0.1, total_iters=2), CosineAnnealingLR(optimizer, 8)], milestones=[2]
    ),
}
OTHERS: dict[str, Any] = {
    "StepLR": lambda optimizer: StepLR(optimizer, 3, gamma=0.5),
    "MultiStepLR": lambda optimizer: MultiStepLR(optimizer, [100], gamma=0.5),
    "CosineAnnealingLR": lambda optimizer: CosineAnnealingLR(optimizer, T_max=20),
    "CosineAnnealingWarmRestarts": lambda optimizer: CosineAnnealingWarmRestarts(optimizer, T_0=5),
    "OneCycleLR": lambda optimizer: OneCycleLR(optimizer, max_lr=0.1, total_steps=20),
    "SequentialLR": lambda optimizer: SequentialLR(
        optimizer, [LinearLR(optimizer, 0.1, total_iters=4), CosineAnnealingLR(optimizer, 8)], milestones=[4]
    ),
}


def rates(make: Any, lr: float, num_steps: int) -> list[float]:
    """Return the rates of a schedule that was there from the beginning, by torch alone."""
    optimizer = AdamW([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make(optimizer)
    seen = []
    for _ in range(num_steps):
        optimizer.step()
        scheduler.step()
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


def rate_after(path: Path, make: Any, lr: float) -> float:
    module = go_on(path, optimizer=adamw(lr=lr), lr_scheduler=make)
    rate: float = module.trainer.optimizers[0].param_groups[0]["lr"]
    return rate


@pytest.mark.filterwarnings("ignore:.*epoch parameter", "ignore:Detected call of")
@pytest.mark.parametrize("name", quick(SCHEDULES, "CosineAnnealingLR", "SequentialLR"))
def test_schedules_go_on_and_what_is_configured_wins(name: str, tmp_path: Path):
    path, make = tmp_path / "last.ckpt", SCHEDULES[name]
    fit(make_module(optimizer=adamw(), lr_scheduler=make), max_epochs=2).save_checkpoint(path)
    assert rate_after(path, make, lr=0.01) == rates(make, 0.01, 3)[-1]
    assert rate_after(path, make, lr=0.04) == pytest.approx(rates(make, 0.04, 3)[-1])
    if name in OTHERS:
        assert rate_after(path, OTHERS[name], lr=0.01) == pytest.approx(rates(OTHERS[name], 0.01, 3)[-1])


def test_other_settings_of_the_optimizer_win(checkpoint: Path):
    changed = go_on(checkpoint, optimizer=adamw(weight_decay=0.5, betas=(0.8, 0.9)), lr_scheduler=SCHEDULES["StepLR"])
    group = changed.trainer.optimizers[0].param_groups[0]
    assert (group["weight_decay"], group["betas"]) == (0.5, (0.8, 0.9))


def test_a_schedule_may_begin_or_end_on_the_way(checkpoint: Path, tmp_path: Path):
    without = go_on(checkpoint, optimizer=adamw(lr=0.03))
    assert without.trainer.optimizers[0].param_groups[0]["lr"] == 0.03
    fit(make_module(optimizer=adamw()), max_epochs=2).save_checkpoint(tmp_path / "flat.ckpt")
    halve = {"lr_scheduler": lambda optimizer: LambdaLR(optimizer, lambda step: 0.5**step)}
    begun = go_on(tmp_path / "flat.ckpt", optimizer=adamw(lr=0.04), **halve)
    assert begun.trainer.optimizers[0].param_groups[0]["lr"] == 0.02


def test_new_settings_are_told():
    before = {"loss": {"threshold": 0.7}, "lr": 0.1, "_class_path": "a"}
    now = {"loss": {"threshold": 0.5}, "seed": 1, "_class_path": "b"}
    assert setting_differences(before, now) == [
        "loss.threshold=0.5 (was 0.7)",
        "lr=None (was 0.1)",
        "seed=1 (was None)",
    ]


def test_settings_of_the_command_line_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    from lightning_gft.cli import main
    from tests.cli.command import GFT, SMALL

    run = ["fit", "--config", GFT, f"--trainer.default_root_dir={tmp_path}", *SMALL]
    main([*run, "--trainer.enable_checkpointing=true"])
    (path,) = tmp_path.rglob("*.ckpt")
    with caplog.at_level(logging.INFO, "lightning.pytorch.utilities.rank_zero"):
        main([*run, f"--ckpt_path={path}", "--model.loss.rectifier.threshold=0.5", "--trainer.max_steps=3"])
    told = [record.message for record in caplog.records if "Resuming with" in record.message]
    assert told == ["Resuming with model.loss.init_args.rectifier.init_args.threshold=0.5 (was 0.1)"]


@pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization", "ignore:Be aware that when using")
def test_dropout_is_drawn_alike_after_a_stop(tmp_path: Path):
    def module() -> GFTLitModule:
        return make_module(policy=tiny_loader("gpt2", attn_pdrop=0.2, resid_pdrop=0.2), updates_per_batch=2)

    data = Rows(ROWS, batch_size=1)
    whole = module()
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=2, save_top_k=-1)
    fit(whole, data, callbacks=[keep], enable_checkpointing=True)
    resumed = module()
    fit(resumed, data, ckpt_path=str(tmp_path / "step=4.ckpt"))
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)
    without = make_module(policy=tiny_loader("gpt2"), updates_per_batch=2)
    fit(without, data)
    assert not torch.equal(*(weights(m)["transformer.wte.weight"] for m in (without, whole)))


def test_an_unfinished_checkpoint_never_bears_the_name(tmp_path: Path):
    class Unpicklable:
        def __reduce__(self) -> Any:
            raise MemoryError

    path, io = tmp_path / "folder/last.ckpt", AtomicCheckpointIO()
    io.save_checkpoint({"step": 1}, path)
    with pytest.raises(MemoryError):
        io.save_checkpoint({"step": 2, "large": Unpicklable()}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [file.name for file in path.parent.glob("*.ckpt")] == ["last.ckpt"]


def test_a_module_without_a_run_loads_its_checkpoint(checkpoint: Path):
    torch.manual_seed(0)
    module = GFTLitModule.load_from_checkpoint(
        checkpoint, policy=tiny_loader(), sampler=make_module().sampler, loss=make_module().loss
    )
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert torch.equal(module.policy.model.lm_head.weight, saved["policy.model.lm_head.weight"])


def test_what_was_counted_goes_on(tmp_path: Path):
    module = make_module()
    module.guard.check_gradient(finite=False)
    fit(module).save_checkpoint(tmp_path / "last.ckpt")
    later = go_on(tmp_path / "last.ckpt", optimizer=sgd())
    assert later.guard.nonfinite_updates == 1
    assert later.trainer.callback_metrics["train/nonfinite_updates"] == 1


def test_a_new_run_may_begin_with_a_loaded_module(checkpoint: Path):
    torch.manual_seed(0)
    module = make_module(optimizer=adamw())
    fit(module, ckpt_path=str(checkpoint), max_epochs=3)
    chosen = module.run.optimizer
    chosen.choice = replace(chosen.choice, optimizer=lambda parameters: SGD(parameters, lr=0.1))
    make_trainer(max_epochs=1).fit(module, Rows())
    assert isinstance(module.trainer.optimizers[0], SGD)


def test_a_weight_that_trains_after_all_is_kept():
    module = torch.nn.Sequential(torch.nn.Embedding(1000, 4).requires_grad_(False), torch.nn.Linear(4, 4))
    frozen = FrozenWeights(module)
    module[0].requires_grad_(True)
    state = module.state_dict()
    assert frozen.take_out(state, module) == {}
    module[0].requires_grad_(False)
    with torch.no_grad():
        module[0].weight[501, 2] += 0.01
    state = module.state_dict()
    assert frozen.take_out(state, module) == {}
    assert "0.weight" in state


def test_a_digest_outlasts_a_change_of_data_type_and_nothing_else():
    weight = torch.randn(300, 70, generator=torch.Generator().manual_seed(0))
    assert digest(weight) == digest(weight.double()) == digest(weight.bfloat16())
    for other in (weight.t(), weight.flatten(), weight.flip(0), weight + 0.1 * (torch.arange(300) == 150)[:, None]):
        assert digest(other) != digest(weight)


def test_the_middle_of_an_epoch_of_other_batches_is_no_place_to_go_on(tmp_path: Path):
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    fit(make_module(), Rows(ROWS, batch_size=1), callbacks=[keep], enable_checkpointing=True)
    fit(make_module(), Rows(ROWS, batch_size=2), ckpt_path=str(tmp_path / "step=4.ckpt"), max_epochs=2)
    with pytest.raises(ValueError, match=r"in the middle of an epoch, got: .*prompts_a_step was 1 and is 2"):
        fit(make_module(), Rows(ROWS, batch_size=2), ckpt_path=str(tmp_path / "step=2.ckpt"))
