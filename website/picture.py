"""The picture of a report's samples, ``docs/report.png``: ``python -m website.picture REPORT``.

It needs a report of `make quickstart`, and Chromium.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

PATH = Path(__file__).parents[1] / "docs/report.png"
_BROWSERS = ("chromium", "google-chrome")
_WIDTH, _SCALE = 1180, 1
_OPENED = 1  # of the groups: the first one that both runs share and that is not all alike


def draw(report: Path, picture: Path) -> None:
    """Save the section "Samples" of a report, with one group open.

    Raises:
        SystemExit: If there is no browser.
    """
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"expected one of {', '.join(_BROWSERS)} on the path, found none; install Chromium")
    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        page = window.new_page(viewport={"width": _WIDTH, "height": 900}, device_scale_factor=_SCALE)
        page.goto(report.resolve().as_uri())
        groups = page.locator("#samples details.group")
        group = groups.nth(_OPENED)
        group.locator("summary").first.click()
        start, end = page.locator("#samples").bounding_box(), group.bounding_box()
        assert start is not None  # noqa: S101 (both are on the page)
        assert end is not None  # noqa: S101
        height = end["y"] + end["height"] - start["y"]
        top = start["y"] + page.evaluate("window.scrollY")  # boxes are relative to the window, which the click scrolled
        page.screenshot(
            path=picture,
            full_page=True,
            clip={"x": start["x"], "y": top, "width": start["width"], "height": height + 8},
        )
        window.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("report", type=Path)
    parser.add_argument("--output", type=Path, default=PATH)
    options = parser.parse_args()
    draw(options.report, options.output)
