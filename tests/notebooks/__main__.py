"""``python -m tests.notebooks NAME ...`` runs notebooks in full and writes them back with what they show."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat

from tests.notebooks.running import NOTEBOOKS, execute

for name in sys.argv[1:] or NOTEBOOKS:
    whole = nbformat.read(NOTEBOOKS[name], as_version=4)
    with tempfile.TemporaryDirectory() as scratch:
        execute(whole, Path(scratch))
    nbformat.write(whole, NOTEBOOKS[name])
