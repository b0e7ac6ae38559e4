"""Combines the rewards of a response into its total."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number, did_you_mean, shorten
from lightning_gft.errors import GFTTypeError, GFTValueError
from lightning_gft.parts import Part


class RewardTotal(Part, ABC):
    """Combines the rewards of a response into one number.

    Example:
        >>> class Product(RewardTotal):
        ...     def __call__(self, parts, weights):
        ...         return torch.stack([part.nan_to_num(1.0) for part in parts.values()]).prod(dim=0)
        >>> Product()({"accuracy": torch.tensor([1.0, 1.0]), "brief": torch.tensor([0.5, 0.0])}, weights={})
        tensor([0.5000, 0.0000])
    """

    @abstractmethod
    def __call__(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        """Return the totals of ``N`` responses, ``[N]``.

        Args:
            parts: Scores ``[N]`` of each reward by its name, without the weight; NaN where it does not apply.
            weights: Weight of each reward by its name.
        """

    def check_rewards(self, rewards: Collection[str]) -> None:
        """Raise an error if the total cannot be computed from rewards of these names; called by the sampler.

        Args:
            rewards: Names of the rewards.

        Raises:
            ValueError: If a name does not fit, with the name.
        """


class WeightedSum(RewardTotal):
    """The sum of the rewards that apply, each multiplied by its weight.

    Example:
        >>> parts = {"accuracy": torch.tensor([1.0]), "length": torch.tensor([-0.5])}
        >>> WeightedSum()(parts, {"accuracy": 1.0, "length": 2.0})
        tensor([0.])
    """

    @override
    def __call__(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        total = torch.zeros_like(next(iter(parts.values())))
        for name, part in parts.items():
            if weights[name]:
                total += weights[name] * part.nan_to_num()
        return total


@dataclass(frozen=True)
class Gates:
    """The gates of rewards; a dataclass, so that checkpoints, cards and stored groups show it.

    Args:
        of: Names of the gates of each reward that has any.
    """

    of: dict[str, list[str]]


class GatedSum(WeightedSum):
    """The weighted sum, in which a reward counts as 0 unless its gates, which are other rewards, score enough.

    A gate is closed if its score is too low or one of its own gates is closed; it is open if it does not apply. A gate
    of weight 0 adds nothing to the sum. ``<name>/gated`` counts the responses whose score was not 0 and was set to 0.

    Args:
        gates: One or several gates of each reward that has any, by their names among the sampler's ``rewards``.
        at_least: Least score of an open gate, without its weight.

    Raises:
        TypeError: If ``gates`` is no dict from names to names.
        ValueError: If there is no gate, if a reward gates itself, directly or through others, or if ``at_least`` is not
            finite.

    Example:
        >>> total = GatedSum({"accuracy": "format"})
        >>> parts = {"format": torch.tensor([1.0, 0.0]), "accuracy": torch.tensor([1.0, 1.0])}
        >>> total(parts, {"format": 0.1, "accuracy": 1.0})
        tensor([1.1000, 0.0000])
        >>> total.compute()
        {'accuracy/gated': 1}
    """

    def __init__(self, gates: dict[str, str | list[str]], at_least: float = 1.0) -> None:
        self.gates = Gates(_read_gates(gates))
        self.at_least = check_number("at_least", at_least, of=type(self).__name__)
        _check_acyclic(self.gates.of)
        self.reset()

    @override
    def __call__(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        counted = {}
        for name in parts:
            closed = ~self._is_open(name, parts) & ~parts[name].isnan()
            counted[name] = parts[name].masked_fill(closed, 0.0)
            if name in self._gated:
                self._gated[name] += int((closed & (parts[name] != 0)).sum())
        return super().__call__(counted, weights)

    @override
    def check_rewards(self, rewards: Collection[str]) -> None:
        for name in dict.fromkeys([*self.gates.of, *chain.from_iterable(self.gates.of.values())]):
            if name not in rewards:
                raise GFTValueError(
                    f"`gates`: expected names among the rewards ({', '.join(rewards)}), got {name!r}"
                    f"{did_you_mean(name, rewards) or '; name one of them'}"
                )

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return {f"{name}/gated": count for name, count in self._gated.items()}

    @override
    def reset(self) -> None:
        self._gated = dict.fromkeys(self.gates.of, 0)

    def _is_open(self, name: str, parts: Mapping[str, Tensor]) -> Tensor:
        """Return for which responses all gates of a reward are open, ``[N]``."""
        opened = torch.ones_like(parts[name], dtype=torch.bool)
        for gate in self.gates.of.get(name, ()):
            opened &= (parts[gate].isnan() | (parts[gate] >= self.at_least)) & self._is_open(gate, parts)
        return opened


def _read_gates(gates: object) -> dict[str, list[str]]:
    if not isinstance(gates, Mapping):
        raise GFTTypeError(
            f"`gates`: expected a dict from the name of a reward to that of its gate, got {shorten(gates)}; write "
            "{accuracy: format}"
        )
    read = {name: [of] if isinstance(of, str) else of for name, of in gates.items()}
    if not read or not all(read.values()):
        raise GFTValueError(f"`gates`: expected a gate for each reward named, got {shorten(gates)}; name one")
    for of in read.values():
        if not isinstance(of, list | tuple) or not all(isinstance(gate, str) for gate in of):
            raise GFTTypeError(f"`gates`: expected the name of a gate or a list of names, got {shorten(of)}; name one")
    return {name: [*of] for name, of in read.items()}


def _check_acyclic(gates: Mapping[str, list[str]]) -> None:
    def follow(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = " <- ".join([*path[path.index(name) :], name])
            raise GFTValueError(f"`gates`: expected gates that do not gate themselves, got {circle}; leave one out")
        for gate in gates.get(name, ()):
            follow(gate, (*path, name))

    for name in gates:
        follow(name, ())
