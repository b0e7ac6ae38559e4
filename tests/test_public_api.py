"""What others rely on: names and signatures that change only on purpose, with a line in the changelog."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.metadata import version

import pytest
import yaml

import lightning_gft
from lightning_gft import functional

SIGNATURES = {
    "continuous_coefficients": "logprobs, threshold",
    "gft_loss": "logprobs, advantages, response_mask, threshold=0.7, reduction='token-mean', group_index=None",
    "group_normalized_advantages": "rewards, group_index, eps=1e-06, scale='group', is_self=None, batch_rewards=None",
    "label_entropy": "logits, labels",
    "label_logprobs": "logits, labels",
    "leave_one_out_advantages": "rewards, group_index",
    "linear_logprob_loss": "hidden, weight, targets, coefficients, *, bias=None, softcap=None, logit_scale=1.0, "
    "temperature=1.0, chunk_size=None, entropy=False",
    "maj_at_k": "answers, correct",
    "max_rl_advantages": "rewards, group_index",
    "pass_at_k": "num_samples, num_correct, k",
    "rectified_coefficients": "logprobs, threshold",
    "reduction_weights": "response_mask, reduction='token-mean', group_index=None, dtype=torch.float32, "
    "max_completion_length=None",
    "self_baseline_advantages": "rewards, group_index, is_self",
    "token_entropy": "logits",
    "token_logprobs": "logits, targets",
}
CONSTRUCTORS = {
    "AdapterSync": "folder=None, base_model=None",
    "AdaptiveCoefficientRectifier": "rectified_fraction=0.2, momentum=0.9, initial_threshold=0.7, **kwargs",
    "Advice": "stop=False, ignore=None",
    "AnchoredSFTLoss": "beta=0.05, floor=0.0, reduction='token-mean'",
    "Annealing": "start, end, num_steps, shape='cosine'",
    "ArithmeticDataModule": "num_train=512, num_val=128, num_second_skill=64, num_hard=0, num_operands=3, "
    "hard_operands=4, max_operand=30, num_teacher=3, teacher_slip=0.0, batch_size=16, "
    "eval_batch_size=128, shuffle=True, seed=0, num_workers=0",
    "ArithmeticPolicy": "lora=None, rollout=None",
    "ByLength": "prefer='shortest'",
    "CISPOLoss": "epsilon_high=5.0, reduction='token-mean', max_completion_length=None, "
    "mask_truncated_completions=False",
    "CHORDLoss": "mu=Annealing(start=0.9, end=0.05, num_steps=200, shape='cosine'), own=None, "
    "reduction='token-mean', max_completion_length=None",
    "CHORDPhiLoss": "mu=0.1, own=None, reduction='token-mean', max_completion_length=None",
    "ChosenSource": "within, num_responses, by=None, drop_duplicates=True",
    "CodeExecutionReward": "runs_model_code=False, tests_column=None, partial=False, seconds=6.0, memory_mb=1024, "
    "workers=None, allow=(), weight=1.0",
    "ContinuousCoefficientRectifier": "threshold=0.1, **kwargs",
    "DFTLoss": "reduction='token-mean', floor=0.0",
    "DemonstrationTeacher": r"template='{prompt}\n\nThis is an example for a response to the question:\n"
    r"{demonstration}\n\nNow answer with a response of your own, including the thinking process.', role='expert', "
    "micro_batch_tokens=16384",
    "DistillationLoss": "clip=2.0, reduction='token-mean', max_completion_length=None, "
    "mask_truncated_completions=False",
    "DynamicCoefficientRectifier": "threshold=0.1, **kwargs",
    "EAFTLoss": "alpha=1.0, max_entropy=3.0, reduction='token-mean'",
    "EndpointSource": "model, base_url, num_responses=3, max_new_tokens=1024, temperature=1.0, top_p=1.0, seed=0, "
    "system_prompt='', reasoning='drop', concurrency=16, timeout=600.0, max_retries=8, api_key_env='OPENAI_API_KEY', "
    "cache='runs/endpoint', ahead=2, extra_body=None",
    "Evaluation": "num_samples=8, max_new_tokens=512, temperature=1.0, top_p=1.0, reward=None, "
    "correct_reward=1.0, kl=True, seed=0, min_new_tokens=0, stop_strings=''",
    "ExactMatchReward": "marker='', strip=True, ignore_case=False, weight=1.0",
    "ExpertSource": "num_responses=1",
    "FSDP2Strategy": "reshard_after_forward=True, cpu_offload=False, save_distributed_checkpoint=True, "
    "process_group_backend=None, timeout=datetime.timedelta(seconds=1800)",
    "FormatReward": "pattern, full_match=True, weight=1.0, special_tokens=False",
    "FunctionReward": "function, weight=1.0, special_tokens=False, timeout=None, failed_score=0.0, memory_mb=None",
    "GFTLitModule": "policy, sampler, loss, optimizer=Ellipsis, lr_scheduler=None, evaluation=None, "
    "updates_per_batch=1, micro_batch_tokens=16384, gradient_clip_val=1.0, "
    "max_nonfinite_updates=5, max_uninformative_batches=100",
    "GFTLoss": "rectifier=None, reduction='token-mean', rectify='demonstrations', otherwise=None, "
    "max_completion_length=None",
    "GRPOLoss": "epsilon=0.2, epsilon_high=None, delta=None, reduction='sequence-mean', max_completion_length=None, "
    "mask_truncated_completions=False",
    "GatedSum": "gates, at_least=1.0",
    "GSPOLoss": "epsilon=0.0003, epsilon_high=0.0004, mask_truncated_completions=False",
    "GroupDataModule": "path, name=None, prompt_column='prompt', answer_column='answer', expert_column=None, "
    "teacher_column=None, prompt_template='{prompt}', use_chat_template=None, "
    "system_prompt='', answer_marker='', max_prompt_length=1024, max_response_length=2048, "
    "overlong_prompts='error', overlong_demonstrations='drop', train_split='train', "
    "val_split=None, test_split=None, val_path=None, test_path=None, max_train_rows=None, "
    "max_val_rows=None, batch_size=8, eval_batch_size=64, shuffle=True, seed=0, "
    "num_workers=0, conversation_column=None, "
    "chat_template_kwargs=None, response_prefix='', keep=None",
    "GroupNormalizedAdvantage": "eps=1e-06, scale='group', over='group'",
    "GroupSampler": "sources, rewards, advantage=None, num_groups=None, total=None",
    "GroupTable": "num_groups=2, responses='best_and_worst', keep=500, log=True, show=False, every_n_steps=100",
    "GroupWriter": "path",
    "GymTask": "task=None, weight=1.0, config=None, levels=None",
    "HPTLoss": "gate=0, correct_reward=1.0, own=None, reduction='group-mean'",
    "HighestReward": "reward=None",
    "HTTPReward": "url, columns=(), batch_size=64, concurrency=4, timeout=60.0, max_retries=5, api_key_env=None, "
    "weight=1.0, special_tokens=False",
    "HuggingFaceExport": "path=None, torch_dtype=None, merge=False",
    "IWSFTLoss": "min_weight=0.2, max_weight=1.8, reduction='token-mean'",
    "IdentityRectifier": "**kwargs",
    "InfoSFTLoss": "cutoff=0.93, reduction='token-mean'",
    "ImportanceCorrection": "loss, level='token', ceiling=2.0",
    "KLPenalty": "loss, beta=0.04, direction='forward'",
    "LeaveOneOutAdvantage": "",
    "LUFFYLoss": "gamma=0.1, own=None, reduction='constant-length', max_completion_length=None",
    "LoRA": "r=16, alpha=32, dropout=0.0, target_modules='all-linear', use_rslora=False, "
    "use_dora=False, modules_to_save=None, adapter_path=None",
    "MixedLoss": "demonstrations, own, reduction='token-mean', max_completion_length=None",
    "MostDifferent": "ngram=5",
    "MathAccuracyReward": "float_rounding=6, numeric_precision=15, seconds=5.0, memory_mb=1024, workers=None, "
    "failed_score=0.0, weight=1.0",
    "MaxRLAdvantage": "",
    "ModelTeacher": "policy, micro_batch_tokens=16384",
    "ModelPolicy": "model, tokenizer, rollout=None, lora=None, chat_template=None",
    "MultipleChoiceReward": "choices_column=None, marker='', weight=1.0",
    "NCCLSync": "torch_dtype=None",
    "NoSync": "",
    "NumericReward": "marker='', tolerance=1e-06, weight=1.0",
    "OnlyCorrect": "then=<factory>, reward=None, correct_reward=1.0",
    "PSFTLoss": "epsilon_high=0.28, reduction='token-mean'",
    "PassRateFilter": "groups, reward=None, least=0.1, most=0.9, min_responses=1, unknown='keep', source='self', "
    "correct_reward=1.0",
    "PretrainedPolicy": "model_name_or_path, torch_dtype='float32', attn_implementation=None, revision='main', "
    "gradient_checkpointing=False, trust_remote_code=False, dropout=None, "
    "chat_template=None, fp32_head=False, lora=None, quantization=None, rollout=None",
    "Quantization": "bits=4, quant_type='nf4', double_quant=True, compute_dtype='bfloat16', storage_dtype='uint8'",
    "RFTLoss": "correct_reward=1.0, reduction='token-mean'",
    "ReasoningGymDataModule": "tasks, size=1024, val_size=64, test_size=64, val_by_task=True, "
    "expert_template='<answer>{answer}</answer>', prompt_template='{prompt}', use_chat_template=None, "
    "system_prompt='', chat_template_kwargs=None, response_prefix='', max_prompt_length=2048, "
    "max_response_length=2048, overlong_prompts='error', overlong_demonstrations='drop', batch_size=8, "
    "eval_batch_size=64, shuffle=True, seed=0, num_workers=0, keep=None",
    "ReasoningGymReward": "answer_template='<answer>{answer}</answer>', threshold=1.0, seconds=10.0, memory_mb=1024, "
    "workers=None, failed_score=0.0, weight=1.0, special_tokens=False",
    "ReloadSync": "folder=None, torch_dtype=None",
    "RepetitionPenalty": "ngram_size=3, max_penalty=-1.0, weight=1.0",
    "RewardAdvantage": "",
    "RoutedLoss": "correct_reward=1.0, own=None, reduction='group-mean'",
    "RunRecord": "",
    "SFTLoss": "reduction='token-mean'",
    "SamplingParams": "max_new_tokens=256, temperature=1.0, top_p=1.0, top_k=0, min_p=None, "
    "min_new_tokens=0, stop_strings='', of='SamplingParams'",
    "ScratchPolicy": "alphabet, model_type='qwen2', config=None, lora=None, rollout=None",
    "SelfBaselineAdvantage": "",
    "SelfSource": "num_generations=4, max_new_tokens=512, temperature=1.0, top_p=1.0, top_k=0, "
    "min_p=None, min_new_tokens=0, stop_strings='', teacher=None, ahead=0",
    "SoftOverlongReward": "soft_punish_cache, max_completion_length=None, weight=1.0",
    "Stage": "loss=None, sources=None, rewards=None, advantage=None, num_groups=None, optimizer=None, "
    "reset_optimizer=False, "
    "learning_rate=None, lr_scheduler=None, updates_per_batch=None, reference='run', "
    "max_steps=None, max_epochs=None, until=None, total=None",
    "StageSchedule": "stages, dirpath=None, save=True",
    "StoredSource": "stored='self', as_source=None, num_responses=4",
    "TeacherSource": "num_responses=3",
    "TimeLimitedReward": "reward, seconds, failed_score=None, memory_mb=None",
    "TransformersEngine": "max_batch_size=1024",
    "VLLMEngine": "url=None, command=None, env=None, weights=None, model=None, api_key_env='VLLM_API_KEY', "
    "timeout=600.0, max_retries=5, concurrency=256, start_timeout=900.0, log='runs/vllm.log', "
    "max_logprob_difference=0.5, sleep=False",
    "Watchdog": "factor=5.0, least_seconds=60.0",
    "WeightedSum": "",
    "WarmupSchedule": "name='cosine', warmup_steps=0, warmup_ratio=0.0, min_lr_ratio=0.0, decay_ratio=0.2",
}
ABSTRACT = {
    "AdvantageEstimator",
    "Choice",
    "CoefficientRectifier",
    "GroupLoss",
    "JudgedReward",
    "LossWrapper",
    "PolicyLoader",
    "PromptDataModule",
    "ResponseSource",
    "Reward",
    "RewardTotal",
    "RolloutEngine",
    "RowFilter",
    "Schedule",
    "Teacher",
    "WeightSync",
}
"""What users derive from."""
MADE_BY_THE_PACKAGE = {"GroupBatch", "Policy", "PromptBatch", "Response", "Source", "TokenBatch"}
"""What users are handed."""


def written(function: object) -> str:
    """Return a signature without types; a default that is a function is `Ellipsis`."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    bare = []
    for parameter in signature.parameters.values():
        default = ... if inspect.isfunction(parameter.default) else parameter.default
        bare.append(parameter.replace(annotation=parameter.empty, default=default))
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))[1:-1]


