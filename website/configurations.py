"""The page that shows every configuration of the project."""

from __future__ import annotations

from website.links import ROOT

_INTRODUCTION = """# Configurations

All files below `configs/`, as they are in the project. `gsm8k.yaml`, `reasoning_gym.yaml` and the files of `quickstart`
are whole; an overlay is layered over one of them by a second `--config`.
"""


def configurations_page() -> str:
    """Return the page: a heading and a block for each file."""
    pieces = [_INTRODUCTION]
    for path in sorted(ROOT.glob("configs/**/*.yaml"), key=lambda path: (len(path.parts), path)):
        name = path.relative_to(ROOT).as_posix()
        pieces.append(f"## {name}\n\n```yaml\n{path.read_text(encoding='utf-8').rstrip()}\n```\n")
    return "\n".join(pieces)
