"""The environment variables of a server, which must not inherit this process's rank and packages."""

from __future__ import annotations

import os
from collections.abc import Mapping

RANKS = frozenset(
    {
        *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "NODE_RANK", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
        *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "TORCH_NCCL_ASYNC_ERROR_HANDLING"),
    }
)
"""Rank of a process in the run: a server with ranks of its own would wait for the run's."""
ELASTIC = "TORCHELASTIC_"
"""Prefix of the variables that torchrun sets for its processes."""
INTERPRETER = frozenset({"PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV"})
"""Search path of Python packages: a server in another environment would import those of this one."""
ALLOCATOR = frozenset({"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"})
"""Allocator of the training process: expandable segments and vLLM's sleep mode exclude each other, for example."""
_ALWAYS = {"PYTHONUNBUFFERED": "1"}  # the log of a killed server contains all of its output


def server_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without the variables of its rank, its interpreter and its allocator.

    All others stay: ``CUDA_VISIBLE_DEVICES``, which a scheduler sets to the GPUs of a job, ``PATH``, proxies, tokens,
    caches, ``NCCL_*``, and ``OMP_NUM_THREADS``, which torchrun sets to 1 by default.

    Args:
        changes: Variables of the server that are added or replaced, even those that are left out otherwise.

    Example:
        >>> environment = server_environment({"CUDA_VISIBLE_DEVICES": "1", "RANK": "0"})
        >>> environment["CUDA_VISIBLE_DEVICES"], environment["RANK"], "PYTHONPATH" in environment
        ('1', '0', False)
    """
    out = RANKS | INTERPRETER | ALLOCATOR
    kept = {name: value for name, value in os.environ.items() if name not in out and not name.startswith(ELASTIC)}
    return {**kept, **_ALWAYS, **changes}
