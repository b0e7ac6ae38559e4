"""Settings whose texts a page may show, because they name no person, machine or key.

Numbers, booleans and class paths need no entry. An option whose type is a choice of texts does.
"""

from __future__ import annotations


def _names(*lines: str) -> frozenset[str]:
    return frozenset(name for line in lines for name in line.split())


CHOICES = _names(
    # this package
    "allow as_source direction gates level off over overlong_demonstrations overlong_prompts prefer reasoning rectify",
    "reduction reference responses reward scale shape source stop stored task unknown",
    "test_split train_split val_split",
    "answer_column choices_column conversation_column expert_column prompt_column teacher_column tests_column",
    # torch and Lightning
    "accelerator anneal_strategy devices dtype every gradient_clip_algorithm interval matmul_precision max_time mode",
    "precision process_group_backend profiler sharding_strategy state_dict_type strategy train_time_interval",
    # transformers and PEFT
    "attn_implementation bias compute_dtype experts_implementation init_lora_weights lr_scheduler_type model_type",
    "modules_to_save quant_type storage_dtype target_modules torch_dtype",
)
"""Settings whose text is one word, defined by the code or the data set."""
SCHEDULES = _names("constant cosine inverse_sqrt linear warmup_stable_decay")
"""Values of a setting ``name`` that are shown; in other parts, ``name`` names a run or a project."""
FIGURES = _names("figures monitor shares")
PLACES = _names("adapter_path model model_name_or_path path test_path tokenizer train_path val_path")
"""Models and data: the name on a hub, or the last part of a path."""
PROSE = _names(
    "answer_marker answer_template expert_template marker pattern prompt_template response_prefix separator",
    "stop_strings system_prompt template",
)
"""Texts within prompts and responses, which the samples show as well."""
