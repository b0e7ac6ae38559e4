"""The picture of a report's samples is drawn by its command."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lightning_gft.report.page import build_page
from tests.report.written import many, run
from website.links import ROOT

pytestmark = pytest.mark.slow  # it starts a browser


@pytest.mark.skipif(not (shutil.which("chromium") or shutil.which("google-chrome")), reason="there is no browser")
def test_the_section_of_samples_is_drawn(tmp_path: Path) -> None:
    runs = [run("SFT", tmp_path / "sft", many(3, tokens=12)), run("GFT", tmp_path / "gft", many(3, tokens=12, seed=1))]
    (tmp_path / "report.html").write_text(build_page(runs), encoding="utf-8")
    command = [sys.executable, "-m", "website.picture", str(tmp_path / "report.html"), "--output", "drawn.png"]
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, check=True)
    drawn = imread(tmp_path / "drawn.png")
    height, width, _ = drawn.shape
    assert 900 < width <= 1180
    assert 300 < height < 3000
    assert len(np.unique(drawn.reshape(-1, drawn.shape[2]), axis=0)) > 20  # colours
