"""Rectified coefficients of one probability."""

from __future__ import annotations


def rectified(prob: float, threshold: float) -> float:
    return prob if prob < threshold else 1.0


def continuous(prob: float, threshold: float) -> float:
    return 1.0 if threshold == 0 else min(1.0, prob / threshold)
