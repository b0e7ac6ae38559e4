"""What of a text belongs to a person or a machine."""

from __future__ import annotations

import getpass
import socket

import pytest

from lightning_gft.report import private
from lightning_gft.report.private import REMOVED, last_part, without_owner


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("see /mnt/joe/data/train.jsonl", "see train.jsonl"),
        ("python /home/joe/tools/tool.py --x", "python tool.py --x"),
        ("in /home/joe/", f"in {REMOVED}"),
        ("in /home/joe", f"in {REMOVED}"),
        ("in ~joe", f"in {REMOVED}"),
        ("in ../joe", f"in {REMOVED}"),
        ("in home/joe/x/run", "in run"),
        ("in C:/Users/joe", f"in {REMOVED}"),
        (r"C:\Users\joe\run", "run"),
        ("file:///home/joe/x", f"file://{REMOVED}"),
        ("https://joe:pw@api.example.com/v1?key=abc", f"https://{REMOVED}"),
        ("10.0.0.7:8000", REMOVED),
        ("fe80::1ff:fe23:4567:890a", REMOVED),
        ("joe@example.com", REMOVED),
        ("ssh joe@box", f"ssh {REMOVED}"),
        ("node7.cluster.internal", REMOVED),
        ("node7.cluster.example.com:8080", REMOVED),
        ("the key hf_abcdefghijklmnopqrstuvwxyz012345", f"the key {REMOVED}"),
        ("AIzaSyD-abcdefghijklmnopqrstuvwxyz12345", REMOVED),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", REMOVED),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END", REMOVED),
        ("HF_TOKEN=short password=short", f"{REMOVED} {REMOVED}"),
        ("--api-key short", REMOVED),
        ("Authorization: Basic QWxhZGRp", REMOVED),
        ("Bearer abc.def", REMOVED),
    ],
)
def test_it_is_taken_out(given, shown):
    assert without_owner(given) == shown


@pytest.mark.parametrize(
    "text",
    [
        "val/pass@8, val/second/maj@k and train/rewards/math/timeouts",
        "<think>{prompt}</think>\n/no_think a/b and 1/2",
        "lower the learning rate or trainer.gradient_clip_val, at 00:12:00:00",
    ],
)
def test_what_describes_a_run_stays(text):
    assert without_owner(text) == text


def test_a_folder_of_a_person_is_no_name_of_data():
    for path in (
        "/scratch/joe",
        "/home/joe",
        "/nfs/home/j/joe/",
        "~joe",
        "../joe",
        "Users\\joe",
        "/home/joe/x/joe",
        "/",
    ):
        assert last_part(path) is None, path


def test_names_of_this_machine_and_its_user_are_taken_out(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "node7.example")
    monkeypatch.setattr(getpass, "getuser", lambda: "joe_doe")
    private._own_names.cache_clear()
    try:
        assert without_owner("run of joe_doe on node7, joe_does") == f"run of {REMOVED} on {REMOVED}, joe_does"
    finally:
        private._own_names.cache_clear()
