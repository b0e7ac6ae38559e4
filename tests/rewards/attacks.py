"""Tasks that misbehave, for worker processes: this module imports little, as they do."""

import contextlib
import ctypes
import math
import os
import pickle
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

KEPT = []


def attack(item):
    """Do what the item says; a plain item is returned."""
    if not isinstance(item, tuple):
        return item
    name, *arguments = item
    return globals()[name](*arguments)


def pid():
    return os.getpid()


def modules(*names):
    return [name for name in names if name in sys.modules]


def hangs_in_c():
    re.match("(a+)+b", "a" * 60)


def ignores_signals(then="hangs_in_c"):
    for number in signal.valid_signals():
        with contextlib.suppress(OSError):
            signal.signal(number, signal.SIG_IGN)
    globals()[then]()


def hangs_with_threads():
    for _ in range(4):
        threading.Thread(target=hangs_in_c).start()
    hangs_in_c()


def hangs_without_descriptors():
    os.closerange(0, 4096)
    hangs_in_c()


def closes_descriptors():
    os.closerange(3, 4096)
    return 1


def writes_to_descriptors():
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(number, b"\xff" * 64)
    return 1


def answers_for_another():
    """Send what looks like an answer on the connection, and give the answer proper after it."""
    false = pickle.dumps(("result", 0, "false"))
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(number, len(false).to_bytes(8, "big") + false)
    return 1


def closes_streams():
    print("x" * 100_000)
    sys.stdout.close()
    sys.stderr.close()
    os.closerange(0, 3)
    return 1


def spawns(note, then=None):
    """Leave behind a child in a session of its own and an orphan that ignores signals; note their numbers."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            Path(note).write_text(f"{child.pid} {os.getpid()}")
            ignores_signals("hangs_in_c")
        os._exit(0)
    while not Path(note).exists() or len(Path(note).read_text().split()) < 2:
        time.sleep(0.01)
    return globals()[then]() if then else Path(note).read_text()


def forks_and_returns():
    return "child" if os.fork() == 0 else "parent"


def exits(status=3):
    os._exit(status)


def sys_exits():
    sys.exit(0)


def segfaults():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


def is_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def kills_its_parent():
    os.kill(os.getppid(), signal.SIGKILL)
    hangs_in_c()


def leaves_its_session():
    try:
        os.setsid()
    except PermissionError:
        os.setpgid(0, os.getpgid(os.getppid()))
    hangs_in_c()


def takes(mebibytes=1024):
    return len(bytearray(mebibytes * 2**20))


def keeps(mebibytes):
    KEPT.append(bytearray(mebibytes * 2**20))


def deletes_modules():
    sys.modules.clear()
    return 1


def raises():
    raise KeyError("boom")


class UnprintableError(Exception):
    def __str__(self):
        raise ValueError


def raises_unprintable():
    raise UnprintableError


def returns_unpicklable():
    return lambda: 1


def returns_huge():
    return bytes(300 * 2**20)


class Unreadable:
    def __reduce__(self):
        return (int, ("not a number",))


def returns_unreadable():
    return Unreadable()


def digit_sum(item):
    response, misdeed = item
    if misdeed is not None:
        attack((misdeed,))
    return sum(map(int, filter(str.isdigit, response))) / 10


def attacks_all(responses):
    """Score by the number of responses that came together, where none of them does any harm."""
    for response in responses:
        if response in globals():
            attack((response,))
    return [float(len(responses))] * len(responses)


def attacks_one(responses, level):
    """Score a single response by a column, and by chance."""
    attacks_all(responses)
    (response,) = responses
    return {"none": [None], "two": [1.0, 2.0]}.get(response, [random.random() + level[0]])


def odd(responses):
    """Return what the responses name, of which only numbers are scores."""
    values = {"text": "good", "dict": {}, "nan": math.nan, "list": [1.0], "number": 1.0, "none": None}
    return [values[response] for response in responses]


def lengths_alone(response_tokens):
    return response_tokens


class WithSetup:
    """Notes where it was loaded and set up."""

    loaded = seen = None

    def preload(self):
        self.loaded = os.getpid()

    def setup(self):
        self.seen = os.getpid()

    def __call__(self, item):
        return self.loaded, self.seen == os.getpid()
