"""The environment variables of a server that has nothing to do with this process's ranks and packages."""

from __future__ import annotations

import os
from collections.abc import Mapping

RANKS = frozenset(
    {
        *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "NODE_RANK", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
        *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "TORCH_NCCL_ASYNC_ERROR_HANDLING"),
    }
)
"""Say which rank of the run a process is: a server with ranks of its own would wait for the run's."""
ELASTIC = "TORCHELASTIC_"
"""What the names begin with by which torchrun tells its own processes about itself."""
INTERPRETER = frozenset({"PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV"})
"""Say where Python finds packages: a server from another environment would import those of this one."""
ALLOCATOR = frozenset({"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"})
"""Set the allocator of the training process: expandable segments, for one, and vLLM's sleep mode exclude each other."""
_ALWAYS = {"PYTHONUNBUFFERED": "1"}  # what a server has printed is in its log when it is killed


def server_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without what is about its ranks, its interpreter and its allocator.

    All else stays: ``CUDA_VISIBLE_DEVICES``, as a scheduler sets it to the GPUs that a job may use, ``PATH``, proxies,
    tokens, caches, ``NCCL_*``, and ``OMP_NUM_THREADS``, which torchrun sets to 1 where it is not set.

    Args:
        changes: Variables that the server has besides or instead, those that are left out else too.

    Example:
        >>> environment = server_environment({"CUDA_VISIBLE_DEVICES": "1", "RANK": "0"})
        >>> environment["CUDA_VISIBLE_DEVICES"], environment["RANK"], "PYTHONPATH" in environment
        ('1', '0', False)
    """
    out = RANKS | INTERPRETER | ALLOCATOR
    kept = {name: value for name, value in os.environ.items() if name not in out and not name.startswith(ELASTIC)}
    return {**kept, **_ALWAYS, **changes}
