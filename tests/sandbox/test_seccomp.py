"""The filter of system calls, run as the kernel would run it, for both architectures."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from lightning_gft.sandbox import seccomp

PID = 4711
ALLOWED, REFUSED, UNKNOWN, KILLED = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def verdict(machine: str, number: int, argument: int = 0, architecture: int | None = None) -> int:
    """Interpret the filter for one call."""
    code = seccomp._filter(machine, PID)
    lines = [struct.unpack_from("HBBI", code, at) for at in range(0, len(code), 8)]
    data = {0: number, 4: seccomp._MACHINES[machine][0] if architecture is None else architecture, 16: argument}
    at = register = 0
    while True:
        instruction, if_true, if_false, value = lines[at]
        at += 1
        if instruction == 0x06:
            return value
        if instruction == 0x20:
            register = data[value]
        else:
            holds = {0x15: register == value, 0x35: register >= value, 0x45: bool(register & value)}[instruction]
            at += if_true if holds else if_false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_calls_that_depend_on_their_argument(machine: str):
    clone, kill, tgkill, prctl, prlimit, socketpair = seccomp._MACHINES[machine][2]
    assert verdict(machine, clone, 0x3D0F00) == ALLOWED  # a thread
    assert verdict(machine, clone, 0x1200011) == REFUSED  # a fork
    for call in (kill, tgkill):
        assert verdict(machine, call, PID) == ALLOWED
        assert {verdict(machine, call, other) for other in (0, 1, PID + 1, 2**32 - 1)} == {REFUSED}
    assert (verdict(machine, prctl, 15), verdict(machine, prctl, 1)) == (ALLOWED, REFUSED)
    assert [verdict(machine, prlimit, pid) for pid in (0, PID, PID - 1)] == [ALLOWED, ALLOWED, REFUSED]
    assert (verdict(machine, socketpair, 1), verdict(machine, socketpair, 2)) == (ALLOWED, REFUSED)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_call_that_is_named_is_refused_and_later_ones_are_unknown(machine: str):
    _, refused, special = seccomp._MACHINES[machine]
    numbers = {*seccomp._EVERYWHERE, *(number for group in refused.values() for number in group)}
    assert {number for number in range(463) if verdict(machine, number, PID) == REFUSED} == numbers | {
        call for call in special if verdict(machine, call, PID) == REFUSED
    }
    assert {verdict(machine, number) for number in (435, 463, 500, 0x40000000, 0x40000029, 2**32 - 1)} == {UNKNOWN}
    assert verdict(machine, 0, architecture=0x40000003) == KILLED  # that of 32 bits


@pytest.mark.parametrize(("machine", "header"), HEADERS.items())
def test_numbers_are_those_of_the_kernels_headers(machine: str, header: Path):
    if not header.exists():
        pytest.skip("no headers of the kernel")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())
    numbers = {name: int(number) for name, number in found}
    calls = ("clone", "kill", "tgkill", "prctl", "prlimit64", "socketpair")
    assert seccomp._MACHINES[machine][2] == tuple(numbers[call] for call in calls)
    forbidden = {
        *("socket", "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "tkill"),
        *("kcmp", "unshare"),
        *("rt_sigqueueinfo", "rt_tgsigqueueinfo", "setns", "mount", "umount2", "pivot_root", "chroot", "bpf", "shmget"),
        *("memfd_create", "userfaultfd", "perf_event_open", "keyctl", "add_key", "request_key", "open_by_handle_at"),
        *("setxattr", "removexattr", "fchmodat", "fchownat", "utimensat", "truncate", "pidfd_open", "pidfd_getfd"),
        *("io_uring_setup", "pidfd_send_signal", "fsopen", "fsmount", "move_mount", "open_tree", "mount_setattr"),
        *("sched_setaffinity", "setpriority", "ioprio_set", "msgget", "semget", "mq_open", "personality"),
        *(("fork", "vfork", "chmod", "chown", "lchown", "utime", "utimes") if machine == "x86_64" else ()),
    }
    assert {verdict(machine, numbers[call]) for call in forbidden} == {REFUSED}
    everyday = {
        "read",
        "write",
        "openat",
        "close",
        "mmap",
        "munmap",
        "brk",
        "futex",
        "exit_group",
        "getrandom",
        "lseek",
    }
    assert {verdict(machine, numbers[call]) for call in everyday} == {ALLOWED}
