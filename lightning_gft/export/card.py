"""The model card of an export: base model, training settings, measured figures, and how to load it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.checkpoint import MEASURED_AT, describe, setting_differences, without_stages
from lightning_gft.data import PromptDataModule
from lightning_gft.export.prompting import prompting
from lightning_gft.export.recipes import loading_adapter, loading_model
from lightning_gft.module import GFTLitModule

_PACKAGES = ("lightning-gft", "torch", "lightning", "transformers", "peft", "bitsandbytes")


def model_card(
    module: GFTLitModule, *, data: object = None, is_adapter: bool = False, tokenizer_class: str = "AutoTokenizer"
) -> str:
    """Return the card of a policy, as Markdown with the metadata of the Hugging Face hub.

    Args:
        module: Module with the policy and the record of its run, if it was trained.
        data: Datamodule of the current configuration, for a module whose trainer has none.
        is_adapter: Whether the export is an adapter rather than a whole model.
        tokenizer_class: Class in transformers whose ``from_pretrained`` loads the exported tokenizer.

    Example:
        >>> from lightning_gft import ArithmeticPolicy, ExactMatchReward, ExpertSource, GroupSampler, SFTLoss
        >>> sampler = GroupSampler({"expert": ExpertSource()}, {"accuracy": ExactMatchReward()})
        >>> module = GFTLitModule(ArithmeticPolicy(), sampler, SFTLoss())
        >>> print(model_card(module).split("## How")[0].split("---")[2].strip())
        # arithmetic
        <BLANKLINE>
        `arithmetic` as loaded by lightning_gft, before any training.
    """
    base = module.policy_loader.base_name()
    name = type(module.policy_loader).__name__ if base is None else Path(base).name
    on_hub = base is not None and not Path(base).exists()  # a local folder is no name elsewhere
    head = {
        **({"base_model": base} if on_hub else {}),
        "library_name": "peft" if is_adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["lightning-gft", "group-fine-tuning", *(["lora"] if is_adapter else [])],
    }
    sections = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        *(_training(name, module, data) if module.run.steps() else _untrained(name)),
        *_results(module),
        "## How to load it",
        *(loading_adapter(base, module, tokenizer_class) if is_adapter else [loading_model(tokenizer_class)]),
        *(prompting(module, _prompt_settings(module, data)) if module.run.steps() else []),
        "## Versions",
        _table(_versions(), "package", "version"),
    ]
    return "\n\n".join(sections) + "\n"


def _training(name: str, module: GFTLitModule, data: object) -> Iterator[str]:
    loss = module.run.parts()["loss"].partition("(")[0]
    yield f"# {name}, fine-tuned"
    yield f"`{name}` after training with lightning_gft ({loss})."
    yield "## Training"
    yield _table(_settings(module, data), "part", "setting")


def _untrained(name: str) -> Iterator[str]:
    yield f"# {name}"
    yield f"`{name}` as loaded by lightning_gft, before any training."


def _settings(module: GFTLitModule, data: object) -> Iterator[tuple[str, str]]:
    now = {} if data is None else {"data": describe(data)}
    own, trained = module.run.parts_now() | now, now | module.run.parts()
    if differences := setting_differences(without_stages(trained), {"data": trained.get("data")} | without_stages(own)):
        rank_zero_warn(
            "the card lists the settings of the run that wrote the checkpoint; the current configuration differs in "
            + ", ".join(differences)
        )
    yield from trained.items()
    yield from module.run.optimizer_description().items()
    yield "optimizer steps", str(module.run.steps())


def _results(module: GFTLitModule) -> Iterator[str]:
    figures = module.run.measured()
    step = figures.pop(MEASURED_AT, None)
    figures = {name: value for name, value in figures.items() if name.startswith(("val/", "test/"))}  # of no stage
    if not figures:
        return
    yield "## Results"
    if step is not None:
        kind = "test" if any(name.startswith("test/") for name in figures) else "validation"
        yield f"From the {kind} after step {step:.0f}. The weights are those of {_step(module.run.steps(), step)}."
    yield _table(((f"`{name}`", f"{value:.4g}") for name, value in figures.items()), "figure", "value")


def _step(step: int, measured: float) -> str:
    return "the same step" if step == measured else f"step {step}"


def _prompt_settings(module: GFTLitModule, data: object) -> dict[str, Any]:
    """Return the settings of the prompts: of the run, or of the current data if the checkpoint has none."""
    if not (settings := module.run.prompt_settings()) and isinstance(data, PromptDataModule):
        return data.make_encoder(module.tokenizer).prompts.settings
    return settings


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _table(rows: Iterator[tuple[str, str]], *heading: str) -> str:
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)
