"""4- and 8-bit weights with the real bitsandbytes, which runs on x86 CPUs."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy

from lightning_gft import LoRA, Policy, PretrainedPolicy, Quantization, SamplingParams, extras
from tests.conftest import quick
from tests.policy.passes import run
from tests.policy.test_adapters import groups, scored, stir, trainable
from tests.tiny import tiny_policy

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="bitsandbytes runs on x86 CPUs alone")

KINDS: dict[str, dict[str, Any]] = {
    "nf4": {},
    "fp4": {"quant_type": "fp4"},
    "single scales": {"double_quant": False},
    "float storage": {"storage_dtype": "bfloat16"},
    "computed in float32": {"compute_dtype": "float32"},
    "int8": {"bits": 8},
}
LARGE = {"hidden_size": 64, "intermediate_size": 128, "vocab_size": 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tiny_policy(**LARGE, initializer_range=0.1).save_pretrained(path)
    return path


def quantised(folder: Path, seed: int = 0, lora: LoRA | None = None, **settings: Any) -> Policy:
    options = {name: settings.pop(name) for name in ("torch_dtype", "gradient_checkpointing") if name in settings}
    torch.manual_seed(seed)
    loader = PretrainedPolicy(str(folder), lora=lora or LoRA(r=4), quantization=Quantization(**settings), **options)
    return stir(loader.load())


def gradients(policy: Policy) -> dict[str, torch.Tensor]:
    policy.zero_grad()
    policy.train()
    run(policy, groups()).loss.backward()
    return {name: parameter.grad for name, parameter in policy.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("kind", quick(KINDS, "nf4", "int8"))
def test_layers_are_quantised_and_adapters_train(kind: str, folder: Path):
    policy = quantised(folder, **KINDS[kind])
    layers = [module for module in policy.modules() if isinstance(module, (Linear4bit, Linear8bitLt))]
    assert len(layers) == 14
    assert {type(layer) for layer in layers} == {Linear8bitLt if kind == "int8" else Linear4bit}
    assert policy.head is not None
    assert all(gradient.abs().max() > 0 for gradient in gradients(policy).values())
    assert all("lora_" in name for name in trainable(policy))


@pytest.mark.parametrize("kind", quick(KINDS, "nf4", "int8"))
def test_reference_is_the_model_without_adapters(kind: str, folder: Path):
    policy = quantised(folder, **KINDS[kind])
    with policy.reference():
        reference = scored(policy)
    untouched = PretrainedPolicy(str(folder), lora=LoRA(r=4), quantization=Quantization(**KINDS[kind])).load()
    torch.testing.assert_close(reference, scored(untouched))
    # and that is near the model in full precision
    full = scored(tiny_policy(**LARGE, initializer_range=0.1))
    assert 0 < (reference - full).abs().mean() < 0.2


@pytest.mark.parametrize("kind", quick(KINDS, "nf4", "int8"))
def test_rollouts_and_training_agree(kind: str, folder: Path):
    policy = quantised(folder, **KINDS[kind])
    prompt = [5, 6, 7]
    [responses] = policy.generate([prompt], 4, SamplingParams(max_new_tokens=8), seed=0)
    policy.train()
    differences = []
    for response in responses:
        with torch.no_grad():
            logits = policy.model(torch.tensor([prompt + response.token_ids])).logits
        logprobs = logits.log_softmax(dim=-1)[0, len(prompt) - 1 : -1]
        own = logprobs.gather(1, torch.tensor(response.token_ids).unsqueeze(1)).squeeze(1)
        differences += (torch.tensor(response.logprobs) - own).abs().tolist()
    # Products of bfloat16 or int8 round; in float32 nothing does.
    assert max(differences) < (1e-4 if kind == "computed in float32" else 0.1)


@pytest.mark.parametrize("kind", quick(KINDS, "nf4", "int8"))
def test_sampling_leaves_gradients_as_they_are(kind: str, folder: Path):
    # bitsandbytes has products for evaluation alone, which must not find their way into training.
    policy = quantised(folder, **KINDS[kind])
    before = {name: gradient.clone() for name, gradient in gradients(policy).items()}
    policy.generate([[5, 6, 7]], 2, SamplingParams(max_new_tokens=4), seed=0)
    scored(policy)
    torch.testing.assert_close(gradients(policy), before)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_gradient_checkpointing_changes_nothing(kind: str, folder: Path):
    plain, checkpointed = (
        gradients(quantised(folder, gradient_checkpointing=checkpointing, **KINDS[kind]))
        for checkpointing in (False, True)
    )
    torch.testing.assert_close(checkpointed, plain, rtol=1e-3, atol=1e-5)


def test_gradients_are_those_of_the_weights_that_are_meant(folder: Path):
    policy = quantised(folder, compute_dtype="float32")
    torch.manual_seed(0)
    plain = stir(PretrainedPolicy(str(folder), lora=LoRA(r=4)).load())
    meant = dict(policy.model.named_modules())
    for name, module in plain.model.named_modules():
        if isinstance(layer := meant[name], Linear4bit):
            module.weight.data = dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
    torch.testing.assert_close(gradients(policy), gradients(plain), rtol=1e-3, atol=1e-5)


def test_adapter_of_a_quantised_model_round_trip(folder: Path, tmp_path: Path):
    policy = quantised(folder)
    policy.save_pretrained(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    later = PretrainedPolicy(str(folder), lora=LoRA(adapter_path=str(tmp_path)), quantization=Quantization()).load(
        keep_reference=True
    )
    torch.testing.assert_close(scored(later), scored(policy))


def test_half_precision_around_quantised_layers(folder: Path):
    policy = quantised(folder, torch_dtype="bfloat16", storage_dtype="bfloat16")
    frozen = {parameter.dtype for parameter in policy.parameters() if not parameter.requires_grad}
    assert frozen == {torch.bfloat16}  # one data type, as sharding needs it
    assert all(gradient.dtype == torch.float32 for gradient in gradients(policy).values())


def test_experts_that_stay_as_they_are_are_told(tmp_path: Path):
    tiny_policy("mixtral", num_local_experts=4).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"0\.0 million weights of MixtralForCausalLM are stacked"):
        quantised(tmp_path)


# What is refused


def test_whole_modules_that_are_quantised(folder: Path):
    for storage_dtype in ("uint8", "bfloat16"):
        with pytest.raises(ValueError, match=r"`lora\.modules_to_save`: .*'q_proj', which is quantised"):
            quantised(folder, lora=LoRA(r=4, modules_to_save=["q_proj"]), storage_dtype=storage_dtype)


def test_quantisation_without_adapters():
    with pytest.raises(ValueError, match=r"`quantization`: expected lora with it, .* cannot be trained.*lora: \{r: 16"):
        PretrainedPolicy("any", quantization=Quantization())


def test_settings_without_meaning():
    with pytest.raises(ValueError, match=r"`quantization\.storage_dtype`: expected its default with bits=8"):
        Quantization(bits=8, storage_dtype="bfloat16")


def test_magnitudes_of_8_bits():
    with pytest.raises(ValueError, match=r"`lora\.use_dora`: expected false .*bits=8, got true; use bits: 4"):
        PretrainedPolicy("any", lora=LoRA(use_dora=True), quantization=Quantization(bits=8))


def test_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"quantization needs bitsandbytes.*'lightning-gft\[qlora\]'"):
        Quantization()


@pytest.mark.parametrize(
    ("settings", "torch_dtype", "message"),
    [
        ({}, "float32", r"expected torch_dtype \(float32\) with sharded weights, got uint8; set both to bfloat16"),
        ({"storage_dtype": "bfloat16"}, "float32", r"set both to bfloat16, or use trainer\.strategy: ddp"),
        ({"bits": 8}, "bfloat16", r"`quantization\.bits`: expected 4 with sharded weights, got 8"),
    ],
)
def test_sharding_that_cannot_be(settings: dict, torch_dtype: Any, message: str):
    loader = PretrainedPolicy("any", torch_dtype, lora=LoRA(), quantization=Quantization(**settings))
    with pytest.raises(ValueError, match=message):
        loader.check_trainer(ModelParallelStrategy(), "32-true")


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (ModelParallelStrategy, {"storage_dtype": "bfloat16"}),
        (DDPStrategy, {}),
        (lambda: SingleDeviceStrategy("cpu"), {"bits": 8}),
    ],
)
def test_strategies_that_can_be(make: Any, settings: dict):
    PretrainedPolicy("any", "bfloat16", lora=LoRA(), quantization=Quantization(**settings)).check_trainer(
        make(), "32-true"
    )
    PretrainedPolicy("any").check_trainer(make(), "32-true")
