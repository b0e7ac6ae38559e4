"""Advantages, one sequence at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence


def group_normalized(
    rewards: Sequence[float], groups: Sequence[int], eps: float = 1e-6, scale: str = "group"
) -> list[float]:
    advantages = []
    for i in range(len(rewards)):
        members = [rewards[j] for j in range(len(rewards)) if groups[j] == groups[i]]
        if len(members) == 1:
            advantages.append(rewards[i])
        elif all(member == members[0] for member in members):
            advantages.append(0.0)
        else:
            mean = math.fsum(members) / len(members)
            std = math.sqrt(math.fsum((member - mean) ** 2 for member in members) / (len(members) - 1))
            advantages.append((rewards[i] - mean) / (std + eps) if scale == "group" else rewards[i] - mean)
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
