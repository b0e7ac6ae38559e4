"""Reads a plan from its YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.study.plan import Method, Plan, PlanError, Settings
from lightning_gft.checks import did_you_mean
from lightning_gft.errors import GFTError

ROOT = Path(__file__).parents[2]
"""The repository: files that a plan names are looked for here."""

PLANS = Path(__file__).parent / "plans"

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_plan(name: str) -> Plan:
    """Return a plan from its file.

    ``like`` names another plan: its settings except ``times_of`` apply where the file gives none. ``only`` keeps
    some of its methods, and ``methods`` adds others; the ``like`` of a method names one of the other plan's, whose
    settings apply where the method gives none.

    Args:
        name: Name of a file in ``benchmarks/study/plans`` without ``.yaml``, or the path of another.

    Raises:
        PlanError: If the file is missing or does not say what is needed.
    """
    path = _path(name)
    given = _read(path)
    try:
        given = _with_other(given, {path.stem})
        methods = {key: _method(key, value) for key, value in given.pop("methods").items()}
        base = _layer(given.pop("base"))
        variants = {str(key): _layer(value) for key, value in given.pop("variants", {"": {}}).items()}
        lists: Settings = {key: tuple(given.pop(key, ())) for key in ("learning_rates", "tuning_seeds", "seeds")}
        given["reference"] = given.get("reference") or next(iter(methods), "")
        given["highlighted"] = tuple(given.get("highlighted") or [*methods][:6])
        for name in ("choice_of", "times_of"):
            if given.get(name):
                _read(_path(given[name]))  # before hours of runs, not after them
        return Plan(name=path.stem, base=base, methods=methods, variants=variants, **lists, **given)
    except GFTError as error:
        raise PlanError(f"{path}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise PlanError(f"`{path}`: expected the settings of a plan, got {error}; see plans/main.yaml") from None


def _with_other(given: Settings, above: set[str]) -> Settings:
    """Return settings layered over those of the plan that their ``like`` names.

    Args:
        given: Settings of a plan.
        above: Names of the plan and of those that are like it.
    """
    if "like" not in given:
        return given
    name = given.pop("like")
    if name in above:
        raise PlanError(f"`like`: expected another plan, got {name}, which is like this one; name another")
    other = _with_other(_read(PLANS / f"{name}.yaml"), {*above, name})
    kept = {key: other["methods"][key] for key in given.pop("only", other["methods"])}
    own = {key: _like(key, value, other["methods"]) for key, value in given.pop("methods", {}).items()}
    methods = {**kept, **own}
    pictured = [key for key in other.get("highlighted", ()) if key in methods]
    other.pop("times_of", None)  # this plan's runs are others
    return {**other, "methods": methods, "highlighted": pictured, **given}


def _like(name: str, given: Settings, others: Mapping[str, Settings]) -> Settings:
    """Return settings of a method layered over those, except the label, of the method that their ``like`` names."""
    if "like" not in given:
        return given
    other = given["like"]
    if other not in others:
        raise PlanError(
            f"`methods.{name}.like`: expected a method of the plan that this one is like, got {other!r}"
            f"{did_you_mean(other, others) or '; name one'}"
        )
    return {key: value for key, value in {**others[other], "label": "", **given}.items() if key != "like"}


def _method(name: str, given: Mapping[str, Any]) -> Method:
    if "like" in given:
        raise PlanError(
            f"`methods.{name}.like`: expected a plan that is like another, got none; add `like` to the plan"
        )
    layers = tuple(_layer(layer) for layer in given.get("layers", ()))
    return Method(name=name, **{**given, "layers": layers})


def _layer(given: str | Settings) -> Settings:
    """Return a configuration that is written in the plan, or is a file of the repository."""
    return _read(ROOT / given) if isinstance(given, str) else given


def _path(name: str) -> Path:
    return PLANS / f"{name}.yaml" if "/" not in name and not name.endswith(".yaml") else Path(name)


def _read(path: Path) -> Settings:
    try:
        found = yaml.load(path.read_text(), _SafeLoader)  # noqa: S506 (a safe loader)
    except OSError as error:
        raise PlanError(f"`{path}`: expected a YAML file, got {error.strerror}; name another") from None
    except yaml.YAMLError as error:
        raise PlanError(f"`{path}`: expected YAML, got {' '.join(str(error).split())}; mend the file") from None
    if not isinstance(found, dict):
        raise PlanError(f"`{path}`: expected settings by name, got {type(found).__name__}; mend the file")
    return found
