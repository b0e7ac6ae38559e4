"""All of a policy in one place, to be written."""

from __future__ import annotations

from lightning_gft.checkpoint import join
from lightning_gft.module import GFTLitModule
from lightning_gft.policy import Policy, Unsharded


def whole_policy(module: GFTLitModule, is_first: bool) -> Policy | None:
    """Return a module's policy with all of its weights, on the first process; all processes ask for it together.

    Where weights are split, that process loads the policy anew and puts in its place what was trained.

    Args:
        module: Whose policy it is.
        is_first: Whether this is the first process; the others get ``None``.
    """
    if isinstance(module.policy.sharding, Unsharded):
        return module.policy if is_first else None
    with module.policy.sharding.readable():
        state = module.state_dict()
        module.frozen.take_out(state, module)
        trained = join({name.removeprefix("policy."): weight for name, weight in state.items()}, keep=is_first)
        if not is_first:
            return None
        policy = module.policy_loader.load()
        for name, weight in policy.named_parameters():  # data types that the trainer's precision has set
            if name in trained and weight.requires_grad:
                weight.data = weight.data.to(trained[name].dtype)
        policy.load_state_dict(trained, strict=False)
    return policy
