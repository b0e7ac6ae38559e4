"""Messages of any length on a socket between a run and its workers."""

from __future__ import annotations

import socket
import struct
from typing import Any

HEADER = struct.Struct("!Q")
"""A number that goes before a message, its length in bytes, and before an item, its place among the others."""
MOST_BYTES = 256 * 2**20
"""Longest answer of a worker."""


def read(stream: Any) -> bytes:
    """Return the next message of a blocking stream.

    Raises:
        EOFError: If the other side has ended.
    """
    (length,) = HEADER.unpack(_exactly(stream, HEADER.size))
    return _exactly(stream, length)


def send(channel: socket.socket, message: bytes) -> None:
    """Send a message on a blocking socket."""
    channel.sendall(HEADER.pack(len(message)) + message)


def _exactly(stream: Any, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = stream.read(length - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)