@pytest.mark.parametrize("name", SIGNATURES)
def test_function(name: str):
    assert written(getattr(functional, name)) == SIGNATURES[name]


def test_constructors():
    assert {name: written(getattr(lightning_gft, name)) for name in CONSTRUCTORS} == CONSTRUCTORS


def test_every_public_class_that_is_made_by_users_has_a_frozen_constructor():
    others = {*ABSTRACT, *MADE_BY_THE_PACKAGE, "functional", "__version__"}
    assert {*CONSTRUCTORS} | others == {*lightning_gft.__all__}
    assert all(inspect.isabstract(getattr(lightning_gft, name)) for name in ABSTRACT)


def test_yaml_reads_the_names_of_settings_as_text():
    """Plain YAML takes a key such as ``off`` or ``no`` for a truth value."""
    names = {name for kind in CONSTRUCTORS for name in inspect.signature(getattr(lightning_gft, kind)).parameters}
    assert [name for name in names if yaml.safe_load(f"{name}: 1") != {name: 1}] == []


def test_everything_public_is_there_and_documented():
    for module in (lightning_gft, functional):
        for name in set(module.__all__) - {"Reduction", "__version__"}:  # a type and a text
            assert inspect.getdoc(getattr(module, name)), name
    assert {*lightning_gft.__all__} <= {*dir(lightning_gft)}


