"""The page as a whole: it holds what was recorded, needs nothing besides itself, and says nothing of the machine."""

from __future__ import annotations

import re
import socket
from html.parser import HTMLParser

import pytest
import yaml
from typing_extensions import override

from lightning_gft.record import ADVICE, WEIGHTS
from lightning_gft.report.page import build_page
from lightning_gft.report.runs import Run
from tests.report.logged import long_log, train, val, write_log, write_rows, write_run_json
from tests.report.written import many, write_groups

VOID = {"meta", "link", "br", "input", "hr", "img"}


class Reader(HTMLParser):
    """Notes the elements of a page and checks that each one is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.feed(page)
        assert not self.open

    @override
    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    @override
    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    @override
    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def recorded(tmp_path, name: str = "gft", rows=None, groups=()) -> Run:
    """Return a run with a whole record."""
    rows = rows or [
        val(0, 0.5, **{"mean@4": 0.4, "pass@2": 0.5, "pass@4": 0.6, "kl": 0.0, "hard/greedy_accuracy": 0.5}),
        train(
            1, **{"reward_by_source/self": 0.5, "reward_by_source/expert": 1.0, "time/rollout": 0.6, "time/update": 0.2}
        ),
        val(1, 0.75, **{"mean@4": 0.6, "pass@2": 0.7, "pass@4": 0.8, "kl": 0.1, "hard/greedy_accuracy": 0.25}),
    ]
    folder = write_log(tmp_path / name, rows).parent
    write_run_json(folder)
    config = {
        "trainer": {"max_steps": 2, "default_root_dir": str(tmp_path)},
        "model": {"loss": {"class_path": f"a.{name}"}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    weights = {"before": {"self": {"0": 90, "80": 10}}, "after": {"self": {"0": 100}}}
    write_rows(folder, WEIGHTS, [{"step": 1, **weights}])
    write_rows(folder, ADVICE, [{"step": 1, "name": "a", "figures": {}, "text": "entropy is low: try a lower rate"}])
    write_groups(folder, groups)
    return Run.read(name, tmp_path / name)


def text(page: str) -> str:
    body = re.sub(r"<(script|style|desc|title)[^>]*>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def test_everything_recorded_has_its_section(tmp_path):
    page = build_page([recorded(tmp_path, groups=many(2, 5))])
    reader = Reader(page)
    sections = [value for tag, name, value in reader.attributes if (tag, name) == ("section", "id")]
    assert sections == [
        *("about", "verdict", "advice", "curves", "tradeoffs", "draws", "weights", "samples", "figures"),
        "configuration",
    ]
    assert len(reader.ids) == len(set(reader.ids))
    shown = text(page)
    for said in (
        "2 × H200 (cuda), 2 ranks, bf16-true",  # noqa: RUF001
        "2M parameters, 25.0% of them trained",
        "512 training prompts, 128 validation prompts, 64 validation prompts of second_skill",
        "1 of 2: running or stopped early",
        "it forgot some of hard",
        "entropy is low: try a lower rate",
        "largest 1,024 before, 1 after",
        "train/time/rollout",
        "max_steps: 2",
    ):
        assert said in shown
    assert "rollout 60%" in page


def test_links_lead_to_sections_of_the_page(tmp_path):
    reader = Reader(build_page([recorded(tmp_path)]))
    links = [value for tag, name, value in reader.attributes if name == "href"]
    assert links
    assert all(link.startswith("#") and link[1:] in reader.ids for link in links)


def test_runs_that_log_different_things_stand_side_by_side(tmp_path):
    other = recorded(tmp_path, "other", [train(1, grad_norm=1.0), train(2, grad_norm=2.0)])
    page = build_page([recorded(tmp_path), other])
    Reader(page)
    shown = text(page)
    assert "gft and other" in shown
    assert "other has not finished a validation yet." in shown
    assert "model.loss" in shown.partition("Differences")[2]
    assert "Gradient norm" in shown


def test_the_page_needs_and_may_load_nothing(tmp_path):
    page = build_page([recorded(tmp_path, groups=many(2, 5))])
    reader = Reader(page)
    assert not [
        of for of in reader.attributes if of[1] in ("src", "srcset", "style", "action") or of[1].startswith("on")
    ]
    assert not re.search(r"url\(|@import|https?://", page)
    [policy] = [value for tag, name, value in reader.attributes if name == "content" and "default-src" in value]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_the_page_says_nothing_of_the_machine(tmp_path):
    page = build_page([recorded(tmp_path, groups=many(2, 5))])
    assert str(tmp_path) not in page
    assert str(tmp_path.parent) not in page
    assert socket.gethostname() not in text(page).split()


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"\u202e'"


def test_hostile_text_stays_text_wherever_it_comes_from(tmp_path):
    rows = [
        val(0, 0.5, **{f"{HOSTILE}/greedy_accuracy": 0.5}),
        train(1, **{HOSTILE: 0.5, f"reward_by_source/{HOSTILE}": 0.5, f"time/{HOSTILE}": 0.5}),
        val(1, 0.5, **{f"{HOSTILE}/greedy_accuracy": 0.5}),
    ]
    folder = recorded(
        tmp_path, "gft", [{key.replace("/script", "-script"): value for key, value in row.items()} for row in rows]
    )
    path = folder.parts[-1].folder
    write_run_json(
        path, versions={HOSTILE: HOSTILE}, model=HOSTILE, device={"kind": HOSTILE, "name": HOSTILE, "count": 1}
    )
    (path / "config.yaml").write_text(
        yaml.safe_dump({HOSTILE: HOSTILE, "model": {"loss": {"class_path": f"a.{HOSTILE}"}}})
    )
    write_rows(path, ADVICE, [{"step": 2, "name": HOSTILE, "figures": {}, "text": HOSTILE}])
    write_rows(path, WEIGHTS, [{"step": 2, "before": {HOSTILE: {"0": 1}}, "after": {HOSTILE: {"0": 1}}}])
    page = build_page([Run(HOSTILE, folder.parts, Run.read("gft", tmp_path / "gft").figures)])
    reader = Reader(page)
    assert page.count("<script>") == 1
    assert not any(name.startswith("on") for _, name, _ in reader.attributes)
    assert not [tag for tag, _, _ in reader.attributes if tag == "img"]
    assert "\u202e" not in page


def test_a_run_with_nothing_but_a_log_has_a_page(tmp_path):
    write_log(tmp_path, [train(1), val(1, 0.5)])
    reader = Reader(build_page([Run.read("old", tmp_path)]))
    assert {"about", "verdict", "curves", "figures"} <= set(reader.ids)


def test_a_run_that_has_logged_nothing_has_a_page(tmp_path):
    write_log(tmp_path, []).write_text("")
    page = build_page([Run.read("new", tmp_path)])
    Reader(page)
    assert "No figures have been logged yet." in text(page)


@pytest.mark.slow
def test_a_page_of_long_runs_with_many_groups_is_small(tmp_path):
    runs = [
        recorded(tmp_path, name, long_log(2000, 60, seed), many(250, 120)) for seed, name in enumerate(("sft", "gft"))
    ]
    page = build_page(runs)
    Reader(page)
    assert len(page.encode()) < 5_000_000
    assert len(re.sub(r'<section id="samples".*?</section>', "", page, flags=re.DOTALL).encode()) < 1_000_000


@pytest.mark.parametrize("alone", [False, True])
def test_a_curve_of_rewards_names_the_responses_that_it_is_of(tmp_path, alone):
    sft = recorded(tmp_path, "sft", [train(1, **{"reward_by_source/expert": 1.0}), val(1, 0.5)])
    gft = recorded(tmp_path, "gft", [train(1, **{"reward_by_source/self": 0.5, "reward_by_source/expert": 1.0})])
    page = build_page([sft] if alone else [sft, gft])
    titles = re.findall(r"<title>(Reward[^<]*)</title>", page)
    assert titles == ([] if alone else ["Reward of own samples"]) + ["Reward of demonstrations: expert"]


def test_a_log_that_names_no_source_has_a_curve_of_all_rewards(tmp_path):
    page = build_page([recorded(tmp_path, "old", [train(1, reward=1.0), val(1, 0.5)])])
    assert re.findall(r"<title>(Reward[^<]*)</title>", page) == ["Reward"]
