"""Ranks with different numbers of batches stop together, wherever each of them gets its signal."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field
from itertools import product
from queue import SimpleQueue
from typing import Literal

import pytest

from lightning_gft.cli import stopping
from lightning_gft.cli.stopping import StopRequest
from lightning_gft.waiting import RunStoppedError

Place = Literal["drawing", "drawn"]
Signal = tuple[int, Place] | None
"""The batch in which a rank gets its signal: while it draws, or later."""


@dataclass
class Ranks:
    """Two ranks of an evaluation, each a thread; their collectives match by their order, as real ones do."""

    batches: tuple[int, int]
    shared: int
    signals: tuple[Signal, Signal]
    sent: tuple[SimpleQueue[bool | None], SimpleQueue[bool | None]] = field(
        default_factory=lambda: (SimpleQueue(), SimpleQueue())
    )
    ends: list[int | str] = field(default_factory=lambda: ["", ""])

    def run(self) -> list[int | str]:
        """Return the number of batches of each rank that were finished, or ``"complete"``."""
        threads = [threading.Thread(target=self.evaluate, args=(rank,), name=str(rank)) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [queue.get_nowait() for queue in self.sent] == [None, None]  # none of what was sent is left
        return self.ends

    def evaluate(self, rank: int) -> None:
        done = 0
        try:
            request = StopRequest()
            request.finish("batch")
            request.begin_evaluation(self.shared)
            for batch in range(self.batches[rank]):
                request.next_batch()
                with request.abandonable():
                    self.send_signal(request, rank, (batch, "drawing"))
                    request.check_stop()
                    request.all_drawn()
                    self.send_signal(request, rank, (batch, "drawn"))
                done += 1
            request.end_evaluation()
            self.ends[rank] = "complete"
        except RunStoppedError:
            self.ends[rank] = done
        except AssertionError as error:
            self.ends[rank] = str(error)
        finally:
            self.sent[1 - rank].put(None)

    def send_signal(self, request: StopRequest, rank: int, now: Signal) -> None:
        if self.signals[rank] == now:
            request.signal = signal.SIGTERM

    def on_any_rank(self, value: bool) -> bool:
        rank = int(threading.current_thread().name)
        self.sent[1 - rank].put(value)
        other = self.sent[rank].get()
        assert other is not None, "waits for a rank that has ended"
        return value or other

    def stops(self, rank: int) -> bool:
        """Return whether a rank that gets its signal there has anything left to leave."""
        return self.signals[rank] not in (None, (self.batches[rank] - 1, "drawn"))


def test_ranks_that_end_at_once_agree_about_nothing(monkeypatch: pytest.MonkeyPatch):
    """As in a sanity check, of which ranks may have different numbers of batches."""
    calls: list[bool] = []
    monkeypatch.setattr(stopping, "on_any_rank", calls.append)
    request = StopRequest()
    with request.abandonable():
        request.check_stop()
        request.all_drawn()
    assert calls == []


def signals(batches: int) -> list[Signal]:
    return [None, *product(range(batches), ("drawing", "drawn"))]


@pytest.mark.parametrize("known", [True, False], ids=["known lengths", "streams"])
@pytest.mark.parametrize("batches", [*product(range(4), repeat=2)], ids=str)
def test_all_ranks_stop_or_none_does(batches: tuple[int, int], known: bool, monkeypatch: pytest.MonkeyPatch):
    for sent in product(*map(signals, batches)):
        ranks = Ranks(batches, min(batches) if known else 0, sent)
        monkeypatch.setattr(stopping, "on_any_rank", ranks.on_any_rank)
        ends = ranks.run()
        if not any(map(ranks.stops, range(2))):
            assert ends == ["complete", "complete"], sent
            continue
        assert all(isinstance(end, int) for end in ends), (sent, ends)
        for rank, at in enumerate(sent):
            if at is not None and ranks.stops(rank):
                assert ends[rank] <= at[0] + (at[1] == "drawn"), (sent, ends)  # none is begun after the signal
