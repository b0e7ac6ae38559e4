"""What a page shows of a configuration and of a run's record."""

from __future__ import annotations

import datetime
import inspect
import typing
from pathlib import Path

import pytest
import yaml

import lightning_gft
from lightning_gft.report.redaction import HIDDEN, described, redacted

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))
NAMES = """
    api_key OPENAI_API_KEY hf_token token passwd client_secret aws_secret_access_key pwd pass apiKey accessToken bearer
    session_id cookie private_key_path tokens api_keys passwords secret_key key ssh_key password_hash users owner author
    login node server hostnames url base_url host entity wandb_user headers env name value project default_root_dir
    dirpath filename chat_template cache ref group notes anything
""".split()  # noqa: SIM905 (a list of this length is read best as a text)
"""Settings whose texts are a person's, a machine's, a key, or not known."""
TEXTS = [
    "plain",
    "/home/joe/run",
    "node7.cluster.example.com",
    "git@github.com:joe/repo.git",
    "f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_of_settings_that_are_not_known_are_never_shown(text):
    for name in NAMES:
        assert redacted({name: text, "in": {name: [text, {"x": text}]}}) == {
            name: HIDDEN,
            "in": {name: [HIDDEN, {"x": HIDDEN}]},
        }


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/home/joe/projects/data.jsonl", "data.jsonl"),
        ("runs/base/policy", "policy"),
        ("openai/gsm8k", "openai/gsm8k"),
        ("gsm8k", "gsm8k"),
        ("Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("~/joe/y", "y"),
        (r"C:\Users\joe\x", "x"),
        ("C:/Users/joe/x", "x"),
        *[(path, HIDDEN) for path in ("/home/joe", "/home/joe/", "~joe", "/joe", "../joe", "home/joe", "/scratch/joe")],
        *[(path, HIDDEN) for path in ("C:/Users/joe", "s3://bucket/joe/run", "file:/home/joe", "x /joe y", "joe@box")],
        *[(path, HIDDEN) for path in ("hf_abcdefghijklmnopqrstuvwxyz", "/home/joe/m/hf_abcdefghijklmnopqrstuvwxyz")],
    ],
)
def test_of_models_and_data_the_last_part_or_the_name_at_a_hub_is_shown(given, shown):
    for name in ("path", "model_name_or_path", "val_path", "model"):
        assert redacted({name: given}) == {name: shown}


@pytest.mark.parametrize(
    "setting",
    [
        {"max_new_tokens": 48, "lr": 1e-5, "shuffle": True, "token": None, "betas": [0.9, 0.999], "stop_strings": ""},
        {"class_path": "lightning_gft.DynamicCoefficientRectifierWithAVeryLongName"},
        {"revision": "0123456789abcdef0123456789abcdef01234567", "name": "cosine", "max_time": "00:12:00:00"},
        {"template": "<think>{prompt}</think>\n/no_think a/b and 1/2", "marker": "####", "separator": "/"},
        {"precision": "bf16-true", "strategy": "ddp_find_unused_parameters_true", "devices": "0,1"},
        {"prompt_column": "question", "tokenizer": "own", "monitor": "val/pass@8", "gates": {"accuracy": ["format"]}},
        {"target_modules": ["q_proj", "v_proj"], "attn_implementation": "sdpa"},
    ],
)
def test_what_describes_a_run_stays(setting):
    assert redacted(setting) == setting


@pytest.mark.parametrize(
    "setting",
    [
        {"class_path": "/home/joe/code.Reward"},
        {"precision": "/home/joe"},
        {"monitor": "/home/joe/x"},
        {"marker": "Write to joe@example.com"},
        {"system_prompt": "Read /home/joe/notes/x.txt"},
        {"source": "hf_abcdefghijklmnopqrstuvwxyz"},
        {"revision": "of-joe"},
        {"password": 123456},
        {"when": datetime.date(2026, 1, 1)},
        {"bytes": b"secret"},
    ],
)
def test_a_known_setting_with_something_else_in_it_is_not_shown(setting):
    assert redacted(setting) == dict.fromkeys(setting, HIDDEN)


def test_keys_that_are_no_names_are_numbered():
    given = {"reward": 1, "/home/joe/key": 1, "joe@box": 2, "hf_abcdefghijklmnopqrstuvwxyz": 3, 4: 4}
    assert redacted(given) == {"reward": 1, "(name 2)": 1, "(name 3)": 2, "(name 4)": 3, "4": 4}


def test_what_holds_itself_ends():
    given: dict[str, object] = {}
    given["x"] = given
    assert HIDDEN in str(redacted(given))


def choices(of: object) -> set[str]:
    """Return the texts that a type allows."""
    arguments = typing.get_args(of)
    if typing.get_origin(of) is typing.Literal:
        return {choice for choice in arguments if isinstance(choice, str)}
    return set().union(*map(choices, arguments))


def test_every_choice_of_this_package_is_shown():
    classes = [getattr(lightning_gft, name) for name in lightning_gft.__all__]
    hidden, asked = set(), 0
    for part in filter(inspect.isclass, classes):
        for name, of in typing.get_type_hints(part.__init__).items():
            for choice in choices(of):
                asked += 1
                hidden |= {(name, choice)} if redacted({name: choice}) != {name: choice} else set()
    assert not hidden
    assert asked > 30


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_of_the_configurations_beside_the_package_little_is_hidden(path):
    kept = set(leaves(yaml.safe_load(path.read_text())))
    shown = set(leaves(redacted(yaml.safe_load(path.read_text()))))
    assert {name for name, value in kept - shown if not value.startswith("runs/")} <= {
        "path",
        "default_root_dir",
        "base_url",
        "cache",
        "api_key_env",
        "name",
        *("command", "folder", "CUDA_VISIBLE_DEVICES"),  # of a server: paths, and an environment that may hold keys
    }


def leaves(value: object, name: str = "") -> typing.Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, of in value.items():
            yield from leaves(of, str(key))
    elif isinstance(value, list):
        for of in value:
            yield from leaves(of, name)
    else:
        yield name, str(value)


def test_of_a_description_what_its_fields_hold_is_shown():
    description = {
        "version": 1,
        "started": "2026-11-29T12:05:39+00:00",
        "versions": {"torch": "2.13.0+cpu", "lightning_gft": "0.1.0.dev3+g1a2b3c4", "python": "3.11.7"},
        "device": {"kind": "cuda", "name": "NVIDIA A100-SXM4-80GB MIG 1g.10gb", "count": 8},
        "world_size": 8,
        "precision": "bf16-true",
        "model": "PretrainedPolicy",
        "data": {"train": 512, "val": {"": 128}},
        "starts": [{"started": "2026-11-29T12:05:39+00:00", "step": 0}],
    }
    assert described(description) == description | {"starts": [{"started": HIDDEN, "step": 0}]}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"model": "/home/joe/model", "hostname": "node7", "precision": "/x/y", "started": "by joe"}, {}),
        ({"data": {"val": {"/home/joe": 1, "x": "/joe"}}}, {"data": {"val": {"(name 1)": 1, "x": HIDDEN}}}),
        ({"device": {"name": "/home/joe gpu", "kind": "joe@box"}}, {"device": {"name": HIDDEN, "kind": HIDDEN}}),
        ({"device": {"name": "node7.example.com", "count": 2}}, {"device": {"name": HIDDEN, "count": 2}}),
        (
            {"versions": {"git": "file:///home/joe/x", "/home/joe": "1.0", "torch": "2.1"}},
            {"versions": {"torch": "2.1"}},
        ),
    ],
)
def test_of_a_description_nothing_else_is_shown(given, shown):
    assert described(given) == shown
