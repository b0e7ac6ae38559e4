"""Memory that a head's forward and backward add, measured on one contestant at a time."""

from __future__ import annotations

import gc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import psutil
import torch

from benchmarks.head_contestants import CONTESTANTS, HeadInputs, draw_inputs, floor
from benchmarks.meter import peak_memory

MIB = 2**20


def added_memory(name: str, inputs: HeadInputs) -> float:
    """Return the memory, in MiB, that a contestant adds at its highest to that of its inputs.

    On CUDA it is the allocator's. On a CPU it is the growth of the resident memory of a process of its own.

    Args:
        name: Of the contestant.
        inputs: On a CPU only their sizes matter: the other process draws its own.
    """
    if inputs.hidden.is_cuda:
        return _added_on_cuda(lambda: contestant(name)(inputs))
    sizes = *inputs.hidden.shape, len(inputs.weight), inputs.hidden.dtype
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_added_on_cpu, name, *sizes, torch.get_num_threads()).result()


def contestant(name: str) -> Callable[[HeadInputs], Any]:
    """Return a contestant, or the floor, by name.

    Args:
        name: As in the record.
    """
    return floor if name == "floor" else CONTESTANTS[name]


def _added_on_cuda(run: Callable[[], Any]) -> float:
    gc.collect()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    return (torch.cuda.max_memory_allocated() - before) / MIB


def _added_on_cpu(name: str, tokens: int, hidden: int, vocabulary: int, dtype: torch.dtype, threads: int) -> float:
    torch.set_num_threads(threads)
    run = contestant(name)
    run(draw_inputs(2, 16, 32, dtype, "cpu"))  # imports and the threads' own memory are not the contestant's
    inputs = draw_inputs(tokens, hidden, vocabulary, dtype, "cpu")
    gc.collect()
    before = psutil.Process().memory_info().rss
    run(inputs)
    return (peak_memory() - before) / MIB
