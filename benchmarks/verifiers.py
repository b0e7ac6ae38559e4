"""Peers that judge answers, in a module that worker processes can import."""

from __future__ import annotations

import logging

from math_verify import parse, verify
from trl.rewards import accuracy_reward

Pair = tuple[str, str]
"""A response and its reference."""


logging.getLogger("math_verify").setLevel(logging.ERROR)  # it prints whole answers that take too long


def as_formula(reference: str) -> str:
    """Return a reference as both peers want it: they look for formulas between dollar signs."""
    return reference if "$" in reference else f"${reference}$"


def by_math_verify(pair: Pair) -> float:
    """Return the verdict of math-verify as its documentation shows it."""
    response, reference = pair
    return float(verify(parse(as_formula(reference)), parse(response)))


def by_trl(pair: Pair) -> float | None:
    """Return the score of TRL's reward; it is ``None`` where the reference cannot be parsed."""
    response, reference = pair
    scores: list[float | None] = accuracy_reward(
        [[{"role": "assistant", "content": response}]], [as_formula(reference)]
    )
    return scores[0]
