"""What of a configuration never reaches a page."""

from __future__ import annotations

import getpass
import socket

import pytest

from lightning_gft.report import redaction
from lightning_gft.report.redaction import REMOVED, redacted


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/home/joe/data/train.jsonl", "train.jsonl"),
        ("/data", "data"),
        ("/mnt/with space/run 1", "run 1"),
        ("~/runs/gft", "gft"),
        ("~joe/runs/gft", "gft"),
        (r"C:\Users\joe\run", "run"),
        (r"\\server\share\run", "run"),
        ("file:///home/joe/x", f"file://{REMOVED}"),
        ("python /home/joe/tool.py --x", "python tool.py --x"),
        ("$HOME/runs/a", "a"),
        ("PATH=/opt/joe/bin:/usr/bin", "PATH=bin:bin"),
        ("https://joe:pw@api.example.com/v1?key=abc", f"https://{REMOVED}"),
        ("s3://bucket/joe/run", f"s3://{REMOVED}"),
        ("10.0.0.7:8000", REMOVED),
        ("joe@example.com", REMOVED),
        ("node7.cluster.internal", REMOVED),
        ("hf_abcdefghijklmnopqrstuvwxyz012345", REMOVED),
        ("sk-proj-abcdefghijkl0123456789", REMOVED),
        ("Bearer abc.def", REMOVED),
        ("0123456789abcdef0123456789abcdef01234567", REMOVED),
    ],
)
def test_what_belongs_to_a_person_or_a_machine_is_taken_out(given, shown):
    assert redacted({"value": given, "list": [given]}) == {"value": shown, "list": [shown]}
    assert redacted({given: 1}) == {shown: 1}


@pytest.mark.parametrize(
    "name",
    [
        *[
            "api_key",
            "apikey",
            "openai_api_key",
            "token",
            "hf_token",
            "password",
            "secret",
            "client-secret",
            "auth",
            "user",
        ],
        *["username", "entity", "master_addr", "host", "headers", "extra_headers", "email", "access_key", "env"],
    ],
)
def test_texts_of_settings_that_open_something_are_never_shown(name):
    assert redacted({name: "plain"}) == {name: REMOVED}
    assert redacted({name: ["plain"], "in": {name.upper(): "plain"}}) == {
        name: [REMOVED],
        "in": {name.upper(): REMOVED},
    }


def test_everything_below_such_a_setting_is_taken_out():
    assert redacted({"headers": {"X-Id": "plain", "more": [{"a": "plain"}]}}) == {
        "headers": {"X-Id": REMOVED, "more": [{"a": REMOVED}]}
    }


@pytest.mark.parametrize(
    "setting",
    [
        {"max_new_tokens": 48, "micro_batch_tokens": 4096, "token": None},
        {"class_path": "lightning_gft.losses.GFTLoss"},
        {"class_path": "lightning_gft.DynamicCoefficientRectifierWithAVeryLongName"},
        {"model_name_or_path": "Qwen/Qwen2.5-0.5B-Instruct", "revision": "0123456789abcdef0123456789abcdef01234567"},
        {"template": "<think>{prompt}</think>\n/no_think a/b and 1/2"},
        {"marker": "####", "separator": "/", "precision": "bf16-true", "betas": [0.9, 0.999]},
        {"prompt_key": "question", "tokenizer": "own", "author": "x", "dataset": "openai/gsm8k"},
        {"path": "data/train.jsonl"},
    ],
)
def test_what_describes_the_run_stays(setting):
    assert redacted(setting) == setting


def test_names_of_this_machine_and_its_user_are_taken_out(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "node7.example")
    monkeypatch.setattr(getpass, "getuser", lambda: "joe_doe")
    redaction._own_names.cache_clear()
    try:
        assert redacted({"group": "run of joe_doe on node7", "other": "joe_does"}) == {
            "group": f"run of {REMOVED} on {REMOVED}",
            "other": "joe_does",
        }
    finally:
        redaction._own_names.cache_clear()
