"""Programs that try to break out of the sandbox; each is a real process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from lightning_gft.sandbox.measure import measure
from lightning_gft.sandbox.process import EndedError, Limits, OverTimeError, SandboxedProcess, _read

PATIENCE = 120.0
"""Seconds for what ends by itself, on a machine that is busy."""


@pytest.fixture(autouse=True, scope="module")
def _whole_sandbox() -> None:
    if measure().open:
        pytest.skip("no whole sandbox on this machine")


def run(code: str, stdin: str = "", seconds: float = PATIENCE, **limits: int) -> tuple[str, int]:
    with SandboxedProcess(Limits(**limits), stdin, captures=True) as process:
        written, status = process.output(textwrap.dedent(code), seconds, 1 << 20)
    return written.decode(), status


def outcomes(attempts: dict[str, str], **names: object) -> dict[str, str]:
    """Return the class of the error that each attempt ends in, or what it gives, all in one program."""
    code = f"import ctypes, os, socket, subprocess, resource, signal, sys, json, mmap, threading\nnames = {names!r}\n"
    code += "outcomes = {}\n"
    for name, attempt in attempts.items():
        code += f"try:\n    outcomes[{name!r}] = 'REACHED ' + repr(eval({attempt!r}, globals() | names))\n"
        code += f"except BaseException as error:\n    outcomes[{name!r}] = type(error).__name__\n"
    written, status = run(code + "print(json.dumps(outcomes))\n")
    assert status == 0
    return json.loads(written)  # type: ignore[no-any-return]


def test_an_honest_program_runs():
    code = """
    import collections, heapq, itertools, math, sys, threading
    sys.setrecursionlimit(10**6)
    threading.stack_size(64 << 20)
    def deep(n):
        return 0 if n == 0 else 1 + deep(n - 1)
    thread = threading.Thread(target=lambda: print(deep(20000) + int(input())))
    thread.start()
    thread.join()
    open("notes.txt", "w").write("a")
    print(open("notes.txt").read(), len(sys.argv), __name__)
    """
    assert run(code, "5\n") == ("20005\na 1 __main__\n", 0)


def test_no_socket_of_any_kind(tmp_path: Path):
    server = socket.create_server(("127.0.0.1", 0))
    here = socket.socket(socket.AF_UNIX)
    here.bind(str(tmp_path / "socket"))
    here.listen()
    found = outcomes(
        {
            "tcp": "socket.create_connection(('127.0.0.1', port), timeout=5)",
            "tcp6": "socket.socket(socket.AF_INET6, socket.SOCK_STREAM)",
            "udp": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', port))",
            "unix": "socket.socket(socket.AF_UNIX).connect(path)",
            "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
            "vsock": "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
            "dns": "socket.getaddrinfo('localhost.example.com', 80)",
            "server": "socket.create_server(('127.0.0.1', 0))",
            "url": "__import__('urllib.request').request.urlopen(f'http://127.0.0.1:{port}', timeout=5)",
            # 425 is io_uring_setup, by which a socket could be had without its own system call.
            "io_uring": "[1][ctypes.CDLL(None).syscall(425, 8, bytes(120)) + 2]",
        },
        port=server.getsockname()[1],
        path=str(tmp_path / "socket"),
    )
    server.settimeout(0)
    with pytest.raises(BlockingIOError):
        server.accept()
    assert {kind for name, kind in found.items() if name not in ("dns", "url", "io_uring")} == {"PermissionError"}
    assert (found["dns"], found["url"]) == ("gaierror", "URLError")
    assert found["io_uring"] == "IndexError"  # it gave -1: index 1 of one entry


def test_files_of_others_are_neither_read_nor_written(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    secret = tmp_path / "secret"
    secret.write_text("key")
    found = outcomes(
        {
            "read": "open(secret).read()",
            "append": "open(secret, 'a')",
            "truncate": "os.truncate(secret, 0)",
            "remove": "os.remove(secret)",
            "rename": "os.rename(secret, 'mine')",
            "link": "os.link(secret, 'mine')",
            "symlink": "os.symlink(secret, 'mine')",
            "chmod": "os.chmod(secret, 0o777)",
            "touch": "os.utime(secret)",
            "create": "open(secret + '2', 'w')",
            "folder": "os.mkdir(secret + '3')",
            "list": "os.listdir(os.path.dirname(secret))",
            "python's own": "open(os.__file__, 'a')",
            "python's own, cut": "os.open(os.__file__, os.O_RDONLY | os.O_TRUNC)",
            "next to python's own": "open(os.__file__ + '2', 'w')",
            "passwords": "open('/etc/passwd').read()",
            "home": "os.listdir(os.path.expanduser('~'))",
            "root": "os.listdir('/')",
            "environment of the run": "open(f'/proc/{parent}/environ').read()",
            "memory of the run": "open(f'/proc/{parent}/mem', 'rb')",
            "its own memory map": "open('/proc/self/maps')",
            "shared memory": "open('/dev/shm/gft', 'w')",
            "terminal": "open('/dev/tty')",
        },
        secret=str(secret),
        parent=os.getpid(),
    )
    assert set(found.values()) <= {"PermissionError", "OSError", "FileNotFoundError"}, found
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]
    assert secret.read_text() == "key"


def test_the_environment_holds_nothing_of_the_runs(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    written, _ = run("import os; print(sorted(os.environ)); print(open('/dev/null').read())")
    assert "LC_CTYPE" in written
    assert "HF_TOKEN" not in written
    assert "OPENAI" not in written


def test_no_other_process_is_made_or_reached():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = outcomes(
        {
            "fork": "os.fork()",
            "spawn": "subprocess.run(['ls'])",
            "posix_spawn": "os.posix_spawn('/bin/ls', ['ls'], {})",
            "exec": "os.execv(sys.executable, ['python'])",
            "system": "[0][os.system('true')]",
            "kill parent": "os.kill(parent, signal.SIGKILL)",
            "kill sibling": "os.kill(sibling, signal.SIGKILL)",
            "kill all": "os.kill(-1, signal.SIGKILL)",
            "kill group": "os.killpg(os.getpgid(parent), signal.SIGKILL)",
            "limits of the parent": "resource.prlimit(parent, resource.RLIMIT_CPU, (1, 1))",
            "priority": "os.setpriority(os.PRIO_PROCESS, parent, 19)",
            "affinity": "os.sched_setaffinity(parent, {0})",
            "pidfd": "os.pidfd_open(parent)",
            # ptrace(PTRACE_ATTACH), process_vm_readv, tkill, rt_sigqueueinfo by their numbers; -1 is a refusal
            "ptrace": "['reached'][ctypes.CDLL(None).ptrace(16, parent, 0, 0) + 2]",
            "process_vm": "['reached'][ctypes.CDLL(None).process_vm_readv(parent, 0, 0, 0, 0, 0) + 2]",
            "outlive": "['reached'][ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) + 2]",
            "namespaces": "['reached'][ctypes.CDLL(None).unshare(0x10000000) + 2]",
            "mount": "['reached'][ctypes.CDLL(None).mount(b'/', b'/', 0, 0x1000, 0) + 2]",
            "more files": "resource.setrlimit(resource.RLIMIT_NOFILE, (10**4, 10**4))",
            "more memory": "resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))",
        },
        parent=os.getpid(),
        sibling=child.pid,
    )
    assert child.poll() is None
    child.communicate(b"\n")
    assert not {name: what for name, what in found.items() if what.startswith("REACHED")}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("START\nwhile True: pass", OverTimeError),
        ("START\nimport time; time.sleep(1e6)", OverTimeError),
        ("import os, signal\nSTART\nos.kill(os.getpid(), signal.SIGSTOP)", OverTimeError),
        ("import signal; [signal.signal(n, lambda *_: 0) for n in (2, 15)]\nSTART\nwhile True: pass", OverTimeError),
        ("import os; os.close(1)\nwhile True: pass", OverTimeError),
        ("while True: print('x' * 1000)", EndedError),
    ],
)
def test_what_does_not_end_is_ended(code: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch):
    code = code.replace("START", "print('started', flush=True)")
    with SandboxedProcess(Limits(), captures=True) as process:
        process._send({"kind": "program", "code": code}, time.monotonic() + PATIENCE)
        assert process.process.stdout is not None
        _read(process.process.stdout.fileno(), time.monotonic() + PATIENCE)  # the limit begins when it has written
        monkeypatch.setattr(process, "_send", lambda *_: None)
        with pytest.raises(kind):
            process.output(code, 60 if kind is EndedError else 0.3, 1 << 16)
        folder = process._folder.name
    assert process.process.returncode == -signal.SIGKILL
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    "code",
    [
        "x = bytearray(4 << 30)",
        "x = []\nwhile True: x.append(bytes(1 << 20))",
        "x = 9 ** 9 ** 9",
        "import mmap\nx = [mmap.mmap(-1, 1 << 28) for _ in range(64)]",
    ],
)
def test_memory_ends_with_the_limit(code: str):
    with SandboxedProcess(Limits(memory_mb=300, cpu_seconds=1), captures=True) as process:
        try:
            _, status = process.output(code, PATIENCE, 1 << 16)
        except OverTimeError:
            pytest.fail("neither memory nor processor time was limited")
        assert status != 0


def test_processor_time_of_all_threads_ends_with_the_limit():
    code = "import threading\ndef burn():\n while True: pass\n[threading.Thread(target=burn).start() for _ in range(4)]"
    assert run(code, cpu_seconds=1)[1] == -signal.SIGKILL


def test_a_bomb_of_threads_goes_no_further_than_memory():
    code = """
    import threading, time
    threading.stack_size(1 << 20)
    count = 0
    try:
        while True:
            threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()
            count += 1
    except (RuntimeError, MemoryError):
        print(count < 1000)
    """
    assert run(code, memory_mb=512) == ("True\n", 0)


def test_files_are_few_and_small():
    code = """
    try:
        open("big", "wb").write(bytes(64 << 20))
    except OSError:
        print("a file is small")
    try:
        kept = [open(f"file{n}", "wb") for n in range(1000)]
    except OSError:
        print("few are open")
    kept = None
    """
    assert run(code, file_mb=4) == ("a file is small\nfew are open\n", 0)
    if "namespaces" in measure().walls:
        fill = """
        try:
            for n in range(100):
                with open(f"file{n}", "wb") as file:
                    file.write(bytes(4 << 20))
        except OSError as error:
            print(n < 20, error.errno)
        """
        assert run(fill, file_mb=4) == ("True 28\n", 0)


START = """
import sys, time
from lightning_gft.sandbox.process import Limits, SandboxedProcess
process = SandboxedProcess(Limits(), captures=True)
print(process.process.pid, flush=True)
process.output("import time; time.sleep(1e6)", 1e6, 10)
"""


def test_a_program_ends_with_the_run_however_that_ends(tmp_path: Path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # where a run that is killed leaves the folder of a program
    run_itself = subprocess.Popen([sys.executable, "-c", START], stdout=subprocess.PIPE, env=environment)
    assert run_itself.stdout is not None
    program = int(run_itself.stdout.readline())
    os.kill(run_itself.pid, signal.SIGKILL)
    run_itself.wait()
    run_itself.stdout.close()
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{program}/stat").exists() and Path(f"/proc/{program}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nothing_of_the_run_is_inherited():
    with Path(os.devnull).open() as file:
        os.set_inheritable(file.fileno(), True)
        code = """
        import os
        for number in range(64):
            try:
                os.fstat(number)
            except OSError:
                continue
            print(number, end=" ")
        """
        numbers = {int(number) for number in run(code)[0].split()}
        assert file.fileno() not in numbers - {0, 1, 2}
        assert len(numbers) <= 4  # the standard streams, and where it answers
