"""The calls of NCCL in their order, with a library and a GPU that only record them; no GPU has run this."""

from __future__ import annotations

import base64
import threading
import time
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from lightning_gft.rollout.vllm.client import ServerFault
from lightning_gft.rollout.vllm.nccl import NCCLTransport
from lightning_gft.rollout.vllm.transport import TransportError, while_moving
from lightning_gft.waiting import check_wait, ending_waits

CPU = torch.device("cpu")


class Library:
    """NCCL's functions; ``broken`` is what the communicator returns of its peers."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.broken = 0
        self.arrived = threading.Event()
        self.arrived.set()

    def ncclGetUniqueId(self, unique_id: Any) -> int:
        unique_id._obj.internal[:] = range(-64, 64)
        return 0

    def ncclCommInitRank(self, communicator: Any, size: int, unique_id: Any, rank: int) -> int:
        communicator._obj.value = 5
        self.calls.append(("join", size, bytes(unique_id), rank))
        return 0

    def ncclAllReduce(self, *arguments: Any) -> int:
        return self._collective("sum", *arguments)

    def ncclBroadcast(self, *arguments: Any) -> int:
        return self._collective("broadcast", *arguments)

    def ncclCommGetAsyncError(self, communicator: Any, state: Any) -> int:
        state._obj.value = self.broken
        return 0

    def ncclCommAbort(self, communicator: Any) -> int:
        self.calls.append(("abort", communicator.value))
        self.arrived.set()  # its kernels end
        return 0

    def ncclGetErrorString(self, result: int) -> bytes:
        return b"remote process exited"

    def _collective(self, name: str, sent: Any, received: Any, *rest: Any) -> int:
        count, kind, option, communicator, stream = rest
        assert sent.value == received.value
        self.calls.append((name, sent.value, count, kind, option, communicator.value, stream.value))
        return 0


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()

    class Event:
        def record(self, stream: Any) -> None:
            pass

        def query(self) -> bool:
            return made.arrived.is_set()

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: type("Stream", (), {"cuda_stream": 7}))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    return made


def transport(library: Library) -> NCCLTransport:
    made = NCCLTransport(3, library)
    assert made.device == torch.device("cuda", 0)
    made.device = CPU
    return made


def test_it_joins_as_rank_0_with_a_sum_and_then_broadcasts(library: Library):
    moving = transport(library)
    unique_id = base64.b64decode(moving.invitation()["nccl_unique_id_b64"])
    assert len(unique_id) == 128
    moving.join()
    weight = torch.ones(2, 3, dtype=torch.bfloat16)
    moving.broadcast(weight)
    moving.settle()
    joined, summed, sent = library.calls
    assert joined == ("join", 3, unique_id, 0)
    assert (summed[0], summed[2:]) == ("sum", (1, 7, 0, 5, 7))  # one float32, ncclSum, the communicator, the stream
    assert sent == ("broadcast", weight.data_ptr(), 6, 9, 0, 5, 7)  # six bfloat16 from rank 0


def test_a_lost_peer_is_noticed_while_tensors_are_on_their_way(library: Library):
    moving = transport(library)
    moving.join()
    library.arrived.clear()
    library.broken = 6
    with pytest.raises(TransportError, match="remote process exited"):
        moving.settle()


def test_an_abort_ends_the_wait_of_the_other_thread(library: Library):
    moving = transport(library)
    moving.join()
    library.arrived.clear()

    def call() -> None:
        time.sleep(0.01)
        raise ServerFault("no connection", "lost")

    with pytest.raises(ServerFault, match="no connection"):
        while_moving(moving, moving.settle, call, timeout=60.0)
    assert library.calls[-1] == ("abort", 5)
    assert "Transport" not in [thread.name for thread in threading.enumerate()]
    moving.abort()
    assert library.calls.count(("abort", 5)) == 1
    with pytest.raises(TransportError, match="aborted"):
        moving.broadcast(torch.ones(1))


def test_a_request_to_stop_ends_a_transfer(library: Library):
    moving = transport(library)
    moving.join()
    library.arrived.clear()

    def stop() -> None:
        raise SystemExit(143)

    with ending_waits(stop), pytest.raises(SystemExit):
        while_moving(moving, moving.settle, check_wait, timeout=60.0)
    assert library.calls[-1] == ("abort", 5)


def test_a_server_that_joins_after_the_end_finds_no_peer(library: Library):
    moving = transport(library)
    moving.abort()
    with pytest.raises(TransportError, match="aborted"):
        moving.join()
    assert library.calls[-1] == ("abort", 5)
