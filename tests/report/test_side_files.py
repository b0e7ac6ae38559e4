"""Damaged files beside a log: each costs what is damaged of it, with one note in the page and one line of warning."""

from __future__ import annotations

import json

import pytest

from lightning_gft.cli import main
from tests.report.logged import train, write_log

WEIGHTS = {"step": 1, "before": {"self": {"0": 1}}, "after": {"self": {"0": 1}}}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("run.json", text) for text in ("", "[]", "null", "[" * 100_000, '{"version": 99}')),
        *(("run.json", json.dumps({"version": 1, name: 1.5})) for name in ("versions", "data", "device", "parameters")),
        ("run.json", json.dumps({"version": 1, "starts": [1]})),
        *(("weights.jsonl", json.dumps({**WEIGHTS, "before": of}) + "\n") for of in (None, [1], {"self": {"x": 1}})),
        *(("weights.jsonl", json.dumps({**WEIGHTS, "after": {"self": of}}) + "\n") for of in ({"9999": 1}, {"0": "1"})),
        *(("advice.jsonl", text) for text in ("text\n", '{"step": 1}\n', '{"step": true, "text": ""}\n')),
        *(("config.yaml", text) for text in ("{", "- 1", "model: x", "a: &a [*a]", f"a: {'[' * 3000}{']' * 3000}")),
        ("config.yaml", "model: {loss: {class_path: 3, init_args: [1]}}"),
        ("samples/train-000001.parquet", "text"),
    ],
)
def test_a_damaged_file_costs_its_own_section(tmp_path, capsys, monkeypatch, name, content):
    monkeypatch.setattr("lightning_gft.report.command.save_plot", lambda *_: None)  # which shows logs alone
    path = write_log(tmp_path / "gft", [train(1)]).parent / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    main(["report", str(tmp_path / "gft"), f"--output={tmp_path}/report.html"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {path}: ")
    page = (tmp_path / "report.html").read_text()
    assert page.count('class="note fault"') == 1
    assert f"<code>{name}</code>" in page
    assert str(tmp_path) not in page
