"""What is loaded by name where the hub does not answer."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download

from lightning_gft import LoRA, PretrainedPolicy, ScratchPolicy
from lightning_gft.hub import hub_or_cache
from tests.fake_hub import serve


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Put the hub where connections are taken and never answered."""
    monkeypatch.setattr("lightning_gft.hub.cache._TIMEOUT", 0.2)
    monkeypatch.setattr("lightning_gft.hub.cache._silences", {})
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield server


def check_asked_once(server: socket.socket) -> None:
    server.setblocking(False)
    server.accept()[0].close()
    with pytest.raises(BlockingIOError):
        server.accept()


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
    check_asked_once(silent)


def test_a_hub_without_an_answer_is_asked_again_after_a_while(
    silent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.warns(UserWarning, match="does not answer"), hub_or_cache():
        pass
    with warnings.catch_warnings(action="error"), hub_or_cache() as offline:
        assert "does not answer" in offline
    check_asked_once(silent)
    monkeypatch.setattr("lightning_gft.hub.cache._REMEMBERED", 0.0)
    with pytest.warns(UserWarning, match="does not answer"), hub_or_cache():
        pass
    check_asked_once(silent)


def test_what_is_on_this_machine_needs_no_hub(silent: socket.socket, tmp_path: Path) -> None:
    with hub_or_cache(str(tmp_path)) as offline:
        assert offline == ""
    silent.setblocking(False)
    with pytest.raises(BlockingIOError):
        silent.accept()


def test_the_hub_is_asked_and_warned_of_once_for_all_parts_of_a_policy(
    silent: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapters = ScratchPolicy("ab", lora=LoRA(r=2)).load().adapters
    assert adapters is not None
    adapters.save_pretrained(tmp_path / "adapter")
    files = {path.name: path.read_bytes() for path in (tmp_path / "adapter").glob("adapter_*")}
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with monkeypatch.context() as patched, serve({"org/adapter": files}) as address:
        template = address + "/datasets/{repo_id}/resolve/{revision}/{filename}"
        patched.setattr(constants, "ENDPOINT", address)
        patched.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        for name in files:
            hf_hub_download("org/adapter", name)
    loader = ScratchPolicy("ab", lora=LoRA(r=2, adapter_path="org/adapter"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert loader.load().adapters is not None
    assert ["does not answer" in str(warning.message) for warning in caught].count(True) == 1
    check_asked_once(silent)


@pytest.mark.usefixtures("silent")
def test_model_by_name_is_told_at_once() -> None:
    loader = PretrainedPolicy("some/model")
    for load in (loader.load_config, loader.load_tokenizer):
        with pytest.raises(ValueError, match=r"_path` \('some/model'\): .* in the cache, got neither .*HF_ENDPOINT"):
            load()


def test_name_that_the_hub_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve({}) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        with pytest.raises(ValueError, match=r"_path` \('no/such-model'\): expected a model, got none .*config\.json"):
            PretrainedPolicy("no/such-model").load_config()
