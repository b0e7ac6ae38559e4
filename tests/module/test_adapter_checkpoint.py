"""An adapter's checkpoint holds the adapter, and a run resumes from it exactly, on a quantised base too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim import AdamW

from lightning_gft import Evaluation, GFTLitModule, LoRA, PretrainedPolicy, Quantization
from tests.conftest import quick
from tests.module.runs import ROWS, Rows, fit, make_module, weights
from tests.tiny import tiny_policy

pytestmark = pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("base")
    tiny_policy(hidden_size=128, intermediate_size=256).save_pretrained(path)
    return str(path)


def module(base: str, quantization: Quantization | None = None, **lora: Any) -> GFTLitModule:
    policy = PretrainedPolicy(base, lora=LoRA(**{"r": 2, "dropout": 0.1, **lora}), quantization=quantization)
    return make_module(
        policy=policy,
        optimizer=lambda parameters: AdamW(parameters, lr=0.01),
        evaluation=Evaluation(num_samples=2, max_new_tokens=4),
    )


def keep(path: Path) -> dict[str, Any]:
    kept = ModelCheckpoint(path, filename="{step}", every_n_train_steps=2, save_top_k=-1)
    return {"callbacks": [kept], "enable_checkpointing": True}


@pytest.fixture(scope="module")
def trained(base: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[GFTLitModule, str]:
    """A module after one epoch, and its checkpoint."""
    run, path = module(base), str(tmp_path_factory.mktemp("trained") / "end.ckpt")
    fit(run).save_checkpoint(path)
    return run, path


QUANTIZATIONS = {"lora": None, "qlora-4bit": Quantization(), "qlora-8bit": Quantization(bits=8)}
CASES = [(bits, goes_on) for bits in QUANTIZATIONS for goes_on in (False, True)]


@pytest.mark.parametrize("case", quick(CASES, ("lora", False), ("qlora-4bit", True)))
def test_a_run_with_adapters_goes_on_exactly(case: tuple[str, bool], base: str, tmp_path: Path):
    quantization, goes_on = QUANTIZATIONS[case[0]], case[1]
    lora: dict[str, Any] = {}
    if goes_on:
        first = module(base)
        fit(first, Rows(ROWS, batch_size=2))
        first.policy.save_pretrained(tmp_path / "adapter")
        lora = {"adapter_path": str(tmp_path / "adapter")}
    data = Rows(ROWS, ROWS, batch_size=1)
    whole = module(base, quantization, **lora)
    fit(whole, data, **keep(tmp_path))
    path = tmp_path / "step=2.ckpt"
    state = torch.load(path, weights_only=True)["state_dict"]
    assert {name for name in state if "lora_" not in name} == {"statistics.num_tokens"}
    resumed = module(base, quantization, **lora)
    fit(resumed, data, ckpt_path=str(path))
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)
    kl = resumed.trainer.callback_metrics["val/kl"], whole.trainer.callback_metrics["val/kl"]
    assert kl[0] == kl[1] > 0


def test_it_is_a_few_percent_of_the_model(trained: tuple[GFTLitModule, str]):
    run, path = trained
    state = torch.load(path, weights_only=True)["state_dict"]
    trained = sum(weight.numel() for weight in state.values())
    assert trained < 0.05 * sum(weight.numel() for weight in run.policy.model.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 8}, "lora is r=2, alpha=32, .* in the checkpoint and r=2, alpha=8, .* in this run"),
        ({"r": 4}, "lora is r=2, .* in the checkpoint and r=4, "),
        ({"use_rslora": True}, "use_rslora=True, use_dora=False in this run"),
        ({"target_modules": ["q_proj"]}, r"lora_A.default.weight is only in the checkpoint"),
        (
            {"quantization": Quantization()},
            r"base_layer\.weight, which is not trained, has other values, .* model_name_or_path or quantization",
        ),
    ],
)
def test_another_adapter_or_base_is_refused(
    settings: dict[str, Any], message: str, base: str, trained: tuple[GFTLitModule, str]
):
    with pytest.raises(ValueError, match=message):
        fit(module(base, **settings), ckpt_path=trained[1])


def test_the_base_must_be_the_same(trained: tuple[GFTLitModule, str], tmp_path: Path):
    tiny_policy(hidden_size=128, intermediate_size=256, seed=1).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"which is not trained, has other values"):
        fit(module(str(tmp_path / "other")), ckpt_path=trained[1])
