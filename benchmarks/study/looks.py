"""How methods are drawn: each the same in all pictures, imitation in warm colours, GFT in blues, GRPO in black.

Colours are Okabe and Ito's, with a brown and an indigo between them; colour-blind readers tell them apart, too. Each
method has a marker of its own as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle

from benchmarks.study.plan import Plan


@dataclass(frozen=True)
class Look:
    """How a method, or all methods of a camp that are not named, are drawn.

    Args:
        name: Name in a picture.
        colour: Of lines and points.
        marker: Of points and ends of lines.
        stands_out: Whether it has its own name in a picture.
    """

    name: str
    colour: str
    marker: str
    stands_out: bool = True

    @property
    def layer(self) -> int:
        """Methods that stand out lie over the others."""
        return 4 if self.stands_out else 2

    @property
    def width(self) -> float:
        """Width of a line in points."""
        return 2.2 if self.stands_out else 1.1


WELL_KNOWN = {
    look.name: look
    for look in (
        Look("SFT", "#D55E00", "s"),
        Look("SFT (mix)", "#E69F00", "D"),
        Look("DFT", "#8C2D04", "P"),
        Look("RFT", "#CC79A7", "X"),
        Look("GRPO", "#000000", "o"),
        Look("GFT 0.1", "#0072B2", "^"),
        Look("GFT 0.7", "#56B4E9", ">"),
        Look("GFT (paper)", "#332288", "v"),
        Look("GFT, unrectified", "#009E73", "<"),
    )
}
"""Looks of methods that have the same one in all pictures, by label."""

SPARE_COLOURS = ("#999933", "#882255", "#44AA99", "#CC6677", "#AA4499", "#DDCC77", "#117733")
"""Paul Tol's muted scheme, as far as no well-known method has a colour of it."""

SPARE_MARKERS = "dph"

OTHERS = Look("others", "#C4C4C4", ".", stands_out=False)
IMITATION = Look("others that imitate", "#F3C6A0", ".", stands_out=False)
GROUPS = Look("others that compare own samples", "#A6CBE6", ".", stands_out=False)

PALE = {OTHERS: "grey", IMITATION: "pale orange", GROUPS: "pale blue"}
"""Methods that are not named in a picture, with the words for their colours."""

CAMPS = {
    **dict.fromkeys(("SFT", "DFT", "RFT", "InfoSFT", "EAFT", "PSFT"), IMITATION),
    **dict.fromkeys(("GFT", "GRPO", "LUFFY", "CHORD", "HPT"), GROUPS),
}
"""Looks of methods that are not named in a picture, by the first word of their label."""


def looks_of(plan: Plan) -> dict[str, Look]:
    """Return how a plan's methods are drawn.

    Highlighted methods stand out: well-known ones as in all pictures, further ones, in the plan's order, with a colour
    that no well-known method has. The others are pale, in the colour of their camp.

    Args:
        plan: Its highlighted methods have different labels.
    """
    spare = zip(SPARE_COLOURS, cycle(SPARE_MARKERS), strict=False)
    looks = {}
    for name, method in plan.methods.items():
        label = method.label or name
        if name not in plan.highlighted:
            looks[name] = _pale(label)
        elif label in WELL_KNOWN:
            looks[name] = WELL_KNOWN[label]
        else:
            looks[name] = Look(label, *next(spare))
    return looks


def _pale(label: str) -> Look:
    """Return the look of a method that is not named; one objective after another belongs to no camp."""
    first = label.replace(",", " ").split()[0]
    return OTHERS if ", then " in label else CAMPS.get(first, OTHERS)
