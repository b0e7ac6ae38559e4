"""The site's navigation has every page once, and the pages that are generated are those that it names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from website.api import api_pages
from website.diagram import PATH, diagram
from website.groups import GROUPS, members, ungrouped
from website.links import CONFIGURATIONS, PAGES, ROOT, for_site, heading, source_of, target_on_site

GENERATED = {CONFIGURATIONS, "reference.md"}
NESTED = re.compile(r"^( +)(?:[-*]|\d+\.) ")
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")
WITHOUT_TAGS = type("WithoutTags", (yaml.SafeLoader,), {})
WITHOUT_TAGS.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def settings() -> dict[str, Any]:
    found: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(), WITHOUT_TAGS)  # noqa: S506
    return found


def listed(entries: list[Any]) -> Iterator[str]:
    """Yield the pages of a part of the navigation, those of its sections included."""
    for entry in entries:
        (below,) = entry.values()
        yield from listed(below) if isinstance(below, list) else [below]


def written() -> list[Path]:
    return sorted([*ROOT.glob("docs/*.md"), *(ROOT / page for page in PAGES)])


def test_every_page_is_listed_once() -> None:
    names = Counter(listed(settings()["nav"]))
    pages = {path.name for path in ROOT.glob("docs/*.md")}
    assert set(names) == pages | set(PAGES.values()) | GENERATED | set(api_pages())
    assert set(names.values()) == {1}


def test_every_public_name_is_on_one_page_of_the_api() -> None:
    assert not list(ungrouped())
    names = Counter(name for group in GROUPS for name in members(group))
    assert {"GFTLoss", "GroupBatch", "VLLMEngine"} <= set(names)
    assert set(names.values()) == {1}


def test_groups_are_described_on_a_page_that_exists() -> None:
    assert all(heading(group.page) for group in GROUPS)


def test_the_diagram_is_the_one_that_its_command_writes() -> None:
    assert PATH.read_text() == diagram()


@pytest.mark.parametrize("page", written(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_lists_within_lists_are_indented_as_both_renderers_need(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert all(len(match[1]) % 4 == 0 for line in prose.splitlines() if (match := NESTED.match(line)))


def test_every_picture_has_its_command() -> None:
    stated = (ROOT / "CONTRIBUTING.md").read_text()
    patterns = re.findall(r"^\| `(docs/[\w.*-]+)` \| .*`", stated, re.MULTILINE)
    shown = {
        (page.parent / target).resolve().relative_to(ROOT).as_posix()
        for page in written()
        for target in PICTURE.findall(page.read_text())
    }
    assert shown
    assert not {path for path in shown if not any(Path(path).match(pattern) for pattern in patterns)}


@pytest.mark.parametrize(
    ("target", "page", "found"),
    [
        ("docs/data.md#chat-templates", "index.md", "data.md#chat-templates"),
        ("../README.md#results", "experiments.md", "index.md#results"),
        ("../configs/overlays/vllm.yaml", "rollouts.md", "configurations.md#configsoverlaysvllmyaml"),
        ("../docs/scaling.md", "benchmarks.md", "scaling.md"),
        ("../data.md", "api/data.md", "../data.md"),
        ("../lightning_gft/data/group_datamodule.py", "data.md", "api/data.md"),
        ("notebooks/quickstart.ipynb", "index.md", "files/notebooks/quickstart.ipynb"),
        ("https://example.org/a.md", "index.md", "https://example.org/a.md"),
        ("#results", "index.md", "#results"),
    ],
)
def test_links_are_those_of_the_site(target: str, page: str, found: str) -> None:
    assert target_on_site(target, page) == found
    assert for_site(f"see [`a](b)` ]({target})\n", page) == f"see [`a](b)` ]({found})\n"


def test_names_of_pages_become_their_titles() -> None:
    assert for_site("[README.md](../README.md#results)", "data.md") == "[lightning_gft](index.md#results)"
    assert for_site("[data.md](data.md)", "formats.md") == "[Data](data.md)"


def test_blocks_and_bars_in_code_are_left_as_a_reader_sees_them() -> None:
    text = "| `a\\|b` | [c](../README.md) |\n\n```text\n[d](../README.md)\n```\n"
    assert for_site(text, "data.md") == "| `a|b` | [c](index.md) |\n\n```text\n[d](../README.md)\n```\n"
    assert source_of("benchmarks.md") == "benchmarks/README.md"
