"""Groups as tables of the trainer's loggers."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_gft.callbacks.group_table.loggers import log_groups
from tests.samples.making import FIGURES, group, response

HOSTILE = "<script>x</script> | **b** `c` [d](http://e) ![f](http://g/h.png) &lt; \\| ~~j~~ # k\n\nnext \x1b[2J\u202e"
SEEN = HOSTILE.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")
COLUMNS = ["step", "dataset", "group", "prompt", "source", "completion", "finish_reason", "reward"]
COLUMNS += ["rewards/accuracy", "rewards/format", "advantage", "rectified"]
UNSCORED = response(rewards={"accuracy": 1.0, "format": None})
GROUPS = [group(40, responses=[response(completion=HOSTILE, trained=FIGURES), UNSCORED])]
ROWS = [
    [40, "", 3, "1+1=", "self", SEEN, "stop", 1.5, 1.0, 0.5, 0.25, 0.5],
    [40, "", 3, "1+1=", "self", "2€", "stop", 1.5, 1.0, None, 0.25, None],
]


def test_wandb(monkeypatch: pytest.MonkeyPatch):
    """What W&B's library gets from Lightning's logger, which is real."""
    wandb, logged = ModuleType("wandb"), []

    class Table:
        def __init__(self, columns: Any = None, data: Any = None, dataframe: Any = None) -> None:
            self.columns, self.data, self.dataframe = columns, data, dataframe

    wandb.Table = Table  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    logger = WandbLogger.__new__(WandbLogger)
    monkeypatch.setattr(WandbLogger, "log_metrics", lambda self, metrics, step: logged.append((metrics, step)))
    log_groups([logger], GROUPS)
    (((key, table),), step) = logged[0][0].items(), logged[0][1]
    assert (key, step, table.columns, table.data, table.dataframe) == ("samples/train", 40, COLUMNS, ROWS, None)


class MlflowClient:
    """Has the signature of MLflow 3.17's."""

    def __init__(self) -> None:
        self.logged: list[tuple[str, dict[str, list[Any]], str]] = []

    def log_table(self, run_id: str, data: dict[str, list[Any]], artifact_file: str) -> None:
        self.logged.append((run_id, data, artifact_file))


def test_mlflow(monkeypatch: pytest.MonkeyPatch):
    logger, client = MLFlowLogger.__new__(MLFlowLogger), MlflowClient()
    monkeypatch.setattr(MLFlowLogger, "experiment", client)
    monkeypatch.setattr(MLFlowLogger, "run_id", "abc")
    log_groups([logger], GROUPS)
    log_groups([logger], [group(40, "val", dataset="hard")])
    (run_id, data, name), (_, validation, other) = client.logged
    assert (run_id, name, other) == ("abc", "samples/train.json", "samples/val.json")
    assert list(data) == COLUMNS
    assert [list(row) for row in zip(*data.values(), strict=True)] == ROWS
    assert validation["dataset"] == ["hard", "hard"]


@pytest.mark.filterwarnings("ignore:html5lib's sanitizer is deprecated")
def test_tensorboard_shows_what_was_written_and_obeys_none_of_it(tmp_path: Path):
    from tensorboard.plugin_util import markdown_to_safe_html

    logger = TensorBoardLogger(str(tmp_path))
    log_groups([logger], GROUPS)
    logger.experiment.flush()
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    (event,) = events.Tensors("samples/train/text_summary")
    page = markdown_to_safe_html(event.tensor_proto.string_val[0])
    cells = [html.unescape(cell.replace("<br>", "\n")) for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", page, re.DOTALL)]
    assert event.step == 40
    assert cells[:12] == COLUMNS
    assert cells[12:24] == ["40", "", "3", "1+1=", "self", SEEN, "stop", "1.5", "1", "0.5", "0.25", "0.5"]
    assert len(cells) == 36
    assert {*re.findall(r"</?(\w+)", page)} == {"table", "thead", "tbody", "tr", "th", "td", "br"}


class TrackioLogger(Logger):
    """As a user would write one, since Lightning has none: it has trackio's run as its experiment."""

    def __init__(self, run: Any) -> None:
        super().__init__()
        self.experiment = run

    name, version = "trackio", "0"

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None: ...
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...


def test_trackio(monkeypatch: pytest.MonkeyPatch):
    """Has the signatures of trackio 0.43's."""
    trackio, logged = ModuleType("trackio"), []

    class Table:
        def __init__(self, columns: list[str] | None = None, data: list[list[Any]] | None = None) -> None:
            self.columns, self.data = columns, data

    class Run:
        __module__ = "trackio.run"

        def log(self, metrics: dict[str, Any], step: int | None = None) -> None:
            logged.append((metrics, step))

    trackio.Table = Table  # type: ignore[attr-defined]
    trackio.log = Run().log  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    log_groups([TrackioLogger(Run()), TrackioLogger(trackio)], GROUPS)
    assert len(logged) == 2
    for metrics, step in logged:
        assert (list(metrics), step) == (["samples/train"], 40)
        table = metrics["samples/train"]
        assert table.columns == COLUMNS
        texts = [html.unescape(row[5].replace("<br>", "\n")) for row in table.data]
        assert texts == [SEEN, "2€"]
        assert "**" not in table.data[0][5]  # it takes texts for Markdown


def test_a_logger_of_ones_own(tmp_path: Path):
    class Own(CSVLogger):
        def log_table(self, key: str, columns: Any, data: Any, step: int) -> None:
            self.table = key, columns, data, step

    own = Own(str(tmp_path))
    log_groups([own], GROUPS)
    assert own.table == ("samples/train", COLUMNS, ROWS, 40)


def test_loggers_without_tables_get_nothing(tmp_path: Path):
    logger = CSVLogger(str(tmp_path))
    log_groups([logger], GROUPS)
    logger.save()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_long_text_is_cut():
    class Own(Logger):
        name = version = "own"

        def log_metrics(self, *args: Any) -> None: ...
        def log_hyperparams(self, *args: Any) -> None: ...
        def log_table(self, key: str, columns: Any, data: Any, step: int) -> None:
            (self.row,) = data

    own = Own()
    log_groups([own], [group(prompt="p" * 10_000, responses=[response(completion="c" * 1_000_000)])])
    assert "[6000 characters]" in own.row[3]
    assert "[996000 characters]" in own.row[5]
