"""The public names in the groups that the site shows them in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lightning_gft
from lightning_gft.lazy import homes

STUB = Path(lightning_gft.__file__).with_suffix(".pyi")


@dataclass(frozen=True)
class Group:
    """A page of the site: public names of some parts of the package.

    Args:
        slug: Name of the page's file.
        parts: Parts of the package, as in ``lightning_gft/<part>``.
        page: Page of ``docs/`` that describes these components.
    """

    slug: str
    title: str
    parts: frozenset[str]
    page: str


GROUPS = (
    Group("module", "Module and evaluation", frozenset({"module", "evaluation"}), "architecture.md"),
    Group("data", "Data", frozenset({"data", "arithmetic", "gym"}), "data.md"),
    Group("policies", "Policies", frozenset({"policy"}), "models.md"),
    Group("engines", "Rollout engines", frozenset({"rollout", "sampling"}), "rollouts.md"),
    Group("sources", "Sources and teachers", frozenset({"sampler", "sources", "teachers"}), "sampling.md"),
    Group("rewards", "Rewards", frozenset({"rewards"}), "rewards.md"),
    Group("advantages", "Advantages", frozenset({"advantages"}), "objectives.md"),
    Group("losses", "Losses", frozenset({"losses"}), "objectives.md"),
    Group("rectifiers", "Rectifiers", frozenset({"rectifiers", "annealing"}), "objectives.md"),
    Group("schedules", "Schedules and strategies", frozenset({"schedules", "distributed"}), "training.md"),
    Group("callbacks", "Callbacks", frozenset({"callbacks"}), "training.md"),
    Group("types", "Data types", frozenset({"types"}), "architecture.md"),
)
FUNCTIONS = "functional"
"""The part with a separate page, since functions have no settings."""


def part(home: str) -> str:
    """Return the part of the package that a module belongs to.

    Example:
        >>> part("lightning_gft.rollout.vllm")
        'rollout'
    """
    return home.split(".")[1]


def members(group: Group) -> list[str]:
    """Return the public names of a group, in the order of ``__init__.pyi``.

    Example:
        >>> members(GROUPS[0])
        ['Evaluation', 'GFTLitModule']
    """
    return [name for name, home in homes(STUB).items() if home != "lightning_gft" and part(home) in group.parts]


def ungrouped() -> Iterator[str]:
    """Yield the public names that no group has."""
    known = frozenset[str]().union(*(group.parts for group in GROUPS))
    yield from (name for name, home in homes(STUB).items() if home != "lightning_gft" and part(home) not in known)


def group_of_part(name: str) -> Group | None:
    """Return the group that shows a part of the package, if one does."""
    return next((group for group in GROUPS if name in group.parts), None)
