"""A service for each test, and no pauses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lightning_gft.rewards.http import endpoint
from tests.rewards.http.service import Service


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.server.shutdown()
    service.server.server_close()


@pytest.fixture(autouse=True)
def waits(monkeypatch) -> list[float]:
    """Return the pauses between attempts, which last no time here."""
    waited: list[float] = []
    pause = endpoint._pause

    def none(attempt: int, asked: float) -> float:
        waited.append(pause(attempt, asked))
        return 0.0

    monkeypatch.setattr(endpoint, "_pause", none)
    return waited
