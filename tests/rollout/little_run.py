"""A run that starts a server and ends in the way that its first argument names, in the folder that its second does."""

import importlib
import os
import signal
import sys
import time
import types
from pathlib import Path

import lightning_gft

for name in ("rollout", "rollout/vllm"):  # packages without what they import, which takes seconds
    package = types.ModuleType("lightning_gft." + name.replace("/", "."))
    package.__path__ = [str(Path(lightning_gft.__file__).parent / name)]
    sys.modules[package.__name__] = package
module = importlib.import_module("lightning_gft.rollout.vllm.server")

end, folder, *command = sys.argv[1:]
note = Path(folder) / "note"
module._STOP_SECONDS = 1.0
server = module.ManagedServer(command, log=Path(folder) / "server.log")
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
