"""A terminal for a command in a process of its own."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A pseudo-terminal, which reads what processes write to it.

    Attributes:
        path: Its file, which processes write to.
    """

    def __init__(self) -> None:
        self._reads, self._writes = os.openpty()
        self.path = Path(os.ttyname(self._writes))
        self._written = b""
        self._reader = threading.Thread(target=self._read, name="terminal")
        self._reader.start()

    def lines(self) -> list[str]:
        """Return the lines that were written, once no process writes any more; a redrawn line is there repeatedly."""
        os.close(self._writes)
        self._reader.join()
        os.close(self._reads)
        text = CONTROL.sub(b"", self._written).decode()
        return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]

    def _read(self) -> None:
        try:
            while content := os.read(self._reads, 4096):
                self._written += content
        except OSError:  # Linux's end of a terminal
            return
