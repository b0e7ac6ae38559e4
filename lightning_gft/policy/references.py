"""What a policy is compared with: itself as it was loaded, and as it was when its reference was moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from lightning_gft.errors import GFTRuntimeError, GFTValueError
from lightning_gft.rollout import RolloutEngine

if TYPE_CHECKING:
    from lightning_gft.policy.policy import Policy

NO_REFERENCE = (
    "`keep_reference`: expected True where the starting policy is needed, got False; in a run set model.evaluation.kl, "
    "begin with a loss that needs ref_logprobs, or set module.needs_reference in a callback's setup"
)

Role = Literal["trained", "loaded", "reference"]
"""What a policy acts as: itself, itself as it was loaded, or the reference of the loss."""


class References:
    """The roles of a policy, one at a time; one within another replaces it for as long as that lasts.

    A moved reference is a copy of the weights that train. While it acts, the two change places within the parameters:
    the same model computes the same, frozen weights are shared, and an optimizer's parameters stay its own.

    Args:
        policy: With its model, and what it keeps of the beginning.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._moved: dict[str, Tensor] = {}
        self._role: Role = "trained"
        self._drawn_as: Role | None = "trained"
        self._leave = ExitStack()

    @property
    def is_trained(self) -> bool:
        """Whether the policy acts as itself."""
        return self._role == "trained"

    @property
    def acting_model(self) -> PreTrainedModel:
        """The model to run in the present role."""
        loaded = self._policy.reference_model
        is_loaded = self._role == "loaded" or (self._role == "reference" and not self._moved)
        return loaded if is_loaded and loaded is not None else self._policy.model

    def check_kept(self) -> None:
        """Refuse to act as loaded where that was not kept.

        Raises:
            RuntimeError: If so.
        """
        policy = self._policy
        kept = policy.reference_model is not None if policy.adapters is None else policy.adapters.keeps_reference
        if not kept:
            raise GFTRuntimeError(NO_REFERENCE)

    @contextmanager
    def acting(self, role: Role) -> Iterator[None]:
        """Within this context the policy acts in a role.

        Raises:
            RuntimeError: If what the role needs was not kept.
        """
        before = self._role
        try:
            self._enter(role)
            yield
        finally:
            self._enter(before)

    def move(self) -> None:
        """Let the reference be the policy as it is now."""
        with self._changing() as own:
            self._moved = {name: weight.clone() for name, weight in own.items() if weight.requires_grad}

    def reset(self) -> None:
        """Let the reference be the policy as it was loaded."""
        with self._changing():
            self._moved = {}

    def state(self) -> dict[str, Tensor]:
        """Return the weights of a moved reference by their names in the model; empty if it was not moved."""
        return dict(self._moved)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights that :meth:`state` returned.

        Raises:
            ValueError: If they are of another model.
        """
        with self._changing() as own:
            wrong = [name for name, value in state.items() if name not in own or own[name].shape != value.shape]
            if wrong:
                raise GFTValueError(
                    f"the checkpoint's moved reference: expected weights of this model, got {len(wrong)} of other "
                    f"names or shapes, {wrong[0]} for one; use the configuration that it was written with"
                )
            self._moved = {name: own[name].clone().copy_(value) for name, value in state.items()}

    def engine(self) -> RolloutEngine:
        """Return what draws in the present role; one that drew in another role knows that its weights are others."""
        own = self._policy.engine
        engine = own if self._role == "trained" else own.for_references()
        if engine is own and self._drawn_as != self._role:
            self._policy.weights_changed()
            self._drawn_as = self._role
        return engine

    def _enter(self, role: Role) -> None:
        if role == self._role:
            return
        self._role = "trained"
        self._leave.close()
        if role == "reference" and self._moved:
            self._leave.enter_context(self._exchanged())
        elif role != "trained":
            self._leave.enter_context(self._as_loaded())
        self._role = role

    def _as_loaded(self) -> AbstractContextManager[None]:
        self.check_kept()
        adapters = self._policy.adapters
        return nullcontext() if adapters is None else adapters.as_loaded()  # without, another model acts

    @contextmanager
    def _changing(self) -> Iterator[dict[str, nn.Parameter]]:
        """Give the policy's own weights, and let its reference become another within this context."""
        with self.acting("trained"), self._weights() as own:
            yield own
        if self._drawn_as == "reference":
            self._drawn_as = None

    @contextmanager
    def _exchanged(self) -> Iterator[None]:
        """Within this context the weights that train and those of the moved reference have changed places."""
        exchanged: list[str] = []
        try:
            with self._weights() as own:
                self._check_trained(own)
                for name in self._moved:
                    self._exchange(name, own[name])
                    exchanged.append(name)
            yield
        finally:
            with self._weights() as own:
                for name in exchanged:
                    self._exchange(name, own[name])

    @contextmanager
    def _weights(self) -> Iterator[dict[str, nn.Parameter]]:
        """Give the weights as this rank holds them, to be read and written even in an evaluation."""
        model = self._policy.model
        with self._policy.sharding.split(model), torch.inference_mode(False), torch.no_grad():
            yield dict(model.named_parameters())
        torch.clear_autocast_cache()  # it knows a weight by its place in memory

    def _exchange(self, name: str, weight: nn.Parameter) -> None:
        # The model may have moved since a checkpoint was loaded.
        other = self._moved[name] = self._moved[name].to(weight.device, weight.dtype)
        first, second = _local(weight), _local(other)
        held = first.clone()
        first.copy_(second)
        second.copy_(held)

    def _check_trained(self, own: Mapping[str, nn.Parameter]) -> None:
        missing = [name for name, weight in own.items() if weight.requires_grad and name not in self._moved]
        if missing:
            raise GFTRuntimeError(
                f"`reference`: expected the weights that trained when it was moved, got {len(missing)} more, "
                f"{missing[0]} for one; call move_reference after a change of what trains"
            )


def _local(weight: Tensor) -> Tensor:
    """Return what this rank holds of a weight; autograd need not know of a change that is taken back."""
    return (weight.to_local() if isinstance(weight, DTensor) else weight).data
