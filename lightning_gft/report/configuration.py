"""The configuration of runs, without what is nobody else's business, and how they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from lightning_gft.report.markup import table
from lightning_gft.report.redaction import redacted
from lightning_gft.report.runs import Run
from lightning_gft.report.text import escape, isolated

_NONE = "–"  # noqa: RUF001 (a dash)


def configuration_section(runs: Sequence[Run]) -> str:
    """Return what differs between the runs' configurations, and each of them as YAML."""
    configs = {run.name: redacted(run.config) for run in runs if run.config}
    if not configs:
        return ""
    whole = "\n".join(
        f"<details><summary>{isolated(name)}</summary><pre>{escape(_yaml(config))}</pre></details>"
        for name, config in configs.items()
    )
    return (_differences(configs) if len(configs) > 1 else "") + whole


def _differences(configs: Mapping[str, Mapping[str, Any]]) -> str:
    flat = {name: dict(settings(config)) for name, config in configs.items()}
    names = dict.fromkeys(name for of in flat.values() for name in of)
    rows = {name: [_shown(of, name) for of in flat.values()] for name in names}
    differing = {name: row for name, row in rows.items() if len(set(row)) > 1}
    if not differing:
        return "<p>The configurations are the same.</p>\n"
    body = [[f"<code>{escape(name)}</code>", *map(escape, row)] for name, row in differing.items()]
    compared = table(["setting", *map(isolated, configs)], body)
    return f"<h3>What differs</h3>\n{compared}\n<h3>All settings</h3>\n"


def settings(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings of a configuration by their dotted names.

    Example:
        >>> dict(settings({"model": {"loss": {"weight": 1}}, "seed": 0}))
        {'model.loss.weight': 1, 'seed': 0}
    """
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(of: Mapping[str, Any], name: str) -> str:
    if name not in of:
        return _NONE
    text = yaml.safe_dump(of[name], default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")


def _yaml(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
