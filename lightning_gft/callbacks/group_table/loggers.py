"""Logs groups as tables of the trainer's loggers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lightning.pytorch.loggers import Logger, MLFlowLogger

from lightning_gft.callbacks.group_table.texts import markdown, visible
from lightning_gft.samples import SampledGroup, SampledResponse

_LONG = 4000
"""Characters of a prompt or a response to log."""


class LoggedTable(NamedTuple):
    """Groups in the form of a logger's table.

    Args:
        key: Name of the table, ``samples/train`` or ``samples/val``.
        columns: Names of the columns.
        rows: One row for each response of all groups, with a value for each column.
        step: Optimizer steps taken so far.
    """

    key: str
    columns: list[str]
    rows: list[list[Any]]
    step: int

    def escaped(self) -> list[list[Any]]:
        """Return the rows for a viewer that renders texts as Markdown."""
        return [[markdown(value) if isinstance(value, str) else value for value in row] for row in self.rows]


def log_groups(loggers: Sequence[Logger], groups: Sequence[SampledGroup]) -> None:
    """Log groups with each logger that supports tables or texts; other loggers are skipped.

    Args:
        loggers: The trainer's loggers; call on rank 0 only.
        groups: One or more groups of the same step and kind.
    """
    table = _table(groups)
    for logger in loggers:
        if (log := _log_function(logger)) is not None:
            log(logger, table)


def _table(groups: Sequence[SampledGroup]) -> LoggedTable:
    first = groups[0]
    names = [visible(name) for name in first.weights]
    columns = ["step", "dataset", "group", "prompt", "source", "completion", "finish_reason", "reward"]
    columns += [*(f"rewards/{name}" for name in names), "advantage", "rectified"]
    rows = [_row(group, response) for group in groups for response in group.responses]
    return LoggedTable(f"samples/{first.kind}", columns, rows, first.step)


def _row(group: SampledGroup, response: SampledResponse) -> list[Any]:
    return [
        *(group.step, group.dataset, group.group, visible(group.prompt, _LONG)),
        "greedy" if response.greedy else response.source,
        *(visible(response.completion, _LONG), response.finish_reason, response.reward, *response.rewards.values()),
        response.advantage,
        None if response.trained is None else response.trained.rectified_fraction,
    ]


def _log_function(logger: Any) -> Callable[[Any, LoggedTable], None] | None:
    """Return the function that logs a table with a logger, or ``None`` if the logger supports none.

    The logger's methods decide, except for MLflow's client: its ``log_table`` has another signature than Comet's.
    """
    if hasattr(logger, "log_table"):
        return _by_log_table
    if isinstance(logger, MLFlowLogger):
        return _to_mlflow
    experiment = getattr(logger, "experiment", None)
    if hasattr(experiment, "add_text"):
        return _to_tensorboard
    if _trackio(experiment) is not None:
        return _to_trackio
    return None


def _by_log_table(logger: Any, table: LoggedTable) -> None:
    """Log by ``log_table``, as :class:`~lightning.pytorch.loggers.WandbLogger` has it."""
    logger.log_table(key=table.key, columns=table.columns, data=table.rows, step=table.step)


def _to_mlflow(logger: Any, table: LoggedTable) -> None:
    # A single growing table: MLflow lists the names of a run's tables in a tag, truncates it at 8,000 characters, and
    # cannot parse it afterwards.
    data = {column: [row[number] for row in table.rows] for number, column in enumerate(table.columns)}
    logger.experiment.log_table(logger.run_id, data, f"{table.key}.json")


def _to_tensorboard(logger: Any, table: LoggedTable) -> None:
    lines = [map(markdown, table.columns), ["---"] * len(table.columns), *table.escaped()]
    text = "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)
    logger.experiment.add_text(table.key, text, table.step)


def _to_trackio(logger: Any, table: LoggedTable) -> None:
    shown = _trackio(logger.experiment).Table(columns=table.columns, data=table.escaped())
    logger.experiment.log({table.key: shown}, step=table.step)


def _trackio(experiment: Any) -> Any:
    """Return the module trackio, which the logger has imported, if the experiment is it or one of its runs."""
    module = sys.modules.get("trackio")
    return module if experiment is module or type(experiment).__module__.partition(".")[0] == "trackio" else None


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
