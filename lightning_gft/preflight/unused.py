"""Warns of what a run reads or samples without effect."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.data import PromptDataModule
from lightning_gft.policy import PolicyLoader
from lightning_gft.sampler import GroupSampler
from lightning_gft.training import Stages, unused_sources
from lightning_gft.types import Source


def warn_of_unused(data: PromptDataModule, policy: PolicyLoader, samplers: Sequence[GroupSampler]) -> None:
    """Warn of a chat template that no prompt uses, and of a column of demonstrations that no source reads."""
    _warn_of_unused_template(data, policy)
    _warn_of_unused_columns(data, samplers)


def warn_of_unused_sources(data: PromptDataModule, stages: Stages) -> None:
    """Warn of each source whose responses a stage samples in vain, with the cost of a step."""
    for stage, (loss, sampler, _) in stages.all().items():
        for name, source in unused_sources(sampler, loss).items():
            setting = f"`stages.{stage}.sources.{name}`" if stage else f"`model.sampler.sources.{name}`"
            wanted = " and ".join(role.name.lower() for role in sorted(loss.trains_on()))
            kind = "own samples" if source.source == Source.SELF else f"{source.source.name.lower()} responses"
            length = source.longest_response()
            tokens = f", up to {length} tokens each" if length else ""
            rank_zero_warn(
                f"{setting}: expected {wanted} responses, the only ones that {type(loss).__name__} trains on, got "
                f"{source.num_responses} {kind} per prompt, from which it learns nothing: up to "
                f"{source.most_given() * data.batch_size} sampled and scored per step and rank{tokens}; leave the "
                "source out, or choose a loss that trains on it"
            )


def _warn_of_unused_template(data: PromptDataModule, policy: PolicyLoader) -> None:
    if getattr(policy, "chat_template", None) is None:
        return
    if not data.make_encoder(policy.tokenizer).prompts.uses_chat_template:
        rank_zero_warn(
            "`chat_template` of the policy: expected prompts that use it, got data without a chat template; omit "
            "use_chat_template or set it to true, or omit chat_template"
        )


def _warn_of_unused_columns(data: PromptDataModule, samplers: Sequence[GroupSampler]) -> None:
    sources = [source for sampler in samplers for source in sampler.sources.values()]
    read = frozenset[str]().union(*(source.reads() for source in sources))
    for role in ("expert", "teacher"):
        column = getattr(getattr(data, "columns", None), f"{role}_column", None)
        if column is not None and role not in read:
            kind = {"expert": "an ExpertSource", "teacher": "a TeacherSource"}[role]
            rank_zero_warn(
                f"`{role}_column`: expected a source for {role} responses, got none in model.sampler.sources, so the "
                f"column {column!r} has no effect; add {kind}, or set it to null"
            )
