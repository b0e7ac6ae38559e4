"""Adapters and quantised weights through the real command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

import lightning_gft
from lightning_gft import extras
from lightning_gft.cli import GFTCLI, main
from tests.cli.command import GFT, SMALL, column, logged, printed_config, refused

slow = pytest.mark.slow
MODEL = Path(lightning_gft.__file__).parent / "arithmetic/assets/arithmetic"
LORA = """
model:
  policy:
    class_path: lightning_gft.PretrainedPolicy
    init_args:
      model_name_or_path: {model}
      lora: {{r: 8, alpha: 16}}
"""
QLORA = LORA + "      quantization: {{bits: 4, quant_type: nf4}}\n"


@pytest.fixture(params=["lora", "qlora"])
def overlay(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "overlay.yaml"
    path.write_text({"lora": LORA, "qlora": QLORA}[request.param].format(model=MODEL))
    return str(path)


@pytest.mark.parametrize("overlay", ["lora", pytest.param("qlora", marks=slow)], indirect=True)  # 4 bits run below, too
def test_fit(overlay: str, tmp_path: Path):
    main(["fit", "--config", GFT, "--config", overlay, f"--trainer.default_root_dir={tmp_path}", *SMALL])
    rows = logged(tmp_path)
    assert all(norm > 0 for norm in column(rows, "train/grad_norm"))
    tolerance = 0.01 if "quantization" in Path(overlay).read_text() else 1e-4
    assert all(difference < tolerance for difference in column(rows, "train/sampling/logprob_difference"))
    assert 0 < column(rows, "val/kl")[0] < 1e-3  # to the model without adapters, after two small steps


@pytest.mark.parametrize("overlay", ["lora"], indirect=True)
def test_overrides_reach_the_adapter(overlay: str, capsys: pytest.CaptureFixture[str]):
    config = printed_config(capsys, "--config", GFT, "--config", overlay, "--model.policy.lora.r=4")
    settings = config["model"]["policy"]["init_args"]
    assert (settings["lora"]["r"], settings["lora"]["alpha"], settings["lora"]["target_modules"]) == (
        4,
        16,
        "all-linear",
    )


def test_embedded_policy_takes_adapters(tmp_path: Path):
    main(["fit", "--config", GFT, "--model.policy.lora.r=4", f"--trainer.default_root_dir={tmp_path}", *SMALL])
    assert column(logged(tmp_path), "train/sampling/logprob_difference")[0] < 1e-4


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "--model.policy.lora.rank=4",
            "error: `model.policy.lora.rank`: expected an argument of LoRA, got an unknown one; it has r, alpha, ",
        ),
        ("--model.policy.head_in_fp32=true", "of PretrainedPolicy, got an unknown one; did you mean `fp32_head`?"),
        (
            "--model.policy.quantization=4bit",
            "error: `model.policy.quantization`: expected a Quantization or null, got '4bit'",
        ),
        ("--model.policy.lora.r=0", "error: `model.policy.lora.r`: expected a whole number of at least 1, got 0"),
        (
            "--model.policy.quantization.bits=3",
            "error: `model.policy.quantization.bits`: expected 4 or 8, got 3",
        ),
        (
            "--model.optimizer.weight_decai=1",
            "error: `model.optimizer.weight_decai`: expected an argument of AdamW, got an unknown one; did you mean "
            "`weight_decay`?",
        ),
        ("--model.optimizer=bitsandbytes.optim.PagedAdamW8bi", "did you mean PagedAdamW8bit?"),
    ],
)
@pytest.mark.parametrize("overlay", ["qlora"], indirect=True)
def test_bad_settings_are_refused(argument: str, message: str, overlay: str, capsys: pytest.CaptureFixture[str]):
    assert message in refused(capsys, "fit", "--config", GFT, "--config", overlay, argument)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("lr=-1", "Invalid learning rate: -1.0"),
        pytest.param("amsgrad=true", "does not support amsgrad", marks=slow),
        pytest.param("optim_bits=7", "8bit", marks=slow),
    ],
)
@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
def test_what_an_optimizer_of_bitsandbytes_refuses(
    setting: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    name, value = setting.split("=")
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(
        LORA.format(model=MODEL) + "  optimizer: {class_path: bitsandbytes.optim.PagedAdamW8bit, "
        f"init_args: {{{name}: {value}}}}}\n"
    )
    root = f"--trainer.default_root_dir={tmp_path}"
    shown = refused(capsys, "fit", "--config", GFT, "--config", str(overlay), root, *SMALL)
    (line,) = [line for line in shown.splitlines() if line.startswith("error: ")]
    assert message in line


@pytest.mark.parametrize("overlay", ["lora"], indirect=True)
def test_missing_library_is_named(overlay: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    message = refused(capsys, "fit", "--config", GFT, "--config", overlay)
    assert "\nerror: `model.policy.lora` (" in message
    assert "): lora needs peft, which is not installed: pip install 'lightning-gft[lora]'" in message


class KeepOptimizer(Callback):
    """Remembers the optimizer's state."""

    def __init__(self) -> None:
        self.state: list[torch.dtype] = []

    def on_train_end(self, trainer: Trainer, *_: object) -> None:
        [optimizer] = trainer.optimizers
        self.state = [state["state1"].dtype for state in optimizer.state.values()]


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("overlay", ["qlora"], indirect=True)
@pytest.mark.parametrize(
    "name", ["PagedAdamW8bit", *(pytest.param(n, marks=slow) for n in ("AdamW8bit", "PagedAdamW32bit", "Lion8bit"))]
)
def test_optimizers_of_bitsandbytes(name: str, overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kept = KeepOptimizer()
    instantiate = GFTCLI.instantiate_trainer

    def with_callback(self: GFTCLI, **kwargs: object) -> Trainer:
        trainer = instantiate(self, **kwargs)
        trainer.callbacks.append(kept)
        return trainer

    monkeypatch.setattr(GFTCLI, "instantiate_trainer", with_callback)
    Path(overlay).write_text(
        Path(overlay).read_text() + f"  optimizer: {{class_path: bitsandbytes.optim.{name}, "
        "init_args: {lr: 1.0e-3, min_8bit_size: 16}}\n"
    )
    main(["fit", "--config", GFT, "--config", overlay, f"--trainer.default_root_dir={tmp_path}", *SMALL])
    assert set(kept.state) == {torch.uint8 if name.endswith("8bit") else torch.float32}
    rows = logged(tmp_path)
    assert all(norm > 0 for norm in column(rows, "train/grad_norm"))
    assert all(difference < 0.01 for difference in column(rows, "train/sampling/logprob_difference"))
    assert 1e-6 < column(rows, "val/kl")[0] < 0.1  # it moved, by large steps


@pytest.mark.slow
def test_adapters_learn(overlay: str, tmp_path: Path):
    common = ["--config", GFT, "--config", overlay, "--data.num_val=128", "--data.num_second_skill=32"]
    common += ["--trainer.enable_progress_bar=false"]
    main(["validate", *common, f"--trainer.default_root_dir={tmp_path / 'before'}"])
    training = ["--trainer.max_steps=60", "--trainer.val_check_interval=60", "--model.optimizer.lr=1e-3"]
    main(["fit", *common, f"--trainer.default_root_dir={tmp_path / 'after'}", *training])
    before, after = (logged(tmp_path / name) for name in ("before", "after"))
    assert column(after, "val/mean@8")[0] > column(before, "val/mean@8")[0] + 0.1
    assert column(after, "val/greedy_accuracy")[0] > 0.85
