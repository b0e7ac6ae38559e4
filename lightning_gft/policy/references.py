"""References of a policy: the policy as it was loaded, and as it was when its reference was moved."""

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
    "`keep_reference`: expected True, because the starting policy is needed, got False; in a run, set "
    "model.evaluation.kl, begin with a loss that needs ref_logprobs, or set module.needs_reference in a callback's "
    "setup"
)

Role = Literal["trained", "loaded", "reference"]
"""What a policy acts as: itself, the policy as it was loaded, or the reference of the loss."""


class References:
    """The roles of a policy. It acts in one at a time; a nested role replaces the outer one until it ends.

    A moved reference is a copy of the trained weights. While it acts, the two are exchanged within the parameters: the
    same model computes, frozen weights are shared, and an optimizer's parameters stay the same objects.

    Args:
        policy: The policy, with its model and its kept starting weights.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._moved: dict[str, Tensor] = {}
        self._role: Role = "trained"
        self._drawn_as: Role | None = "trained"
        self._leave = ExitStack()

    @property
    def is_trained(self) -> bool:
        """Whether the policy acts with its trained weights, not as a reference."""
        return self._role == "trained"

    @property
    def acting_model(self) -> PreTrainedModel:
        """The model to run in the current role."""
        loaded = self._policy.reference_model
        is_loaded = self._role == "loaded" or (self._role == "reference" and not self._moved)
        return loaded if is_loaded and loaded is not None else self._policy.model

    def check_kept(self) -> None:
        """Check that the policy as it was loaded has been kept.

        Raises:
            RuntimeError: If it has not.
        """
        policy = self._policy
        kept = policy.reference_model is not None if policy.adapters is None else policy.adapters.keeps_reference
        if not kept:
            raise GFTRuntimeError(NO_REFERENCE)

    @contextmanager
    def acting(self, role: Role) -> Iterator[None]:
        """Make the policy act in a role within this context.

        Raises:
            RuntimeError: If the weights of the role were not kept.
        """
        before = self._role
        try:
            self._enter(role)
            yield
        finally:
            self._enter(before)

    def move(self) -> None:
        """Make the policy as it is now the reference."""
        with self._changing() as own:
            self._moved = {name: weight.clone() for name, weight in own.items() if weight.requires_grad}

    def reset(self) -> None:
        """Make the policy as it was loaded the reference."""
        with self._changing():
            self._moved = {}

    def state(self) -> dict[str, Tensor]:
        """Return the weights of a moved reference by their names in the model; empty if it was not moved."""
        return dict(self._moved)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore the weights that :meth:`state` returned.

        Raises:
            ValueError: If they are those of another model.
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
        """Return the engine of the current role, and notify it if the role has changed since it last drew."""
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
        return nullcontext() if adapters is None else adapters.as_loaded()  # without adapters, another model acts

    @contextmanager
    def _changing(self) -> Iterator[dict[str, nn.Parameter]]:
        """Yield the policy's own weights while its reference is replaced."""
        with self.acting("trained"), self._weights() as own:
            yield own
        if self._drawn_as == "reference":
            self._drawn_as = None

    @contextmanager
    def _exchanged(self) -> Iterator[None]:
        """Exchange the trained weights with those of the moved reference within this context."""
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
        """Yield this rank's weights, readable and writable even within an evaluation."""
        model = self._policy.model
        with self._policy.sharding.split(model), torch.inference_mode(False), torch.no_grad():
            yield dict(model.named_parameters())
        torch.clear_autocast_cache()  # it identifies a weight by its address in memory

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
    """Return this rank's part of a weight, detached: autograd need not track a change that is undone."""
    return (weight.to_local() if isinstance(weight, DTensor) else weight).data
