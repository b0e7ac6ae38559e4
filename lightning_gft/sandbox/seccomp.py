"""A filter of system calls, which the kernel applies to all threads of a program irrevocably."""

from __future__ import annotations

import ctypes
import os
import struct

_ALLOW, _KILL, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
"""Actions. Refused calls fail with EPERM; calls that the C library can replace by others fail with ENOSYS."""
_LOAD, _EQUAL, _AT_LEAST, _SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
"""Instructions of the classic Berkeley packet filter, on 32-bit words."""
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets of loadable values; for an argument the lower half, as both architectures are little-endian."""
_CLONE_THREAD, _AF_UNIX, _PR_SET_PDEATHSIG = 0x10000, 1, 1
_LAST_KNOWN = 462
"""Later system calls fail without further tests."""

_EVERYWHERE = (424, 425, 428, 429, 430, 432, 433, 434, 438, 440, 442, 443, 447, 448, 452)
"""Numbers that all architectures share: pidfd_send_signal, io_uring_setup, open_tree, move_mount, fsopen, fsmount,
fspick, pidfd_open, pidfd_getfd, process_madvise, mount_setattr, quotactl_fd, memfd_secret, process_mrelease,
fchmodat2."""
_CLONE3 = 435
_X86 = {
    "network": (41,),  # socket; a socketpair connects to nothing else
    "programs and processes": (57, 58, 59, 322),  # fork, vfork, execve, execveat
    "other processes": (101, 129, 200, 297, 310, 311, 312),  # ptrace, sigqueue, tkill, process_vm_*, kcmp
    "scheduling of others": (141, 142, 144, 203, 251, 314),  # setpriority, sched_set*, ioprio_set
    "memory that outlives or that no limit counts": (29, 64, 68, 240, 319),  # shmget, semget, msgget, mq_open, memfd
    "attributes of files": (76, 90, 92, 94, 132, 188, 189, 197, 198, 235, 260, 261, 268, 280),  # chmod, chown, utime...
    "namespaces and mounts": (155, 161, 165, 166, 272, 303, 304, 308),
    "the kernel": (135, 248, 249, 250, 298, 300, 321, 323),  # personality, keys, perf, fanotify, bpf, userfaultfd
}
_ARM = {
    "network": (198,),
    "programs and processes": (221, 281),
    "other processes": (117, 130, 138, 240, 270, 271, 272),
    "scheduling of others": (30, 118, 119, 122, 140, 274),
    "memory that outlives or that no limit counts": (180, 186, 190, 194, 279),
    "attributes of files": (5, 6, 14, 15, 45, 53, 54, 88),
    "namespaces and mounts": (39, 40, 41, 51, 97, 264, 265, 268),
    "the kernel": (92, 217, 218, 219, 241, 262, 280, 282),
}
# Audit number of the architecture; refused calls; then clone, kill, tgkill, prctl, prlimit64, socketpair.
_MACHINES = {
    "x86_64": (0xC000003E, _X86, (56, 62, 234, 157, 302, 53)),
    "aarch64": (0xC00000B7, _ARM, (220, 129, 131, 167, 261, 199)),
}


def refuse_calls(libc: ctypes.CDLL) -> bool:
    """Install the filter for this process, and return whether the kernel has accepted it."""
    machine = os.uname().machine
    if machine not in _MACHINES:
        return False
    code = _filter(machine, os.getpid())
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    return bool(libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0) == 0)


def _filter(machine: str, pid: int) -> bytes:
    architecture, refused, (clone, kill, tgkill, prctl, prlimit, socketpair) = _MACHINES[machine]
    numbers = sorted({*_EVERYWHERE, *(number for group in refused.values() for number in group)})
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _LAST_KNOWN + 1),  # includes the calls of the x32 interface
        (_RETURN, 0, 0, _UNKNOWN),
        (_EQUAL, 0, 1, _CLONE3),  # a filter cannot read its flags in memory; the C library falls back to clone
        (_RETURN, 0, 0, _UNKNOWN),
        *_unless(clone, _SET, (_CLONE_THREAD,)),
        *_unless(kill, _EQUAL, (pid,)),
        *_unless(tgkill, _EQUAL, (pid,)),
        *_unless(prlimit, _EQUAL, (0, pid)),
        *_unless(socketpair, _EQUAL, (_AF_UNIX,)),
        (_EQUAL, 0, 4, prctl),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_EQUAL, 0, 1, _PR_SET_PDEATHSIG),  # ends the process with its parent
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    for number in numbers:
        lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _unless(number: int, test: int, values: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Return instructions that refuse a call unless a test of its first argument holds for one of the values."""
    tests = [(test, len(values) - n, 0, value) for n, value in enumerate(values)]
    lines = [(_LOAD, 0, 0, _FIRST_ARGUMENT), *tests, (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    return [(_EQUAL, 0, len(lines), number), *lines]
