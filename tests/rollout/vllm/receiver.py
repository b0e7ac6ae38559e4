"""A stand-in server that receives weights into its memory, as vLLM does, but by gloo instead of NCCL.

It writes what it has received to a folder of notes, under the version of the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed import BroadcastOptions, ProcessGroupGloo, TCPStore

from tests.rollout.vllm.stand_in import StandIn

LONG = timedelta(seconds=300)


def broadcast_options() -> BroadcastOptions:
    options = BroadcastOptions()
    options.rootRank = 0
    return options


class Receiver(StandIn):
    """Answers the calls of vLLM's weight transfer, with the checks that vLLM makes."""

    def __init__(self, notes: Path, port: int = 0, model: str = "served", fails: str = "") -> None:
        super().__init__(port, model)
        self.notes, self.fails = notes, fails
        self.group: ProcessGroupGloo | None = None
        self.updating = False
        self.received: dict[str, Tensor] = {}

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        try:
            return self.transfer(path.removeprefix("/"), body)
        except (RuntimeError, AssertionError) as error:
            return 500, {"error": {"message": str(error)}}

    def transfer(self, path: str, body: Any) -> tuple[int, Any]:
        if path == "get_world_size":
            return 200, {"world_size": 1}
        if path == "init_weight_transfer_engine":
            info = body["init_info"]
            assert (info["rank_offset"], info["packed"]) == (1, False)
            store = TCPStore(info["master_address"], info["master_port"], is_master=False, timeout=LONG)
            self.group = ProcessGroupGloo(store, 1, info["world_size"], LONG)
            self.receive(torch.zeros(1))
        elif path == "shutdown_weight_transfer_engine":
            assert not self.updating, "Cannot release a trainer connection during a weight update"
            self.group = None
        elif path == "start_weight_update":
            assert not self.updating, "start_weight_update called while a weight update is already active"
            self.updating = True
        elif path == "update_weights":
            assert self.updating, "start_weight_update must be called before update_weights."
            try:
                self.receive_all(**body["update_info"])
            except BaseException:
                self.updating = False
                raise
        elif path == "finish_weight_update":
            assert self.updating, "finish_weight_update called without a matching start_weight_update."
            self.updating = False
        else:
            if path == "update_weight_version":
                save_file(self.received, self.notes / f"{body['new_version']}.safetensors")
            return super().answer(f"/{path}", body)
        return 200, {"message": "done"}

    def receive_all(self, names: list[str], dtype_names: list[str], shapes: list[list[int]]) -> None:
        if self.group is None:
            raise RuntimeError("NCCL weight transfer not initialized.")
        if self.fails == "refuses" and self.once():
            raise RuntimeError("out of memory")
        self.received = {}
        for number, (name, dtype, shape) in enumerate(zip(names, dtype_names, shapes, strict=True)):
            if number == 3 and self.fails == "hangs" and self.once():
                time.sleep(3600)
            if number == 3 and self.fails == "dies" and self.once():
                os.kill(os.getpid(), signal.SIGKILL)
            self.received[name] = torch.empty(shape, dtype=getattr(torch, dtype))
            self.receive(self.received[name])

    def receive(self, tensor: Tensor) -> None:
        assert self.group is not None
        self.group.broadcast([tensor], broadcast_options()).wait()

    def once(self) -> bool:
        """Return whether this is the first failure of all starts."""
        failed = self.notes / "failed"
        if failed.exists():
            return False
        failed.touch()
        return True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("serve")
    parser.add_argument("model")
    parser.add_argument("--notes", type=Path, required=True)
    parser.add_argument("--fails", default="")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--served-model-name", default="policy")
    parser.add_argument("--weight-transfer-config", type=json.loads, required=True)
    options, _ = parser.parse_known_args()
    assert options.weight_transfer_config == {"backend": "nccl"}
    assert os.environ["VLLM_SERVER_DEV_MODE"] == "1"
    assert Path(options.model, "config.json").is_file(), "started without a model"
    (options.notes / f"start-{os.getpid()}").touch()
    Receiver(options.notes, options.port, options.served_model_name, options.fails).serve_forever()


if __name__ == "__main__":
    main()
