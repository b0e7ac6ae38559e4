"""The whole page of whole runs in a real browser: everywhere readable, and nothing of the machine that made it."""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Page

from lightning_gft.report.page import build_page
from lightning_gft.report.runs import Run
from tests.conftest import quick
from tests.report.contrast import low_contrasts
from tests.report.recorded import CONFIG, record_run
from tests.report.written import many

Visit = Callable[..., Page]
NAMES = ["base", "<script>window.hacked = 1</script>\u202e", "x" * 60]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a page of three runs, two of which have difficult names."""
    folder = tmp_path_factory.mktemp("runs")
    other = CONFIG | {"seed_everything": "</script><script>window.hacked = 1</script>"}
    folders = [
        record_run(folder / "0"),
        record_run(folder / "1", groups=many(20, tokens=12, seed=1), config=other, advice="<img src=x:y> \u202e" * 20),
        record_run(folder / "2"),
    ]
    runs = [Run.read(name, of) for name, of in zip(NAMES, folders, strict=True)]
    page = folder / "report.html"
    page.write_text(build_page(runs), encoding="utf-8")
    return page


def open_everything(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details:not([hidden])').forEach((details) => (details.open = true))")


def test_every_section_is_there_and_reached_by_its_link(visit: Visit, path: Path):
    page = visit(path, reduced_motion="reduce")
    links = page.locator("nav a")
    sections = page.locator("main > section")
    assert [link.get_attribute("href") for link in links.all()] == [f"#{s.get_attribute('id')}" for s in sections.all()]
    assert sections.count() >= 8
    for link in links.all():
        link.click()
        heading = page.locator(f"{link.get_attribute('href')} > h2")
        assert heading.inner_text() == link.inner_text()
    open_everything(page)
    assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize("width", quick([320, 390, 768, 1280], 320, 768))
def test_page_never_scrolls_sideways(visit: Visit, path: Path, width: int):
    page = visit(path, viewport={"width": width, "height": 844})
    open_everything(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(visit: Visit, path: Path, scheme: str):
    page = visit(path, color_scheme=scheme, viewport={"width": 1280, "height": 900})
    open_everything(page)
    assert low_contrasts(page) == []


def test_print_has_dark_text_on_white_paper(visit: Visit, path: Path):
    page = visit(path, color_scheme="dark", viewport={"width": 1280, "height": 900})
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert low_contrasts(page) == []


def test_page_has_one_first_heading_and_no_gap_below_it(visit: Visit, path: Path):
    page = visit(path)
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map((heading) => +heading.tagName[1])")
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(after <= before + 1 for before, after in pairwise(levels))
    names = page.locator("svg[role=img]").evaluate_all(
        "all => all.map((svg) => svg.querySelector('title').textContent)"
    )
    assert names
    assert all(names)


def test_page_allows_nothing_but_its_own_style_and_script(path: Path):
    text = path.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert "unsafe" not in text
    assert not re.findall(r"<[a-z][^<>]* (?:style|on[a-z]+|src)=", text)


def test_nothing_of_the_machine_is_in_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    secrets = {
        "HF_TOKEN": "hf_abcdefghijklmnopqrstuvwxyz",
        "WANDB_API_KEY": "0123456789abcdef" * 3,
        "DATA_HOME": "/mnt/joe",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    config = CONFIG | {
        "trainer": {
            "default_root_dir": str(tmp_path),
            "max_steps": 40,
            "logger": {
                "class_path": "lightning.pytorch.loggers.WandbLogger",
                "init_args": {
                    "save_dir": str(Path.cwd()),
                    "entity": getpass.getuser(),
                    "api_key": secrets["WANDB_API_KEY"],
                },
            },
            "callbacks": [{"class_path": "lightning_gft.GroupWriter", "init_args": {"path": f"{Path.home()}/groups"}}],
        },
        "model": {
            "policy": {
                "class_path": "lightning_gft.PretrainedPolicy",
                "init_args": {"model_name_or_path": f"{secrets['DATA_HOME']}/model", "token": secrets["HF_TOKEN"]},
            },
            "teacher": {"base_url": f"http://{socket.gethostname()}:8000/v1", "key": secrets["HF_TOKEN"]},
        },
        "data": {
            "path": f"{Path.home()}/projects/train.jsonl",
            "train_files": [f"{Path.home()}/data.jsonl", f"~{getpass.getuser()}/data.jsonl", f"{Path.cwd()}/a b.csv"],
        },
    }
    page = build_page([Run.read("gft", record_run(tmp_path / "run", config=config))])
    paths = {value for value in os.environ.values() if os.sep in value and len(value) > 3}
    parts = {part for value in paths for part in value.split(os.pathsep) if part.startswith(os.sep) and len(part) > 3}
    kept = {*secrets.values(), str(Path.home()), str(Path.cwd()), socket.gethostname(), str(tmp_path), *parts}
    assert not {text for text in kept if text in page}
    assert "data.jsonl" not in page
    assert "train.jsonl" in page  # what a run read is its user's to see, without its folder
    assert f"/{getpass.getuser()}/" not in page


def test_nothing_moves_where_motion_is_not_wanted(visit: Visit, path: Path):
    page = visit(path, reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
