"""What a pretrained policy can be told, and what it says of files that it cannot use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertLMHeadModel, MambaConfig

from lightning_gft import LoRA, Policy, PretrainedPolicy
from lightning_gft.lm.heads import WideLinear, widen_head
from tests.policy.passes import run
from tests.reference import random_groups
from tests.tiny import tiny_loader, tiny_policy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_policy(vocab_size=64).save_pretrained(tmp_path)
    return tmp_path


def train_logprobs(policy: Policy) -> torch.Tensor:
    output = run(policy, random_groups(dtype=torch.float32)[0], lambda tokens: tokens.advantages)
    output.loss.backward()
    return output.logprobs


# Dropout


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "phi3", "gpt_neox"])
def test_dropout_is_felt_by_passes_that_train_alone(model_type: str, tmp_path: Path):
    tiny_policy(model_type, vocab_size=64, pad_token_id=0).save_pretrained(tmp_path)
    groups = random_groups(dtype=torch.float32)[0]
    expected = PretrainedPolicy(str(tmp_path), dropout=0.0).load().token_logprobs(groups, 100)
    policy = PretrainedPolicy(str(tmp_path), dropout=0.5).load()
    torch.testing.assert_close(policy.token_logprobs(groups, 100), expected, rtol=0, atol=0)
    first, second = (train_logprobs(policy) for _ in range(2))
    assert (first - second).abs().max() > 0.01


def test_dropout_where_there_is_none(tmp_path: Path):
    MambaConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"`dropout`: .* got 0\.1 for MambaConfig, which has none; use lora\.dropout"):
        PretrainedPolicy(str(tmp_path), dropout=0.1).load_config()


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_dropout_out_of_range(dropout: float):
    with pytest.raises(ValueError, match="`dropout` of PretrainedPolicy: expected a number of at least 0 and below 1"):
        PretrainedPolicy("any", dropout=dropout)


# Head in float32


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("autocast", [True, False], ids=["bf16-mixed", "bf16-true"])
def test_fp32_head_is_less_coarse(tied: bool, autocast: bool, tmp_path: Path):
    tiny_policy(vocab_size=64, tie_word_embeddings=tied).save_pretrained(tmp_path)
    dtype = "float32" if autocast else "bfloat16"
    groups = random_groups(dtype=torch.float32)[0]
    outputs = {}
    for fp32_head in (False, True):
        policy = PretrainedPolicy(str(tmp_path), torch_dtype=dtype, fp32_head=fp32_head).load()
        assert policy.head is not None
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            logits = policy.model(groups.input_ids).logits
        outputs[fp32_head] = logits
        assert logits.dtype == (torch.float32 if fp32_head else torch.bfloat16)
        weight = policy.model.get_output_embeddings().weight
        assert (weight is policy.model.get_input_embeddings().weight) == tied
    assert not outputs[True].bfloat16().float().equal(outputs[True])
    torch.testing.assert_close(outputs[True], outputs[False].float(), rtol=0.02, atol=0.1)


@pytest.mark.parametrize("autocast", [True, False], ids=["bf16-mixed", "bf16-true"])
def test_fp32_head_in_training_is_the_models_own(autocast: bool, folder: Path):
    dtype = "float32" if autocast else "bfloat16"
    policy = PretrainedPolicy(str(folder), torch_dtype=dtype, fp32_head=True).load()
    groups = random_groups(dtype=torch.float32)[0]

    def gradient(head: object) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        policy.head = head
        policy.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            output = run(policy, groups, lambda tokens: tokens.advantages)
        output.loss.backward()
        return output.logprobs, {name: p.grad.float() for name, p in policy.named_parameters()}

    fused, plain = gradient(policy.head), gradient(None)
    torch.testing.assert_close(fused[0], plain[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fused[1], plain[1], rtol=0.05, atol=2e-3)


def test_fp32_head_leaves_double_precision_alone(folder: Path):
    model = PretrainedPolicy(str(folder), torch_dtype="float64", fp32_head=True).load_model()
    assert isinstance(model.get_output_embeddings(), WideLinear)
    assert model(torch.tensor([[1, 2]])).logits.dtype == torch.float64


def test_fp32_head_that_is_no_linear_layer():
    model = tiny_loader().load_model()
    model.set_output_embeddings(torch.nn.Sequential())
    with pytest.raises(ValueError, match=r"fp32_head: expected false .* not a plain linear layer but Sequential"):
        widen_head(model)


# Chat template

TEMPLATE = "{% for message in messages %}{{ message['content'] }}={% endfor %}"


@pytest.mark.parametrize("in_file", [True, False])
def test_chat_template(in_file: bool, folder: Path):
    given = TEMPLATE
    if in_file:
        (folder / "mine.jinja").write_text(TEMPLATE)
        given = str(folder / "mine.jinja")
    tokenizer = PretrainedPolicy(str(folder), chat_template=given).tokenizer
    assert tokenizer.apply_chat_template([{"role": "user", "content": "1+1"}], tokenize=False) == "1+1="


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("no/such/file.jinja", "expected a file or a Jinja template"),
        ("{% for message in messages %}", r"a template that can be applied, .*\(Unexpected end of template"),
        (
            "{{ messages[0].contents }}",
            r"which renders \{'role': .*'What .*'\} as ''",
        ),
        (
            "{{ raise_exception('roles must alternate') }}",
            r"a template that can be applied, .*\(roles must alternate\)",
        ),
    ],
)
def test_bad_chat_template(template: str, message: str, folder: Path):
    with pytest.raises(ValueError, match=rf"`chat_template`: .*{message}"):
        PretrainedPolicy(str(folder), chat_template=template).tokenizer  # noqa: B018


# Files

DAMAGES = {"half": lambda content: content[: len(content) // 2], "empty": lambda _: b"", "other": lambda _: b"\x93\xff"}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json"])
def test_damaged_files_are_named(name: str, damage: str, folder: Path):
    path = folder / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=rf"`model_name_or_path` .*{path}, damaged; download or copy it again"):
        PretrainedPolicy(str(folder)).load()


def test_tokenizer_that_is_none(folder: Path):
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=rf"_or_path` \('{folder}'\): expected a tokenizer that can be read"):
        PretrainedPolicy(str(folder)).tokenizer  # noqa: B018


def test_weights_that_are_not_there_are_not_made_up(folder: Path):
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"every weight of Qwen2.*, got files that lack 1, model\.layers\.1\.mlp"):
        PretrainedPolicy(str(folder)).load()


def test_weights_of_another_model(folder: Path):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 16}))
    with pytest.raises(
        ValueError, match=r"got \d+ weights of another shape, .* which is \[\d+, 32\] in the file and \["
    ):
        PretrainedPolicy(str(folder)).load()


def test_architecture_that_is_not_known_is_told_in_a_line(folder: Path):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "qwen99"}))
    with pytest.raises(ValueError, match=r"expected a model that can be read, .* has model type `qwen99`") as error:
        PretrainedPolicy(str(folder)).load()
    assert "\n" not in str(error.value)


def rewrite(folder: Path, **changed: torch.Tensor) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, **changed}, folder / "model.safetensors", metadata={"format": "pt"})


def test_weights_that_there_is_no_place_for(folder: Path, capfd: pytest.CaptureFixture[str]):
    rewrite(folder, **{"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8), "h.0.attn.bias": torch.ones(8)})
    PretrainedPolicy(str(folder)).load()
    rewrite(folder, **{"model.layers.2.mlp.up_proj.weight": torch.ones(2, 2), "score.weight": torch.ones(2)})
    with pytest.raises(ValueError, match=r"of Qwen2ForCausalLM alone, got 2 that .*, model\.layers\.2\."):
        PretrainedPolicy(str(folder)).load()
    assert "LOAD REPORT" not in capfd.readouterr().err


def test_weights_that_are_no_numbers(folder: Path):
    weight = load_file(folder / "model.safetensors")["model.layers.1.mlp.up_proj.weight"]
    weight[3, 5] = torch.nan
    rewrite(folder, **{"model.layers.1.mlp.up_proj.weight": weight})
    with pytest.raises(ValueError, match=r"expected finite values, got others in model\.layers\.1\.mlp\.up"):
        PretrainedPolicy(str(folder)).load()


def test_adapter_in_place_of_a_model(folder: Path):
    adapter = folder / "adapter"
    PretrainedPolicy(str(folder), lora=LoRA(r=2)).load().save_pretrained(adapter)
    with pytest.raises(ValueError, match=r"got an adapter; give the model .* and the adapter as lora\.adapter_path"):
        PretrainedPolicy(str(adapter)).load()


def test_model_that_looks_ahead(tmp_path: Path):
    tokenizer = tiny_loader().tokenizer
    tokenizer.save_pretrained(tmp_path)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_attention_heads=2, initializer_range=0.3)
    BertLMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="BertLMHeadModel: expected a causal model"):
        PretrainedPolicy(str(tmp_path)).load()
