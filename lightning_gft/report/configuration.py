"""Shows the configurations of runs and their differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from lightning_gft.report.markup import table
from lightning_gft.report.runs import Run
from lightning_gft.report.text import escape, isolated

_NONE = "–"  # noqa: RUF001 (a dash)


def configuration_section(runs: Sequence[Run]) -> str:
    """Return the differences between the configurations of trained runs, and each configuration as YAML."""
    configs = {run.name: run.config for run in runs if run.config}
    if not configs:
        return ""
    trained = {run.name: configs[run.name] for run in runs if run.name in configs and run.trained}
    whole = "\n".join(
        f"<details><summary>{isolated(name)}</summary><pre>{escape(_yaml(config))}</pre></details>"
        for name, config in configs.items()
    )
    return (_differences(trained) if len(trained) > 1 else "") + whole


def _differences(configs: Mapping[str, Mapping[str, Any]]) -> str:
    differing = differences([dict(settings(config)) for config in configs.values()])
    if not differing:
        return "<p>The settings shown are the same.</p>\n"
    rows = [[f"<code>{escape(name)}</code>", *map(escape, row)] for name, row in differing.items()]
    compared = table(["setting", *map(isolated, configs)], rows, kind="settings")
    return f"<h3>Differences</h3>\n{compared}\n<h3>All settings</h3>\n"


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the settings whose values differ; parts of different classes are compared by class only.

    Args:
        configs: Settings of each run by their dotted names.

    Example:
        >>> differences([{"lr": 1, "loss": "SFTLoss"}, {"lr": 2, "loss": "GFTLoss", "loss.threshold": 0.7}])
        {'lr': ['1', '2'], 'loss': ['SFTLoss', 'GFTLoss']}
    """
    rows = {name: [_shown(of, name) for of in configs] for name in dict.fromkeys(name for of in configs for name in of)}
    rows = {name: row for name, row in rows.items() if len(set(row)) > 1}
    return {name: row for name, row in rows.items() if not any(name.startswith(f"{other}.") for other in rows)}


def settings(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings of a configuration by their dotted names; the name of a part holds its class.

    Example:
        >>> dict(settings({"loss": {"class_path": "a.GFTLoss", "init_args": {"threshold": 0.7}}, "seed": 0}))
        {'loss': 'GFTLoss', 'loss.threshold': 0.7, 'seed': 0}
    """
    for name, value in config.items():
        if not isinstance(value, Mapping) or not value:
            yield f"{prefix}{name}", value
        elif "class_path" in value:
            yield f"{prefix}{name}", str(value["class_path"]).rpartition(".")[2]
            given = value.get("init_args")
            yield from settings(given if isinstance(given, Mapping) else {}, f"{prefix}{name}.")
        else:
            yield from settings(value, f"{prefix}{name}.")


def _shown(of: Mapping[str, Any], name: str) -> str:
    if name not in of:
        return _NONE
    text = yaml.safe_dump(of[name], default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")


def _yaml(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
