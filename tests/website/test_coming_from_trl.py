"""The names of docs/coming-from-trl.md exist on both sides."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer, callbacks
from transformers import TrainingArguments

import lightning_gft
from website.links import ROOT

trl = pytest.importorskip("trl")
PAGE = (ROOT / "docs/coming-from-trl.md").read_text()
CODE = re.compile(r"`([^`]+)`")
NAME = re.compile(r"[a-z_0-9]+(?==|$)")


def rows(section: str) -> list[list[str]]:
    """Return the cells of the rows of a section's last table."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.split(" | ")] for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip("| ") for cell in row] for row in cells]


def theirs(cell: str) -> list[str]:
    return [match[0] for text in CODE.findall(cell) if (match := NAME.match(text))]


def ours(cell: str) -> list[str]:
    return [text for text in CODE.findall(cell) if text[0].isupper()]


def settings_of(*names: str) -> set[str]:
    kinds: dict[str, Any] = {
        "TrainingArguments": TrainingArguments,
        "ModelConfig": trl.ModelConfig,
        "SFTConfig": trl.SFTConfig,
        "GRPOConfig": trl.GRPOConfig,
    }
    return {field.name for name in names for field in fields(kinds[name])}


@pytest.mark.parametrize(
    ("section", "config"),
    [
        ("TrainingArguments", "TrainingArguments"),
        ("Models and adapters", "ModelConfig"),
        ("SFTConfig", "SFTConfig"),
        ("GRPOConfig", "GRPOConfig"),
    ],
)
def test_settings_exist_on_both_sides(section: str, config: str) -> None:
    known = settings_of(config)
    assert len(rows(section)) >= 8
    for row in rows(section):
        assert theirs(row[0])
        assert set(theirs(row[0])) <= known, row[0]
        for name in ours(row[1]):
            assert exists(name), f"{row[0]}: {name}"


def exists(name: str) -> bool:
    """Return whether a class, or a setting of a class, is one of this package or of Lightning."""
    kind, _, setting = name.partition(".")
    found = getattr(lightning_gft, kind, None) or {"Trainer": Trainer}.get(kind) or getattr(callbacks, kind, None)
    if found is None:
        return False
    inherited = {name for base in inspect.getmro(found) for name in vars(base)}
    return not setting or setting in inspect.signature(found).parameters or setting in inherited


def test_losses_are_trls_own() -> None:
    described = next(field for field in fields(trl.GRPOConfig) if field.name == "loss_type").metadata["help"]
    named = re.findall(r'loss_type="(\w+)"', "".join(row[0] for row in rows("GRPOConfig")))
    assert set(named) == set(re.findall(r"'(\w+)'(?: \(default\))?:", described)) - {"None"}


def test_rewards_exist_on_both_sides() -> None:
    rewards = import_module("trl.rewards")
    for row in rows("Rewards"):
        assert all(hasattr(rewards, name) for name in theirs(row[0]))
        assert all(exists(name) for name in ours(row[1]))


def test_trainers_exist() -> None:
    for row in rows("Trainers"):
        assert all(hasattr(trl, name) for name in re.findall(r"\w+Trainer", row[0]))
        assert all(exists(name) for name in ours(row[1]))


def test_figures_are_logged_by_both() -> None:
    spec = find_spec("trl.trainer.grpo_trainer")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    figures = (ROOT / "docs/figures.md").read_text()
    names = [name for row in rows("Figures") for name in CODE.findall(row[0])]
    assert {"reward", "kl", "entropy"} <= set(names)
    for name in names:
        assert f'"{name.partition("<")[0]}' in source, name
    for row in rows("Figures")[:2]:
        assert all(f"`{name}`" in figures for name in CODE.findall(row[0]))
