"""A model card: what a policy started from, how it was trained, what was measured, and how to load it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

from lightning_gft.checkpoint import MEASURED_AT
from lightning_gft.export.recipes import loading_adapter, loading_model
from lightning_gft.module import GFTLitModule

_PACKAGES = ("lightning-gft", "torch", "lightning", "transformers", "peft", "bitsandbytes")
_PLAIN = (bool, int, float, str)


def model_card(
    module: GFTLitModule, *, data: object = None, is_adapter: bool = False, tokenizer_class: str = "AutoTokenizer"
) -> str:
    """Return the card of a trained policy, as Markdown with the metadata that the hub reads.

    Args:
        module: What was trained.
        data: What it was trained on.
        is_adapter: Whether the card stands beside an adapter rather than a whole model.
        tokenizer_class: What loads the tokenizer beside the card.

    Example:
        >>> from lightning_gft import ArithmeticPolicy, ExactMatchReward, ExpertSource, GroupSampler, SFTLoss
        >>> sampler = GroupSampler({"expert": ExpertSource()}, {"accuracy": ExactMatchReward()})
        >>> module = GFTLitModule(ArithmeticPolicy(), sampler, SFTLoss())
        >>> print(model_card(module).split("## Training")[0].split("---")[2].strip())
        # arithmetic, fine-tuned
        <BLANKLINE>
        `arithmetic` after training with lightning_gft (SFTLoss).
    """
    base = getattr(module.policy_loader, "model_name_or_path", None)
    name = type(module.policy_loader).__name__ if base is None else Path(base).name
    on_hub = base is not None and not Path(base).exists()  # a folder of this machine is nobody else's
    head = {
        **({"base_model": base} if on_hub else {}),
        "library_name": "peft" if is_adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["lightning-gft", "group-fine-tuning", *(["lora"] if is_adapter else [])],
    }
    loss = type(module.loss).__name__
    sections = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {name}, fine-tuned",
        f"`{name}` after training with lightning_gft ({loss}).",
        "## Training",
        _table(_settings(module, data), "part", "setting"),
        *_results(module),
        "## Load it",
        *(loading_adapter(base or name, module, tokenizer_class) if is_adapter else [loading_model(tokenizer_class)]),
        "## Made with",
        _table(_versions(), "package", "version"),
    ]
    return "\n\n".join(sections) + "\n"


def describe(part: object) -> str:
    """Return a part of a run with what it was made with, as far as it is plain.

    Args:
        part: Anything that keeps its arguments under their names.

    Example:
        >>> from lightning_gft import NumericReward
        >>> describe(NumericReward(marker="####"))
        "NumericReward(marker='####', tolerance=1e-06, weight=1.0)"
    """
    if is_dataclass(part):
        return repr(part)
    names = [name for name in inspect.signature(type(part).__init__).parameters if hasattr(part, name)]
    shown = [f"{name}={_shown(getattr(part, name))}" for name in names if isinstance(getattr(part, name), _PLAIN)]
    shown += [repr(value) for value in vars(part).values() if is_dataclass(value)]
    return f"{type(part).__name__}({', '.join(shown)})"


def _shown(value: object) -> str:
    """Return a value as Python writes it, but only the last part of a path, which is nobody else's."""
    is_path = isinstance(value, str) and "/" in value and Path(value).exists()
    return repr(Path(str(value)).name if is_path else value)


def _settings(module: GFTLitModule, data: object) -> Iterator[tuple[str, str]]:
    yield "policy", describe(module.policy_loader)
    for name, source in module.sampler.sources.items():
        yield f"source `{name}`", f"{describe(source)}, {source.num_responses} a prompt"
    for name, reward in module.sampler.rewards.items():
        yield f"reward `{name}`", describe(reward)
    yield "advantage", describe(module.sampler.advantage)
    yield "loss", describe(module.loss)
    yield "rectifier", repr(module.loss.rectifier)
    for name, value in module.optimizer_description().items():
        yield name, value
    yield "updates per batch", str(module.updates_per_batch)
    yield "optimizer steps", str(module.trained_steps())
    if data is not None:
        yield "data", describe(data)


def _results(module: GFTLitModule) -> Iterator[str]:
    figures = module.measured()
    step = figures.pop(MEASURED_AT, None)
    if not figures:
        return
    yield "## Results"
    if step is not None:
        yield f"As measured after {step:.0f} optimizer steps."
    yield _table(((f"`{name}`", f"{value:.4g}") for name, value in figures.items()), "figure", "value")


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _table(rows: Iterator[tuple[str, str]], *heading: str) -> str:
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)
