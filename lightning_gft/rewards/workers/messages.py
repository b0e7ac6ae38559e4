"""Messages of any length over a socket between a run and its workers."""

from __future__ import annotations

import socket
import struct
from typing import Any

HEADER = struct.Struct("!Q")
"""A number before a message, its length in bytes, and before an item, its index."""
MOST_BYTES = 256 * 2**20
"""Bytes of a worker's longest answer."""


def read(stream: Any) -> bytes:
    """Read the next message from a blocking stream.

    Raises:
        EOFError: If the other side has ended.
    """
    (length,) = HEADER.unpack(_exactly(stream, HEADER.size))
    return _exactly(stream, length)


def send(channel: socket.socket, message: bytes) -> None:
    """Send a message over a blocking socket."""
    channel.sendall(HEADER.pack(len(message)) + message)


def _exactly(stream: Any, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = stream.read(length - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)
