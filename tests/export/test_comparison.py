"""What is written is loaded again and compared with the policy before it gets its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_gft import LoRA, Policy, PretrainedPolicy
from lightning_gft.cli import main
from lightning_gft.export import export_policy
from lightning_gft.export.comparison import check_logits, probe_logits
from tests.cli.command import GFT, SMALL
from tests.module.runs import make_module
from tests.policy.test_adapters import stir
from tests.tiny import tiny_policy


def loaded(folder: Path, **settings: Any) -> Any:
    tiny_policy(tie_word_embeddings=True).save_pretrained(folder / "base")
    module = make_module(policy=PretrainedPolicy(str(folder / "base"), **settings))
    module.configure_model()
    stir(module.policy)
    return module


KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "adapter": {"lora": LoRA(r=2, modules_to_save=["embed_tokens"])},
    "merged": {"lora": LoRA(r=2, target_modules=["q_proj", "embed_tokens"])},
}


@pytest.mark.parametrize("torch_dtype", [None, "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_right_passes_and_leaves_the_policy_alone(kind: str, torch_dtype: Any, tmp_path: Path):
    module = loaded(tmp_path, **KINDS[kind])
    before = {name: (weight.clone(), weight.requires_grad) for name, weight in module.policy.named_parameters()}
    path = export_policy(module, tmp_path / "policy", torch_dtype=torch_dtype, merge=kind == "merged")
    assert path == tmp_path / "policy"
    after = {name: (weight, weight.requires_grad) for name, weight in module.policy.named_parameters()}
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert module.policy.model.training


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wrong_is_kept_under_another_name(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save = Policy.save_pretrained

    def lose_a_weight(self: Policy, path: Path, *args: Any, **kwargs: Any) -> None:
        save(self, path, *args, **kwargs)
        [file] = path.glob("*.safetensors")
        weights = load_file(file)
        [name, *_] = [name for name in weights if "q_proj" in name]
        save_file({**weights, name: weights[name] + 0.05}, file, metadata={"format": "pt"})

    module = loaded(tmp_path, **KINDS[kind])
    monkeypatch.setattr(Policy, "save_pretrained", lose_a_weight)
    with pytest.raises(ValueError, match=r"^`path`: expected .* equal to the policy, got log-probabilities that"):
        export_policy(module, tmp_path / "policy", merge=kind == "merged")
    assert {path.name for path in tmp_path.iterdir()} == {"base", "policy-unchecked"}
    assert {"README.md", "tokenizer.json"} <= {path.name for path in (tmp_path / "policy-unchecked").iterdir()}
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"the files are in .*empty/empty-unchecked"):
        export_policy(module, tmp_path / "empty", merge=kind == "merged")
    assert list((tmp_path / "empty/empty-unchecked").glob("*.safetensors"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_loaded_is_kept_under_another_name(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save = Policy.save_pretrained

    def lose_the_weights(self: Policy, path: Path, *args: Any, **kwargs: Any) -> None:
        save(self, path, *args, **kwargs)
        [file] = path.glob("*.safetensors")
        file.write_bytes(b"")

    module = loaded(tmp_path, **KINDS[kind])
    monkeypatch.setattr(Policy, "save_pretrained", lose_the_weights)
    with pytest.raises(ValueError, match=r"got files that \w+ cannot load .* the files are in .*policy-unchecked"):
        export_policy(module, tmp_path / "policy", merge=kind == "merged")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("turn", [0, 1])
def test_what_cannot_be_compared_is_kept_with_a_warning(
    kind: str, turn: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    module = loaded(tmp_path, **KINDS[kind])
    calls = iter(range(9))
    forward = type(module.policy.model).forward

    def fail(self: Any, *args: Any, **kwargs: Any) -> Any:
        if next(calls) == turn:
            raise torch.OutOfMemoryError("no memory left\nfor this")
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(module.policy.model), "forward", fail)
    with pytest.warns(UserWarning, match=r"could not be compared with the policy \(OutOfMemoryError: no memory left\)"):
        path = export_policy(module, tmp_path / "policy", merge=kind == "merged")
    assert path == tmp_path / "policy"
    assert list(path.glob("*.safetensors"))
    assert module.policy.model.training


def test_a_merged_export_takes_the_base_that_was_trained_though_its_files_have_changed(tmp_path: Path):
    module = loaded(tmp_path, lora=LoRA(r=2))
    expected = probe_logits(module.policy.model, module.policy.device)
    tiny_policy(seed=1, tie_word_embeddings=True).save_pretrained(tmp_path / "base")
    export_policy(module, tmp_path / "policy", merge=True)
    merged = PretrainedPolicy(str(tmp_path / "policy")).load_model()
    torch.testing.assert_close(probe_logits(merged, module.policy.device), expected, rtol=0, atol=1e-4)


def test_logits_that_are_not_finite_are_no_match():
    logits = torch.full((1, 1, 4), torch.nan)
    with pytest.raises(ValueError, match="log-probabilities that differ by up to nan"):
        check_logits(logits, logits, torch.float32)


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="an older torch")
def test_products_are_exact_however_the_run_has_allowed_others():
    policy, matmul = tiny_policy(), torch.backends.cuda.matmul
    seen = []
    policy.model.register_forward_hook(lambda *_: seen.append(matmul.fp32_precision))
    before, matmul.fp32_precision = matmul.fp32_precision, "tf32"
    try:
        with pytest.raises(RuntimeError):
            torch.get_float32_matmul_precision()
        probe_logits(policy.model, policy.device)
        assert (seen, matmul.fp32_precision) == (["ieee"], "tf32")
    finally:
        matmul.fp32_precision = before


def test_the_card_tells_what_trained(tmp_path: Path):
    run = ("--trainer.enable_checkpointing=true", f"--trainer.default_root_dir={tmp_path}")
    main(["fit", "--config", GFT, *SMALL, *run, "--model.sampler.sources.self.num_generations=3"])
    [checkpoint] = tmp_path.rglob("*.ckpt")
    with pytest.warns(
        UserWarning, match=r"the card lists .* differs in .*source `self`=SelfSource.* 4 a prompt \(was .* 3 a prompt"
    ):
        main(["export", "--config", GFT, f"--ckpt_path={checkpoint}", f"--path={tmp_path / 'policy'}"])
    card = (tmp_path / "policy/README.md").read_text()
    [row] = [line for line in card.splitlines() if "SelfSource(" in line]
    assert row.endswith(", 3 a prompt |")
    assert "| data | ArithmeticDataModule(" in card
