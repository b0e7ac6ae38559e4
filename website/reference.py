"""The configuration reference: every setting, from the signatures and docstrings that the command line parses."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module

import lightning_gft
from lightning_gft import GFTLitModule
from lightning_gft.cli.command import GFTCLI
from lightning_gft.cli.light import COMMANDS, LIGHT
from lightning_gft.cli.trainer import GFTTrainer
from website.groups import GROUPS, Group, members
from website.links import heading
from website.settings import helps, of_class, of_method, summary, table

_INTRODUCTION = """# Configuration reference

Every setting of a configuration, its type, its default and its meaning, generated from the signatures and docstrings
that the command line parses. A class of this package can be named without its module: `class_path: GFTLoss`.
`lightning-gft fit --model.loss.help=GFTLoss` prints the same for one class, and `--print_config` the merged
configuration of a run. [Configurations](configurations.md) shows complete files.

A configuration has four keys: `seed_everything`, [`trainer`](#trainer), [`model`](#model) and [`data`](#data).
`optimizer` is any optimizer of torch or of another library, by `class_path`.
"""
_MODEL = """The settings of the module. `policy`, `sampler`, `loss` and the parts within them are classes, given by
`class_path` and `init_args`; the sections below list them.
"""


def reference_page() -> str:
    """Return the page."""
    return "\n\n".join([_INTRODUCTION, *_commands(), *_sections()]) + "\n"


def _commands() -> Iterator[str]:
    yield "## Commands\n\nOptions beside `--config` and the settings below."
    yield "[Stopping and resuming](resuming.md#resuming) lists what `--ckpt_path` accepts."
    for name, skipped in GFTCLI.subcommands().items():
        yield f"### lightning-gft {name}\n\n{summary(getattr(GFTTrainer, name))}"
        yield table(of_method(GFTTrainer, name, frozenset(skipped)))
    for name, module in LIGHT.items():
        yield f"### lightning-gft {name}\n\n{COMMANDS[name]} It takes no `--config`."
        yield from (f"```text\n{text}```" for text in helps(name, import_module(module).describe))


def _sections() -> Iterator[str]:
    yield "## trainer\n\nThe settings of Lightning's `Trainer`, and `default_callbacks`."
    yield table(of_class(GFTTrainer))
    yield f"## model\n\n{_MODEL}"
    yield table(of_class(GFTLitModule))
    for group in GROUPS:
        yield from _section(group)


def _section(group: Group) -> Iterator[str]:
    classes = {name: getattr(lightning_gft, name) for name in members(group)}
    shown = {name: kind for name, kind in classes.items() if inspect.isclass(kind) and kind is not GFTLitModule}
    if group.slug == "types" or not shown:
        return
    yield f"## {group.title}"
    yield f"[{heading(group.page)}]({group.page}) describes these; [API](api/{group.slug}.md) has them for Python."
    for name, kind in shown.items():
        yield f"### {name}\n\n{summary(kind)}"
        if inspect.isabstract(kind):
            yield "Abstract: a base for your own."
        elif settings := of_class(kind):
            yield table(settings)
