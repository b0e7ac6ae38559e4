"""What is loaded by name where the hub does not answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from huggingface_hub import constants

from lightning_gft import PretrainedPolicy
from lightning_gft.hub import hub_or_cache
from tests.fake_hub import serve


@pytest.fixture
def _silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the hub where connections are taken and never answered."""
    monkeypatch.setattr("lightning_gft.hub._TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield


def test_hub_that_answers_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve({}) as address:
        for path in ("", "/nowhere/to/be/found"):  # an error is an answer too
            monkeypatch.setattr(constants, "ENDPOINT", address + path)
            with hub_or_cache() as offline:
                assert offline == ""
                assert not constants.is_offline_mode()


@pytest.mark.usefixtures("_silent")
def test_hub_that_does_not_answer_is_left_out_for_a_while() -> None:
    start = time.monotonic()
    with pytest.warns(UserWarning, match="does not answer .within 0.2 s"), hub_or_cache() as offline:
        assert constants.is_offline_mode()
    assert "give a local path, set HF_ENDPOINT to a mirror" in offline
    assert not constants.is_offline_mode()
    assert time.monotonic() - start < 10


@pytest.mark.usefixtures("_silent")
def test_model_by_name_is_told_at_once() -> None:
    loader = PretrainedPolicy("some/model")
    for load in (loader.load_config, loader.load_tokenizer):
        with (
            pytest.warns(UserWarning, match="does not answer"),
            pytest.raises(ValueError, match=r"model_name_or_path='some/model': its .* nor in the cache, .*HF_ENDPOINT"),
        ):
            load()
