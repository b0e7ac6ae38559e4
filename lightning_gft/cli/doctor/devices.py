"""Devices, their memory, bfloat16, and attention kernels; runs in a subprocess."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from lightning_gft.cli.doctor.finding import Finding, tried
from lightning_gft.errors import GFTRuntimeError

_GB = 2**30
_KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
_ROUNDING = 0.05
"""Largest relative error that rounding to bfloat16 can cause in a product."""


def available() -> list[torch.device]:
    """Return one device of each kind that this machine has."""
    devices = [torch.device("cpu")]
    if torch.cuda.is_available():
        devices.append(torch.device("cuda"))
    if torch.backends.mps.is_available():
        devices.append(torch.device("mps"))
    return devices


def check_devices() -> Iterator[Finding]:
    """Yield the devices, and whether bfloat16 and attention run on each kind."""
    yield tried("cpu", _cpu, "")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield tried(f"gpu {index}", partial(_gpu, index), "end the processes that use it: nvidia-smi lists them")
    elif not torch.backends.mps.is_available():
        yield _no_gpu()
    for device in available():
        yield tried(
            f"bfloat16 on {device}", partial(_half, device), "leave trainer.precision and torch_dtype at float32"
        )
        yield tried(
            f"attention on {device}",
            partial(_attention, device),
            "set attn_implementation: eager",
            device.type == "cpu",
        )


def _cpu() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"{cores} cores, {instructions}, {_memory()}; threads of torch: {torch.get_num_threads()}"


def _memory() -> str:
    path = Path("/proc/meminfo")
    if not path.exists():
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / _GB:.1f} GiB of memory"
    sizes = {line.split(":")[0]: int(line.split()[1]) / 2**20 for line in path.read_text().splitlines()}
    return f"{sizes['MemAvailable']:.1f} of {sizes['MemTotal']:.1f} GiB of memory free"


def _gpu(index: int) -> str:
    device = torch.device("cuda", index)
    torch.ones(8, device=device).sum().item()  # raises if the device does not respond
    free, total = torch.cuda.mem_get_info(device)
    major, minor = torch.cuda.get_device_capability(device)
    name = torch.cuda.get_device_name(device)
    return f"{name}, compute capability {major}.{minor}, {free / _GB:.1f} of {total / _GB:.1f} GiB of memory free"


def _no_gpu() -> Finding:
    if torch.version.cuda is None and torch.version.hip is None:
        return Finding(
            "gpu", False, f"torch {torch.__version__} is built for CPUs", "install a build of torch for CUDA"
        )
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
    return Finding(
        "gpu", False, f"none available; torch is built for {built}", "install the GPU's driver, if it has one"
    )


def _half(device: torch.device) -> str:
    left, right = (torch.randn(64, 64, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    product = (left.to(device, torch.bfloat16) @ right.to(device, torch.bfloat16)).float().cpu()
    error = float((product - left @ right).norm() / (left @ right).norm())
    if error > _ROUNDING:
        raise GFTRuntimeError(f"a product is off by {error:.0%}")
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "emulated, which is slow"
    return "runs"


def _attention(device: torch.device) -> str:
    by_precision = {}
    for dtype in (torch.float32, torch.bfloat16):
        running = [name for name, kernel in _KERNELS.items() if _runs(kernel, device, dtype)]
        by_precision[str(dtype).removeprefix("torch.")] = ", ".join(running) or "none"
    if set(by_precision.values()) == {"none"}:
        raise GFTRuntimeError("no kernel runs")
    return "; ".join(f"{names} in {precision}" for precision, names in by_precision.items())


def _runs(kernel: SDPBackend, device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether a kernel of attention gives a result and a gradient."""
    query = torch.ones(1, 2, 16, 64, device=device, dtype=dtype, requires_grad=True)
    try:
        with sdpa_kernel(kernel), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's reasons why a kernel is not for this device
            scaled_dot_product_attention(query, query, query, is_causal=True).sum().backward()
    except RuntimeError:
        return False
    return query.grad is not None and bool(query.grad.isfinite().all())
