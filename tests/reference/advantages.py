"""Advantages, one sequence at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence


def standard_deviation(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def group_normalized(
    rewards: Sequence[float],
    groups: Sequence[int],
    eps: float = 1e-6,
    scale: str = "group",
    is_self: Sequence[bool] | None = None,
) -> list[float]:
    advantages = []
    counts = [True] * len(rewards) if is_self is None else is_self
    batch = [reward for reward, counted in zip(rewards, counts, strict=True) if counted]
    for i in range(len(rewards)):
        members = [rewards[j] for j in range(len(rewards)) if groups[j] == groups[i]]
        compared = [rewards[j] for j in range(len(rewards)) if groups[j] == groups[i] and counts[j]]
        if len(members) == 1:
            advantages.append(rewards[i])
        elif all(member == members[0] for member in members):
            advantages.append(0.0)
        elif not compared:
            advantages.append(rewards[i])
        else:
            mean = math.fsum(compared) / len(compared)
            scaled_by = {"group": compared, "batch": batch, "none": []}[scale]
            differ = len(set(scaled_by)) > 1
            advantages.append((rewards[i] - mean) / (standard_deviation(scaled_by) + eps if differ else 1.0))
    return advantages


def max_rl(rewards: Sequence[float], groups: Sequence[int]) -> list[float]:
    """The mean over right samples, less that over all: ``N`` times a sample's share of ``(1 / K) sum R S - mean S``."""
    advantages = []
    for i in range(len(rewards)):
        members = [rewards[j] for j in range(len(rewards)) if groups[j] == groups[i]]
        right = math.fsum(members)
        if len(members) == 1:
            advantages.append(rewards[i])
        elif all(member == members[0] for member in members):
            advantages.append(0.0)
        else:
            advantages.append(len(members) * (rewards[i] / right - 1 / len(members)))
    return advantages


def leave_one_out(rewards: Sequence[float], groups: Sequence[int]) -> list[float]:
    advantages = []
    for i in range(len(rewards)):
        others = [rewards[j] for j in range(len(rewards)) if groups[j] == groups[i] and j != i]
        if not others:
            advantages.append(rewards[i])
        elif all(other == rewards[i] for other in others):
            advantages.append(0.0)
        else:
            advantages.append(rewards[i] - math.fsum(others) / len(others))
    return advantages


def self_baseline(rewards: Sequence[float], groups: Sequence[int], is_self: Sequence[bool]) -> list[float]:
    advantages = []
    for i in range(len(rewards)):
        mates = [j for j in range(len(rewards)) if groups[j] == groups[i] and j != i]
        own = [rewards[j] for j in mates if is_self[j]]
        if mates and all(rewards[j] == rewards[i] for j in mates):
            advantages.append(0.0)
        elif not own:
            advantages.append(rewards[i])
        else:
            advantages.append(rewards[i] - math.fsum(own) / len(own))
    return advantages
