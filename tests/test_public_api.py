"""What others rely on: names and signatures that change only on purpose, with a line in the changelog."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_gft
from lightning_gft import functional

SIGNATURES = {
    "continuous_coefficients": "logprobs, threshold",
    "gft_loss": "logprobs, advantages, response_mask, threshold=0.7, reduction='token-mean', group_index=None",
    "group_normalized_advantages": "rewards, group_index, eps=1e-06, scale='group'",
    "leave_one_out_advantages": "rewards, group_index",
    "linear_logprob_loss": "hidden, weight, targets, coefficients, *, bias=None, softcap=None, logit_scale=1.0, "
    "temperature=1.0, chunk_size=None, entropy=False",
    "pass_at_k": "num_samples, num_correct, k",
    "rectified_coefficients": "logprobs, threshold",
    "reduction_weights": "response_mask, reduction='token-mean', group_index=None, dtype=torch.float32",
    "self_baseline_advantages": "rewards, group_index, is_self",
    "token_entropy": "logits",
    "token_logprobs": "logits, targets",
}
CONSTRUCTORS = {
    "AdaptiveCoefficientRectifier": "rectified_fraction=0.2, momentum=0.9, initial_threshold=0.7, **kwargs",
    "ContinuousCoefficientRectifier": "threshold=0.7, **kwargs",
    "DFTLoss": "reduction='token-mean'",
    "DynamicCoefficientRectifier": "threshold=0.7, **kwargs",
    "ExactMatchReward": "marker='', strip=True, ignore_case=False, weight=1.0",
    "ExpertSource": "num_responses=1",
    "FormatReward": "pattern, full_match=True, weight=1.0, special_tokens=False",
    "FunctionReward": "function, weight=1.0, special_tokens=False",
    "GFTLoss": "rectifier=None, reduction='token-mean'",
    "GroupNormalizedAdvantage": "eps=1e-06, scale='group'",
    "GroupSampler": "sources, rewards, advantage=None",
    "IdentityRectifier": "**kwargs",
    "LoRA": "r=16, alpha=32, dropout=0.0, target_modules='all-linear', use_rslora=False, use_dora=False, "
    "modules_to_save=None, adapter_path=None",
    "ModelPolicy": "model, tokenizer, rollout=None, lora=None, chat_template=None",
    "NumericReward": "marker='', tolerance=1e-06, weight=1.0",
    "PretrainedPolicy": "model_name_or_path, torch_dtype='float32', attn_implementation=None, revision='main', "
    "gradient_checkpointing=False, trust_remote_code=False, dropout=None, chat_template=None, fp32_head=False, "
    "lora=None, quantization=None, rollout=None",
    "Quantization": "bits=4, quant_type='nf4', double_quant=True, compute_dtype='bfloat16', storage_dtype='uint8'",
    "SFTLoss": "reduction='token-mean'",
    "ScratchPolicy": "alphabet, model_type='qwen2', config=None, lora=None, rollout=None",
    "SelfSource": "num_generations=4, max_new_tokens=512, temperature=1.0, top_p=1.0, top_k=0, min_p=None, "
    "min_new_tokens=0, stop_strings=''",
    "TimeLimitedReward": "reward, seconds",
    "TeacherSource": "num_responses=3",
    "WarmupSchedule": "name='cosine', warmup_steps=0, warmup_ratio=0.0, min_lr_ratio=0.0, decay_ratio=0.2",
}


def written(function: object) -> str:
    """Return a signature without types."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))[1:-1]


@pytest.mark.parametrize("name", SIGNATURES)
def test_function(name: str):
    assert written(getattr(functional, name)) == SIGNATURES[name]


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_constructor(name: str):
    assert written(getattr(lightning_gft, name)) == CONSTRUCTORS[name]


def test_everything_public_is_there_and_documented():
    for module in (lightning_gft, functional):
        for name in set(module.__all__) - {"Reduction"}:  # a type, which has no docstring
            assert inspect.getdoc(getattr(module, name)), name


LIGHT = """
import sys
import lightning_gft
assert "torch" not in sys.modules
from lightning_gft import functional
assert not {"lightning", "transformers", "datasets"} & set(sys.modules)
import lightning_gft.cli
assert not {"lightning", "transformers", "datasets"} & set(sys.modules)
"""


def test_what_is_not_asked_for_is_not_imported():
    subprocess.run([sys.executable, "-c", LIGHT], check=True)


def test_public_names_are_the_same_to_type_checkers_and_when_asked_for():
    (block,) = [n for n in ast.parse(Path(lightning_gft.__file__).read_text()).body if isinstance(n, ast.If)]
    seen = {(n.module, alias.name) for n in block.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    assert seen == {(place, name) for name, place in lightning_gft._PLACES.items()} | {("lightning_gft", "functional")}
    assert set(lightning_gft.__all__) <= set(dir(lightning_gft))


def test_name_that_there_is_not():
    with pytest.raises(AttributeError, match="module 'lightning_gft' has no attribute 'GTFLoss'"):
        _ = lightning_gft.GTFLoss
