"""The walls of a sandbox: limits, namespaces, Landlock and a filter of system calls, none of which need root."""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import os
import resource
import signal
import struct
from collections.abc import Mapping
from typing import Any

from lightning_gft.sandbox.seccomp import refuse_calls

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_NEW_USER, _NEW_NET, _NEW_IPC, _NEW_MOUNTS = 0x10000000, 0x40000000, 0x08000000, 0x00020000
_PRIVATE, _NO_SETUID, _NO_DEVICES = 0x44000, 2, 4
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _MAKE_FILE, _TRUNCATE = 1 << 5, 1 << 8, 1 << 14
_MOST_THREADS, _SMALLEST_STACK, _LARGEST_STACK = 128, 512 << 10, 8 << 20
"""Threads, and bytes of a thread's stack: the smallest suffices for Python's own recursion limit with C in between."""
_ACCESS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
"""All rights that Landlock can restrict, by its version."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


def put_up(settings: Mapping[str, Any]) -> list[str]:
    """Put up all walls that this machine supports, and return their names.

    Args:
        settings: ``folder``, the only writable one; ``readable`` paths; the process id of the ``parent``; and the
            limits ``memory_bytes``, ``cpu_seconds`` and ``file_bytes``.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    separate = _leave_namespaces(libc, settings["folder"], settings["file_bytes"])
    os.chdir(settings["folder"])
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _give_up_capabilities(libc)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != settings["parent"]:
        os._exit(1)
    _set_limits(settings, separate)
    files = _restrict_files(libc, settings["folder"], settings["readable"])
    names = {"namespaces": separate, "landlock": files, "seccomp": refuse_calls(libc)}
    return [name for name, stands in names.items() if stands]


def _set_limits(settings: Mapping[str, Any], separate: bool) -> None:
    seconds = settings["cpu_seconds"]
    limits = {
        resource.RLIMIT_AS: settings["memory_bytes"],
        resource.RLIMIT_FSIZE: settings["file_bytes"],
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: seconds,
    }
    if separate:  # otherwise the limit counts all processes of the user
        limits[resource.RLIMIT_NPROC] = _MOST_THREADS
    for limit, most in limits.items():
        _, hard = resource.getrlimit(limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))
    share = settings["memory_bytes"] // (2 * _MOST_THREADS)  # all stacks together take at most half of the memory
    _thread.stack_size(min(max(share, _SMALLEST_STACK), _LARGEST_STACK) & -4096)


def _leave_namespaces(libc: ctypes.CDLL, folder: str, size: int) -> bool:
    """Enter namespaces without a network, and mount memory over the folder; needs no root if the kernel allows it."""
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_NEW_USER | _NEW_NET | _NEW_IPC | _NEW_MOUNTS) != 0:
        return False
    with contextlib.suppress(OSError):  # without these maps the program has no user, and the mount below fails
        maps = {"setgroups": "deny", "uid_map": f"{user} {user} 1", "gid_map": f"{group} {group} 1"}
        for name, text in maps.items():
            with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123 (a process starts sooner without pathlib)
                file.write(text)
    libc.mount(b"none", b"/", None, _PRIVATE, None)
    options = f"size={4 * size},nr_inodes=1024,mode=700".encode()
    return bool(libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", _NO_SETUID | _NO_DEVICES, options) == 0)


def _give_up_capabilities(libc: ctypes.CDLL) -> None:
    libc.capset(struct.pack("Ii", 0x20080522, 0), bytes(24))


def _restrict_files(libc: ctypes.CDLL, folder: str, readable: list[str]) -> bool:
    """Restrict the process by Landlock: some paths are readable, one folder is writable, no other is accessible."""
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    access = _ACCESS.get(version, (1 << 16) - 1)
    network, scope = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
    rules = libc.syscall(_CREATE_RULESET, struct.pack("QQQ", access, network, scope), 24, 0)
    if rules < 0:
        return False
    allowed = dict.fromkeys(readable, _READ_FILE | _READ_DIR)
    allowed |= dict.fromkeys(DEVICES, _READ_FILE | _WRITE_FILE)
    allowed[folder] = _READ_FILE | _READ_DIR | _WRITE_FILE | _REMOVE_FILE | _MAKE_FILE | _TRUNCATE
    taken = all(_allow(libc, rules, path, rights & access) for path, rights in allowed.items())
    taken = taken and libc.syscall(_RESTRICT_SELF, rules, 0) == 0
    os.close(rules)
    return taken


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> bool:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return True  # a missing path needs no rule
    if not os.path.isdir(path):  # noqa: PTH112
        rights &= ~_READ_DIR
    taken = bool(libc.syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", rights, place), 0) == 0)
    os.close(place)
    return taken
