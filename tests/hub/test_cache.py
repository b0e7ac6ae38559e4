"""What is loaded by name where the hub does not answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from huggingface_hub import constants

from lightning_gft import PretrainedPolicy
from lightning_gft.hub import hub_or_cache
from tests.fake_hub import serve


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Put the hub where connections are taken and never answered."""
    monkeypatch.setattr("lightning_gft.hub.cache._TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield server


def test_hub_that_answers_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve({}) as address:
        for path in ("", "/nowhere/to/be/found"):  # an error is an answer too
            monkeypatch.setattr(constants, "ENDPOINT", address + path)
            with hub_or_cache() as offline:
                assert offline == ""
                assert not constants.is_offline_mode()


def test_hub_that_does_not_answer_is_left_out_for_a_while(silent: socket.socket) -> None:
    with pytest.warns(UserWarning, match="does not answer .within 0.2 s"), hub_or_cache() as offline:
        assert constants.is_offline_mode()
    assert "give a local path, set HF_ENDPOINT to a mirror" in offline
    assert not constants.is_offline_mode()
    silent.setblocking(False)
    silent.accept()[0].close()
    with pytest.raises(BlockingIOError):  # it was asked once, and not again and again
        silent.accept()


@pytest.mark.usefixtures("silent")
def test_model_by_name_is_told_at_once() -> None:
    loader = PretrainedPolicy("some/model")
    for load in (loader.load_config, loader.load_tokenizer):
        with pytest.raises(ValueError, match=r"path='some/model': .* in the cache, got neither .*HF_ENDPOINT"):
            load()


def test_name_that_the_hub_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve({}) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        with pytest.raises(ValueError, match=r"path='no/such-model': expected a model, got none .*config\.json"):
            PretrainedPolicy("no/such-model").load_config()
