"""A run that starts a server and ends in the way that its first argument names, in the folder that its second does."""

import importlib
import os
import signal
import sys
import time
import types
from pathlib import Path
from typing import Any

import lightning_gft


def server_module() -> Any:
    """Return the module of servers, without what its packages import, which takes seconds."""
    for name in ("rollout", "rollout/vllm"):
        package = types.ModuleType("lightning_gft." + name.replace("/", "."))
        package.__path__ = [str(Path(lightning_gft.__file__).parent / name)]
        sys.modules[package.__name__] = package
    return importlib.import_module("lightning_gft.rollout.vllm.server")


def main(end: str, folder: Path, command: list[str]) -> None:
    """Start a server, write a note once it is ready, and end."""
    note, module = folder / "note", server_module()
    module._STOP_SECONDS = 1.0
    server = module.ManagedServer(command, log=folder / "server.log")
    server.start()
    if end == "kill":
        child = os.fork()  # as a data loader does
        if child:
            note.write_text(str(child))
        time.sleep(600)
    elif end == "ctrl-c":
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            note.write_text("started")
            time.sleep(600)
        except KeyboardInterrupt:
            time.sleep(1)  # writes a checkpoint
            print("alive", server.alive(), flush=True)
    else:
        note.write_text("started")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
