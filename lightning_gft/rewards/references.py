"""The base class of rewards that compare a response with its row's reference."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.markers import check_marker
from lightning_gft.rewards.base import Reward
from lightning_gft.rewards.text import alternatives

Expected = TypeVar("Expected")


class ReferenceReward(Reward, Generic[Expected]):
    """1 if a response agrees with the reference, or with any of a list of references, else 0."""

    def __init__(self, marker: str, weight: float) -> None:
        super().__init__(weight)
        check_marker("marker", marker)
        self.marker = marker

    @abstractmethod
    def read_reference(self, reference: Any) -> Expected:
        """Return a reference in the form that responses are compared with, or raise a ``ValueError``."""

    @abstractmethod
    def agrees(self, response: str, expected: Sequence[Expected]) -> bool:
        """Return whether a response agrees with any of the references, as read by :meth:`read_reference`."""

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor:
        """Return ``[N]`` zeros and ones; see :meth:`Reward.__call__`."""
        pairs = zip(responses, references, strict=True)
        return torch.tensor([self.agrees(response, self._read(reference)) for response, reference in pairs]).float()

    @override
    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:
        self._read(reference)

    def _read(self, reference: Any) -> list[Expected]:
        return [self.read_reference(one) for one in alternatives(reference)]
