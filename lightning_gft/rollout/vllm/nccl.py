"""Sending tensors from GPU to GPU by NCCL, through the library that torch has loaded."""

from __future__ import annotations

import base64
import ctypes
import threading
import time
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.errors import GFTRuntimeError
from lightning_gft.rollout.vllm.transport import Transport, TransportError

_SUCCESS, _IN_PROGRESS, _SUM = 0, 7, 0
_TYPES = {
    torch.int8: 0,
    torch.uint8: 1,
    torch.int32: 2,
    torch.int64: 4,
    torch.float16: 6,
    torch.float32: 7,
    torch.float64: 8,
    torch.bfloat16: 9,
}
"""Values of ncclDataType_t in nccl.h."""
_POLL_SECONDS = 0.001
_CALL_SECONDS = 5.0
"""Time limit for a call to return by itself before it is aborted."""


class _UniqueId(ctypes.Structure):
    _fields_ = [("internal", ctypes.c_byte * 128)]


_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
_FUNCTIONS: dict[str, list[Any]] = {
    "ncclGetUniqueId": [ctypes.POINTER(_UniqueId)],
    "ncclCommInitRank": [ctypes.POINTER(_POINTER), _INT, _UniqueId, _INT],
    "ncclAllReduce": [_POINTER, _POINTER, _SIZE, _INT, _INT, _POINTER, _POINTER],
    "ncclBroadcast": [_POINTER, _POINTER, _SIZE, _INT, _INT, _POINTER, _POINTER],
    "ncclCommGetAsyncError": [_POINTER, ctypes.POINTER(_INT)],
    "ncclCommAbort": [_POINTER],
}
"""Argument types in nccl.h of the functions that are called; each returns an ncclResult_t."""


class NCCLTransport(Transport):
    """A communicator of NCCL whose rank 0 is this process, on its current GPU.

    It does what vLLM's ``PyNcclCommunicator`` does: the same unique id, a sum over one number after the ranks have
    joined, and broadcasts from rank 0. torch's own process groups share their unique id through a store with keys of
    their own, and so cannot be joined by vLLM. Calls may block while a peer is missing; only ``ncclCommAbort`` ends
    their kernels.

    Args:
        world_size: Number of processes of the server, plus 1.
        library: NCCL; default the one that torch has loaded.

    Raises:
        RuntimeError: If the library is missing, or fails.
    """

    def __init__(self, world_size: int, library: Any = None) -> None:
        self._library = loaded_library() if library is None else library
        self._world_size = world_size
        self.device = torch.device("cuda", torch.cuda.current_device())
        self._id = _UniqueId()
        self._check(self._library.ncclGetUniqueId(ctypes.byref(self._id)))
        self._communicator: ctypes.c_void_p | None = None
        self._aborted = threading.Event()
        self._calling = threading.Lock()

    @override
    def invitation(self) -> dict[str, Any]:
        return {"nccl_unique_id_b64": base64.b64encode(bytes(self._id)).decode()}

    @override
    def join(self) -> None:
        communicator = ctypes.c_void_p()
        with torch.cuda.device(self.device):
            joined = self._library.ncclCommInitRank(ctypes.byref(communicator), self._world_size, self._id, 0)
            self._check(joined)
            with self._calling:
                self._communicator = communicator
                if self._aborted.is_set():  # while this thread waited for a server that then joined after all
                    self._end()
            one = torch.zeros(1, device=self.device)
            self._call("ncclAllReduce", one, _SUM)
            self.settle()

    @override
    def broadcast(self, tensor: Tensor) -> None:
        self._call("ncclBroadcast", tensor, 0)  # from rank 0

    @override
    def settle(self) -> None:
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(self.device))
        while not arrived.query():
            self._check_peers()
            time.sleep(_POLL_SECONDS)
        self._check_peers()  # an aborted kernel ends too

    @override
    def abort(self) -> None:
        self._aborted.set()
        # A call that is about to return must not find its communicator freed; one that blocks is ended by this.
        free = self._calling.acquire(timeout=_CALL_SECONDS)
        try:
            self._end()
        finally:
            if free:
                self._calling.release()

    def _call(self, function: str, tensor: Tensor, option: int) -> None:
        """Enqueue a collective on the current stream, in place; memory that is freed later is reused after it."""
        address = ctypes.c_void_p(tensor.data_ptr())
        stream = ctypes.c_void_p(torch.cuda.current_stream(self.device).cuda_stream)
        with self._calling:
            communicator = self._joined()
            enqueue = getattr(self._library, function)
            self._check(enqueue(address, address, tensor.numel(), _TYPES[tensor.dtype], option, communicator, stream))

    def _check_peers(self) -> None:
        state = ctypes.c_int()
        with self._calling:
            self._check(self._library.ncclCommGetAsyncError(self._joined(), ctypes.byref(state)))
        self._check(state.value)

    def _joined(self) -> ctypes.c_void_p:
        if self._communicator is None or self._aborted.is_set():
            raise TransportError("the transfer by NCCL was aborted")
        return self._communicator

    def _end(self) -> None:
        communicator, self._communicator = self._communicator, None
        if communicator is not None:
            self._library.ncclCommAbort(communicator)

    def _check(self, result: int) -> None:
        if result not in (_SUCCESS, _IN_PROGRESS):
            text = self._library.ncclGetErrorString(result).decode()
            raise TransportError(
                f"an error of NCCL ({text}); both environments need the same version of NCCL, and the server GPUs of "
                "its own; NCCL_DEBUG=WARN shows more"
            )


def loaded_library() -> Any:
    """Return NCCL with the types of the functions that are called here.

    Raises:
        RuntimeError: If there is no such library.
    """
    try:
        library = ctypes.CDLL("libnccl.so.2")  # by its soname: the one in this process
    except OSError as error:
        raise GFTRuntimeError(
            f"`weights` of VLLMEngine: expected NCCL as a library that torch loads, got {error}; install a build of "
            "torch for CUDA, or leave weights out"
        ) from None
    for name, types in _FUNCTIONS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = types, ctypes.c_int
    library.ncclGetErrorString.argtypes, library.ncclGetErrorString.restype = [ctypes.c_int], ctypes.c_char_p
    return library
