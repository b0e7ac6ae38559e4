"""A reward in a process of its own, which may hang."""

import json
import select
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from lightning_gft import Reward

VERIFIER = """
import json, sys, time
for number, line in enumerate(sys.stdin, start=1):
    response, reference = json.loads(line)
    time.sleep(1e6 if number == 60 else 0)  # once in its life it hangs
    print(float(response.endswith(str(reference))), flush=True)
"""


class WorkerReward(Reward):
    """Asks a verifier process; a response that takes too long has no score, and is counted.

    Args:
        seconds: Longest time for a response.
        weight: What the score counts in the total.
    """

    def __init__(self, seconds: float = 5.0, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.seconds = seconds
        self.timeouts = 0

    def setup(self) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.worker = subprocess.Popen([sys.executable, "-c", VERIFIER], **pipes)

    def close(self) -> None:
        self.worker.kill()
        self.worker.wait()

    def __call__(self, *, responses: Sequence[str], references: Sequence[Any], **_: Any) -> list[float | None]:
        return [self.ask(*pair) for pair in zip(responses, references, strict=True)]

    def ask(self, response: str, reference: Any) -> float | None:
        self.worker.stdin.write(json.dumps([response, reference]) + "\n")
        if select.select([self.worker.stdout], [], [], self.seconds)[0]:
            return float(self.worker.stdout.readline())
        self.timeouts += 1
        self.close()
        self.setup()
        return None

    def compute(self) -> dict[str, float]:
        return {"timeouts": self.timeouts}

    def reset(self) -> None:
        self.timeouts = 0
