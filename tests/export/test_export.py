"""What is exported is a plain model or adapter, which a fresh process loads without this package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import seed_everything
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LinearLR

from lightning_gft import (
    ArithmeticPolicy,
    Evaluation,
    LoRA,
    PolicyLoader,
    PretrainedPolicy,
    Quantization,
    ScratchPolicy,
)
from lightning_gft.callbacks import HuggingFaceExport
from lightning_gft.checkpoint import describe
from lightning_gft.cli import main
from lightning_gft.export import export_policy
from lightning_gft.policy.adapters import Adapters
from tests.cli.command import GFT, SMALL, refused
from tests.module.runs import ROWS, Rows, fit, make_module
from tests.tiny import ALPHABET, tiny_loader, tiny_policy

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}="
FRESH = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

assert "lightning_gft" not in sys.modules
for folder in json.loads(sys.argv[1]):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)  # of an adapter, with the model below it
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "12+7"}], return_tensors="pt", return_dict=False)
    torch.save(model(ids).logits, f"{folder}/logits.pt")
"""


def trained(policy: PolicyLoader) -> Any:
    module = make_module(
        policy=policy,
        optimizer=lambda parameters: AdamW(parameters, lr=0.01),
        lr_scheduler=lambda optimizer: LinearLR(optimizer),
        evaluation=Evaluation(num_samples=2, max_new_tokens=4),
    )
    fit(module, Rows(ROWS, ROWS))
    return module


def own_logits(model: Any, tokenizer: Any) -> Tensor:
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "12+7"}], return_tensors="pt", return_dict=False)
    model.eval()
    with torch.no_grad():
        logits: Tensor = model(ids).logits
    return logits


@pytest.mark.slow
def test_a_fresh_process_gets_the_same_logits(tmp_path: Path):
    base = tmp_path / "base"
    policy = tiny_policy(hidden_size=64)
    policy.tokenizer.chat_template = TEMPLATE
    policy.save_pretrained(base)
    lora = LoRA(r=2)
    modules = {
        "full": trained(PretrainedPolicy(str(base))),
        "adapter": trained(PretrainedPolicy(str(base), lora=lora)),
        "quantised": trained(PretrainedPolicy(str(base), lora=lora, quantization=Quantization())),
    }
    expected = {name: own_logits(modules[name].policy.model, policy.tokenizer) for name in ("full", "adapter")}
    expected["merged"] = expected["adapter"]
    for name in ("full", "adapter"):
        export_policy(modules[name], tmp_path / name)
    export_policy(modules["adapter"], tmp_path / "merged", merge=True)
    assert torch.equal(own_logits(modules["adapter"].policy.model, policy.tokenizer), expected["adapter"])  # untouched
    # Into the weights as they were before they were quantised.
    export_policy(modules["quantised"], tmp_path / "full_precision", merge=True)
    modules["quantised"].policy.adapters.save_pretrained(tmp_path / "quantised_adapter")
    whole = PretrainedPolicy(str(base)).load_model()
    Adapters(whole, LoRA(adapter_path=str(tmp_path / "quantised_adapter")))
    expected["full_precision"] = own_logits(whole, policy.tokenizer)

    folders = json.dumps([str(tmp_path / name) for name in expected])
    subprocess.run([sys.executable, "-c", FRESH, folders], check=True)
    for name, logits in expected.items():
        torch.testing.assert_close(
            torch.load(tmp_path / name / "logits.pt", weights_only=True), logits, rtol=1e-4, atol=1e-4
        )
        files = {file.name for file in (tmp_path / name).iterdir()}
        weights = "adapter_model.safetensors" if name == "adapter" else "model.safetensors"
        assert {weights, "generation_config.json", "tokenizer.json", "chat_template.jinja", "README.md"} <= files
        assert not [file for file in files if file.endswith((".bin", ".pkl"))]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]  # nothing unfinished is left


def test_adapters_of_a_policy_from_scratch_are_merged_too(tmp_path: Path):
    from lightning_gft import ScratchPolicy

    module = trained(ScratchPolicy(ALPHABET, config={"hidden_size": 32, "num_hidden_layers": 2}, lora=LoRA(r=2)))
    module.tokenizer.chat_template = TEMPLATE
    export_policy(module, tmp_path / "merged", merge=True)
    expected = own_logits(module.policy.model, module.tokenizer)
    torch.testing.assert_close(
        own_logits(PretrainedPolicy(str(tmp_path / "merged")).load_model(), module.tokenizer), expected
    )


def test_the_card_tells_how_it_came_about(tmp_path: Path):
    fit(
        module := make_module(optimizer=lambda parameters: AdamW(parameters, lr=0.01)),
        Rows(ROWS, ROWS),
        callbacks=[HuggingFaceExport(str(tmp_path / "policy"))],
    )
    card = (tmp_path / "policy/README.md").read_text()
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["lightning-gft", "group-fine-tuning"],
    }
    assert f"| {float(module.trainer.callback_metrics['val/mean@8']):.4g} |" in body.split("`val/mean@8`")[1]
    for part in ("TeacherSource(num_responses=4)", "threshold=0.1", "AdamW(lr=0.01", "Rows(", "| torch | 2."):
        assert part in body


