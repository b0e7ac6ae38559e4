"""Programs are only run where they are kept in."""

from __future__ import annotations

import pytest

from lightning_gft.sandbox.measure import measure


@pytest.fixture(scope="session")
def whole_sandbox() -> None:
    if measure().open:
        pytest.skip("no whole sandbox on this machine")
