"""The diagram of the concepts, ``docs/concepts.svg``: ``python -m website.diagram``."""

from __future__ import annotations

from html import escape
from pathlib import Path

PATH = Path(__file__).parents[1] / "docs/concepts.svg"
_WIDTH, _HEIGHT = 920, 330
_BOXES = {  # name: left, top, width, title, lines
    "prompt": (20, 120, 110, "prompt", ["a question"]),
    "expert": (180, 20, 150, "expert", ["the data's solution"]),
    "teacher": (180, 120, 150, "teacher", ["another model's"]),
    "self": (180, 220, 150, "self", ["own samples"]),
    "rewards": (380, 120, 120, "rewards", ["one verifier", "scores all"]),
    "advantages": (540, 120, 140, "advantages (A)", ["better or worse", "than the group"]),
    "coefficients": (720, 120, 180, "coefficients (c)", ["A times C(p)", "for each token"]),
}
_HEIGHTS = {1: 60, 2: 80}
_ARROWS = [
    ("prompt", "expert"),
    ("prompt", "teacher"),
    ("prompt", "self"),
    ("expert", "rewards"),
    ("teacher", "rewards"),
    ("self", "rewards"),
    ("rewards", "advantages"),
    ("advantages", "coefficients"),
]
_STYLE = """
    text { font: 14px sans-serif; fill: #222; text-anchor: middle; }
    .title { font-weight: bold; }
    .box { fill: #ede7f6; stroke: #5e35b1; stroke-width: 1.5; }
    .group { fill: none; stroke: #5e35b1; stroke-dasharray: 5 4; }
    .arrow { fill: none; stroke: #444; stroke-width: 1.5; marker-end: url(#head); }
"""


def diagram() -> str:
    """Return the diagram as SVG."""
    description = (
        "A prompt gets responses from an expert, a teacher and the policy itself. Rewards score all of them, "
        "advantages compare them within the group, and each token's gradient is multiplied by a coefficient. "
        "The update changes the policy that draws the next samples."
    )
    pieces = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>Group Fine-Tuning</title><desc>{escape(description)}</desc><style>{_STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 Z" fill="#444"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="#fff"/>',
        '<rect class="group" x="165" y="8" width="180" height="284" rx="8"/>',
        '<text x="255" y="310">a group: all responses to one prompt</text>',
        *(_arrow(start, end) for start, end in _ARROWS),
        '<path class="arrow" d="M810 200 L810 252 L330 252"/>',
        '<text x="590" y="244">update: the policy that draws the next samples</text>',
        *(_box(name) for name in _BOXES),
        "</svg>",
    ]
    return "\n".join(pieces) + "\n"


def _size(name: str) -> tuple[int, int, int, int]:
    left, top, width, _, lines = _BOXES[name]
    return left, top, width, _HEIGHTS[len(lines)]


def _box(name: str) -> str:
    left, top, width, height = _size(name)
    _, _, _, title, lines = _BOXES[name]
    middle = left + width // 2
    texts = [f'<text class="title" x="{middle}" y="{top + 26}">{escape(title)}</text>']
    texts += [f'<text x="{middle}" y="{top + 26 + 20 * n}">{escape(line)}</text>' for n, line in enumerate(lines, 1)]
    return f'<rect class="box" x="{left}" y="{top}" width="{width}" height="{height}" rx="6"/>{"".join(texts)}'


def _arrow(start: str, end: str) -> str:
    left, top, width, height = _size(start)
    to_left, to_top, _, to_height = _size(end)
    return f'<path class="arrow" d="M{left + width} {top + height // 2} L{to_left} {to_top + to_height // 2}"/>'


if __name__ == "__main__":
    PATH.write_text(diagram(), encoding="utf-8")