FRESH = """
import sys
import lightning_gft
assert "torch" not in sys.modules, "import lightning_gft"

def loaded(*libraries):
    return [name for name in libraries if name in sys.modules]

from lightning_gft.functional import gft_loss
assert not loaded("lightning", "transformers", "datasets", "torch._dynamo"), "functional"
import lightning_gft.cli
assert not loaded("lightning", "transformers", "datasets"), "import lightning_gft.cli"

import logging, warnings
import lightning.pytorch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

def loggers():
    known = logging.root.manager.loggerDict
    return {name: (known[name].level, known[name].filters) for name in [*known] if hasattr(known[name], "level")}

functions, filters, before = set(ALL_ATTENTION_FUNCTIONS.valid_keys()), [*warnings.filters], loggers()
for name in lightning_gft.__all__:
    if name != "GroupDataModule":
        getattr(lightning_gft, name)
assert set(ALL_ATTENTION_FUNCTIONS.valid_keys()) == functions
assert warnings.filters == filters
changed = {name: now for name, now in loggers().items() if now != before.get(name, (0, []))}
assert not changed, changed
seldom = loaded("bitsandbytes", "datasets", "openai", "pandas", "peft", "pyarrow", "tensorboard")
assert not seldom, seldom
"""


def test_imports_load_little_and_change_nothing():
    subprocess.run([sys.executable, "-c", FRESH], check=True)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'lightning_gft' has no attribute 'GTFLoss'"):
        _ = lightning_gft.GTFLoss


def test_version_is_that_of_the_distribution():
    assert lightning_gft.__version__ == version("lightning-gft")