def test_a_name_on_the_hub_is_named(tmp_path: Path):
    module = trained(tiny_loader())
    module.policy_loader.base_name = lambda: "somebody/some-model"
    export_policy(module, tmp_path / "policy")
    assert "base_model: somebody/some-model" in (tmp_path / "policy/README.md").read_text()


def test_there_must_be_adapters_to_merge(tmp_path: Path):
    module = make_module()
    with pytest.raises(ValueError, match="`merge`: expected a policy with adapters, got one without"):
        fit(module, callbacks=[HuggingFaceExport(str(tmp_path / "policy"), merge=True)])
    assert not hasattr(module, "policy")  # told before the model is loaded
    with pytest.raises(ValueError, match="`merge`: expected a policy with adapters, got one without"):
        export_policy(trained(tiny_loader()), tmp_path / "policy", merge=True)


def test_description_of_what_keeps_its_arguments_elsewhere():
    assert describe(tiny_loader()).startswith("ScratchPolicy(alphabet='0123")


def test_command_line_exports_what_a_checkpoint_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = ("--trainer.enable_checkpointing=true", f"--trainer.default_root_dir={tmp_path}", "--model.policy.lora.r=2")
    keep = ("--trainer.callbacks=ModelCheckpoint", "--trainer.callbacks.every_n_train_steps=3")
    main(["fit", "--config", GFT, *SMALL, *run, *keep, "--trainer.max_steps=3"])  # validated after the second
    (checkpoint,), (config,) = tmp_path.rglob("*.ckpt"), tmp_path.rglob("config.yaml")
    export = ("export", "--config", str(config))
    main([*export, f"--ckpt_path={checkpoint}", f"--path={tmp_path / 'adapter'}"])
    main([*export, f"--ckpt_path={checkpoint}", f"--path={tmp_path / 'merged'}", "--merge=true"])
    merged, as_loaded = PretrainedPolicy(str(tmp_path / "merged")).load_model(), ArithmeticPolicy().load_model()
    adapted = ArithmeticPolicy(lora=LoRA(adapter_path=str(tmp_path / "adapter"))).load()
    weights = {name: model.model.layers[0].mlp.up_proj.weight for name, model in [("m", merged), ("l", as_loaded)]}
    assert not torch.equal(weights["m"], weights["l"])
    ids = torch.arange(9)[None]
    # Merging rounds each sum of two weights to float32; an adapter beside the weights does not add them.
    torch.testing.assert_close(adapted.model(ids).logits, merged(ids).logits, rtol=0, atol=1e-4)
    card = (tmp_path / "adapter/README.md").read_text()
    assert "AdamW(lr=0.0003" in card
    assert "`val/mean@2`" in card
    assert "| optimizer steps | 3 |" in card
    assert "From the validation after step 2. The weights are those of step 3." in card
    assert "use_chat_template: false" in card
    assert len(list(tmp_path.rglob("version_*"))) == 1  # exporting is no run
    assert "`path`: expected a setting that export requires, got none" in refused(capsys, *export)
    shown = refused(capsys, *export, f"--path={tmp_path / 'adapter'}", f"--ckpt_path={checkpoint}")
    assert f"`path` ('{tmp_path / 'adapter'}'): expected a new path or an empty folder" in shown
    assert "cut short" in refused(capsys, *export, f"--path={tmp_path / 'new'}", f"--ckpt_path={config}")
    shown = refused(capsys, *export, f"--path={tmp_path / 'new'}", "--ckpt_path=no.ckpt")
    assert "`ckpt_path` ('no.ckpt'): expected a checkpoint that exists, got none; " in shown
    assert "did you mean" in shown or "; the newest of" in shown


def test_command_line_exports_a_policy_that_nothing_has_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    policy = ["--model.policy=lightning_gft.ScratchPolicy", "--model.policy.alphabet=0123456789+-=,:#ab"]
    with pytest.warns(UserWarning, match="got none; the policy is exported as loaded, before any training"):
        main(["export", "--config", GFT, *policy, f"--path={tmp_path / 'small'}"])
    assert f"Policy written to {tmp_path / 'small'}" in capsys.readouterr().out
    card = (tmp_path / "small/README.md").read_text()
    assert "# ScratchPolicy\n\n`ScratchPolicy` as loaded by lightning_gft, before any training." in card
    assert "## Training" not in card
    written = PretrainedPolicy(str(tmp_path / "small")).load()
    seed_everything(0, verbose=False)  # that of the configuration
    drawn = ScratchPolicy("0123456789+-=,:#ab").load()
    assert all(map(torch.equal, written.model.parameters(), drawn.model.parameters()))
