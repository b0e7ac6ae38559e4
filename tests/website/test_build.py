"""The site is built without a warning, and its own links resolve."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from website.links import ROOT

pytestmark = pytest.mark.slow  # about half a minute


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        self.targets |= {value for name in ("href", "src") if (value := given.get(name))}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}


def test_links_resolve(pages: dict[Path, Page]) -> None:
    links = [(path, target) for path, page in pages.items() for target in page.targets if is_internal(target)]
    assert len(links) > 1000
    assert not [f"{path.name}: {target}" for path, target in links if not resolves(path, target, pages)]


def is_internal(target: str) -> bool:
    url = urlsplit(target)
    return not (url.scheme or url.netloc)


def resolves(path: Path, target: str, pages: dict[Path, Page]) -> bool:
    url = urlsplit(target)
    file = (path.parent / unquote(url.path)).resolve() if url.path else path
    return file.exists() and (not url.fragment or file not in pages or unquote(url.fragment) in pages[file].anchors)


def test_pages_load_nothing_from_elsewhere(pages: dict[Path, Page]) -> None:
    loaded = {
        line
        for path in pages
        for line in path.read_text(encoding="utf-8").splitlines()
        if ("<script src=" in line or '<link rel="stylesheet"' in line) and "//" in line.split(">")[0]
    }
    assert not loaded


def test_markdown_is_rendered(site: Path, pages: dict[Path, Page]) -> None:
    data = (site / "data.html").read_text(encoding="utf-8")
    assert "<code>&lt;|eot_id|&gt;</code>" in data
    flow = (site / "architecture.html").read_text(encoding="utf-8")
    assert "<ol>" in flow.split("<code>plan_step</code>")[1].split("<code>run</code>")[0]
    losses = (site / "api/losses.html").read_text(encoding="utf-8")
    assert 'id="lightning_gft.GFTLoss"' in losses
    assert ":class:" not in losses
    assert "&gt;&gt;&gt; " in losses
    assert (site / "files/notebooks/quickstart.ipynb").exists()
