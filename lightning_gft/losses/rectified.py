"""The base class of objectives that rectify all or some of the tokens."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_choice
from lightning_gft.errors import GFTValueError
from lightning_gft.functional import Reduction
from lightning_gft.losses.base import GroupLoss
from lightning_gft.losses.chosen import Chosen, choose
from lightning_gft.rectifiers import CoefficientRectifier, DynamicCoefficientRectifier, IdentityRectifier
from lightning_gft.types import TokenBatch


class RectifiedLoss(GroupLoss):
    """One rectifier for the chosen tokens and optionally another for all others, each with figures of its own."""

    def __init__(
        self,
        rectifier: CoefficientRectifier | None,
        reduction: Reduction,
        rectify: Chosen,
        otherwise: CoefficientRectifier | None,
        max_completion_length: int | None,
    ) -> None:
        super().__init__(reduction, max_completion_length)
        check_choice("rectify", rectify, get_args(Chosen))
        if rectify == "all" and otherwise is not None:
            raise GFTValueError(
                f"`otherwise`: expected null with rectify='all', got {type(otherwise).__name__}; let `rectify` choose "
                "the tokens of `rectifier`, or leave `otherwise` out"
            )
        self.rectifier = rectifier or DynamicCoefficientRectifier()
        self.rectify: Chosen = rectify
        self.otherwise = None if rectify == "all" else otherwise or IdentityRectifier()
        self.rectifier.counts_tokens = False  # the run counts them, for every loss
        if self.otherwise is not None and otherwise is None:
            self.otherwise.counts_tokens = False  # figures of unrectified tokens would repeat the run's

    def rectified(self, tokens: TokenBatch) -> Tensor:
        """Return the factors ``C(p)`` of the tokens, ``[m]`` and detached."""
        if self.otherwise is None:
            return self.rectifier.rectify(tokens.logprobs)
        given = self.rectifier.rectify(tokens.logprobs), self.otherwise.rectify(tokens.logprobs)
        return torch.where(choose(self.rectify, tokens), *given)

    def count(self, tokens: TokenBatch, rectified: Tensor) -> None:
        """Update the rectifiers' figures with tokens and their factors ``C(p)``, ``[m]``; NaN marks excluded tokens."""
        if self.otherwise is not None:
            chosen = choose(self.rectify, tokens)
            self.otherwise.update(tokens.logprobs, rectified.masked_fill(chosen, torch.nan))
            rectified = rectified.masked_fill(~chosen, torch.nan)
        self.rectifier.update(tokens.logprobs, rectified)

    @override
    def compute(self) -> dict[str, Tensor | float]:
        others = {} if self.otherwise is None else self.otherwise.compute()
        others = {f"otherwise/{name}": figure for name, figure in others.items()}
        return {**self.rectifier.compute(), **others}

    @override
    def reset(self) -> None:
        for metric in filter(None, (self.rectifier, self.otherwise)):
            metric.reset()

    @override
    def step(self) -> None:
        for rectifier in filter(None, (self.rectifier, self.otherwise)):
            rectifier.step()
