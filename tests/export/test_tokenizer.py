"""The tokenizer of an exported folder, loaded as its card says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lightning_gft import ArithmeticPolicy, GFTLitModule, LoRA, Policy, PretrainedPolicy
from lightning_gft.export import export_policy
from tests.module.runs import make_module
from tests.tiny import tiny_loader

TEXT = "Natalia sold 48 clips, didn't she?"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a Qwen2 model with a tokenizer that splits texts otherwise than that architecture's does."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = {"eos_token": "<end>", "pad_token": "<pad>"}
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=list(special.values()), initial_alphabet=alphabet)
    core.train_from_iterator([TEXT, "48 apples and 480 pears", "1048 and 48"] * 8, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **special)
    path = tmp_path_factory.mktemp("base")
    Policy(tiny_loader(vocab_size=400).load_model(), tokenizer).save_pretrained(path)
    return str(path)


def loaded(policy: PretrainedPolicy) -> GFTLitModule:
    module = make_module(policy=policy)
    module.configure_model()
    return module


def ids_by_the_card(folder: Path) -> list[int]:
    card = (folder / "README.md").read_text()
    (name,) = set(re.findall(r"tokenizer = (\w+)\.", card))
    code = f"from transformers import {name}; print({name}.from_pretrained({str(folder)!r}).encode({TEXT!r}))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return [int(number) for number in shown.strip("[]\n").split(",")]


@pytest.mark.parametrize("merge", [None, True])
def test_the_cards_recipe_gives_the_policys_ids(merge: bool | None, base: str, tmp_path: Path):
    module = loaded(PretrainedPolicy(base, lora=LoRA(r=2) if merge else None))
    with pytest.warns(UserWarning, match=r"exported tokenizer as Qwen2Tokenizer.* by PreTrainedTokenizerFast"):
        export_policy(module, tmp_path / "policy", merge=bool(merge))
    assert ids_by_the_card(tmp_path / "policy") == module.tokenizer.encode(TEXT)


@pytest.mark.filterwarnings("error:AutoTokenizer loads")
def test_a_tokenizer_that_is_loaded_as_it_is_takes_the_usual_class(base: str, tmp_path: Path):
    export_policy(adapter := loaded(PretrainedPolicy(base, lora=LoRA(r=2))), tmp_path / "adapter")
    assert ids_by_the_card(tmp_path / "adapter") == adapter.tokenizer.encode(TEXT)
    export_policy(loaded(ArithmeticPolicy()), tmp_path / "policy")
    for name in ("adapter", "policy"):
        assert "tokenizer = AutoTokenizer." in (tmp_path / name / "README.md").read_text()


@pytest.mark.filterwarnings("error:AutoTokenizer loads")
def test_the_small_model_for_a_trial_has_a_tokenizer_that_loads_as_it_is(tmp_path: Path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs/models.md").read_text()
    (recipe,) = [code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "small-model" in code]
    monkeypatch.chdir(tmp_path)
    exec(recipe, {})  # noqa: S102 (the project's own page)
    policy = loaded(PretrainedPolicy("small-model"))
    assert AutoTokenizer.from_pretrained("small-model").encode(TEXT) == policy.tokenizer.encode(TEXT)
    export_policy(policy, tmp_path / "policy")
    assert "tokenizer = AutoTokenizer." in (tmp_path / "policy/README.md").read_text()
