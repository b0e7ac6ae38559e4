"""Errors for misspelt folders of models and adapters, and when the hub is asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from lightning_gft import LoRA, PolicyLoader, PretrainedPolicy, ScratchPolicy
from lightning_gft.hub import may_be_folder, near
from lightning_gft.teachers import ModelTeacher
from tests.fake_hub import serve

MISSING = "expected a folder that exists, or a hub name; there is no such folder"
PLACES: dict[str, Callable[[str], PolicyLoader]] = {
    "model_name_or_path": PretrainedPolicy,
    "lora.adapter_path": lambda path: ScratchPolicy("ab", lora=LoRA(adapter_path=path)),
}


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("runs/model", "runs/first/policy", "many/a", "many/b", "many/c", "many/d", "many/e", "many/f", "no"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "runs/modle.txt").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("field", PLACES)
@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("./runs/modle", "; did you mean runs/model?"),
        ("rusn/first/policy", "; did you mean runs/first/policy?"),
        ("rusn/frist/policy", "; did you mean runs?"),
        ("./many/x", "; many has a, b, c, d, e, ..."),
        ("./no/x", ""),
        ("{home}/runs/modle", "; did you mean {home}/runs/model?"),
        ("~/runs/modle", "; did you mean {home}/runs/model?"),
    ],
)
def test_a_path_is_never_looked_up_on_the_hub(field, path, remedy, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "not asked")
    loader = PLACES[field](path.format(home=tmp_path))
    shown = path.format(home=tmp_path).replace("~", str(tmp_path))
    message = f"`{field}` ({shown!r}): {MISSING}{remedy.format(home=tmp_path)}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        loader.tokenizer  # noqa: B018 (told before weights are loaded)


@pytest.mark.parametrize("field", PLACES)
def test_a_name_within_a_folder_is_looked_up_but_reported_as_a_folder_first(field, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serve({}) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        with pytest.raises(
            ValueError, match=rf"^`{field}` \('runs/modle'\): {MISSING}, nor that name on the hub \(.*\)"
        ) as told:
            PLACES[field]("runs/modle").tokenizer  # noqa: B018
    assert str(told.value).endswith("); did you mean runs/model?")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=rf"^`{field}` \('runs/modle'\): {MISSING}, nor that .*HF_HUB_OFFLINE is set"):
        PLACES[field]("runs/modle").tokenizer  # noqa: B018


@pytest.mark.parametrize("field", PLACES)
def test_a_file_is_never_looked_up_on_the_hub(field, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "not asked")
    message = f"`{field}` ('runs/modle.txt'): expected a folder, got a file; give the folder that holds it"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        PLACES[field]("runs/modle.txt").tokenizer  # noqa: B018


@pytest.mark.parametrize("field", PLACES)
def test_a_name_that_is_too_long_is_reported_with_its_setting(field, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=rf"^`{field}` \('n{{100}} .* n{{100}}'\): expected "):
        PLACES[field]("n" * 300).tokenizer  # noqa: B018


def test_a_name_without_a_folder_is_the_hub_s_alone(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"^`lora.adapter_path` \('org/name'\): expected the folder of an adapter, or"):
        PLACES["lora.adapter_path"]("org/name").tokenizer  # noqa: B018
    with pytest.raises(ValueError, match=r"^`model_name_or_path` \('org/name'\): .* the cache, got neither for its "):
        PLACES["model_name_or_path"]("org/name").tokenizer  # noqa: B018
    assert not may_be_folder("org/name")
    assert not may_be_folder("model")


@pytest.mark.parametrize("field", PLACES)
def test_a_name_that_is_close_to_a_folder_s_is_reported_as_a_folder_first(field, monkeypatch):
    monkeypatch.chdir("runs")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=rf"^`{field}` \('modle'\): {MISSING}, nor that .*; did you mean model\?$"):
        PLACES[field]("modle").tokenizer  # noqa: B018


def test_a_teacher_s_folder_is_looked_at_in_the_same_way():
    with pytest.raises(ValueError, match=r"'\./runs/modle'\): .*; did you mean runs/model\?$"):
        ModelTeacher(PretrainedPolicy("./runs/modle")).check_tokenizer(ScratchPolicy("ab").tokenizer)


def test_files_are_named_where_a_file_may_be_meant():
    assert near("runs/modle.tx", files=True) == "; did you mean runs/modle.txt?"
    assert near("runs/" + "n" * 300) == "; runs has first, model"
