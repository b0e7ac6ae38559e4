"""The model card shows how to prompt the policy, and its code does so."""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_gft import Evaluation, GFTLitModule, LoRA, PretrainedPolicy, ScratchPolicy
from lightning_gft.data import Columns, ExampleEncoder, LengthLimits, PromptEncoder
from lightning_gft.export import export_policy, model_card
from tests.module.runs import ROWS, Rows, fit, make_module

CHAT = (
    "{% for m in messages %}{{ '(' + m.role + ')' + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}(assistant{{ ' thinks' if thinks }}){% endif %}"
)
WRITTEN: dict[str, dict[str, Any]] = {
    "template": {"prompt_template": "Question: {prompt}\nAnswer:\n", "use_chat_template": False},
    "backticks": {"prompt_template": "```\n{prompt}\n```", "use_chat_template": False, "response_prefix": "<think>\n"},
    "chat": {
        "use_chat_template": True,
        "system_prompt": "Say 'no' | \"yes\".",
        "chat_template_kwargs": {"thinks": True},
        "response_prefix": "<think>\n",
    },
}
QUESTION = "What is 2 + 3?"


class Written(Rows):
    """Rows whose prompts are written with given settings."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(ROWS, ROWS)
        self.settings = settings

    def make_encoder(self, tokenizer: Any) -> ExampleEncoder:
        columns = Columns(expert_column="expert", teacher_column="teacher")
        return ExampleEncoder(PromptEncoder(tokenizer, **self.settings), columns, LengthLimits())


def trained(data: Rows, policy: Any = None, **arguments: Any) -> GFTLitModule:
    small = {"hidden_size": 32, "num_hidden_layers": 1}
    policy = policy or ScratchPolicy(string.printable, config=small)
    policy.tokenizer.chat_template = CHAT
    module = make_module(policy=policy, evaluation=Evaluation(num_samples=1, max_new_tokens=3, kl=False))
    fit(module, data, **arguments)
    return module


def blocks(card: str, language: str) -> list[str]:
    found = re.findall(rf"^(`{{3,}}){language}\n(.*?)\n\1$", card, re.DOTALL | re.MULTILINE)
    return [text for _, text in found]


def run_code(card: str, folder: Path) -> dict[str, Any]:
    """Run all code of a card in order, and return its variables."""
    names: dict[str, Any] = {}
    for code in blocks(card, "python"):
        code = code.replace("path/of/this/folder", str(folder)).replace("path/of/base", str(folder.parent / "base"))
        exec(code, names)  # noqa: S102 (the card's own code)
    return names


@pytest.mark.parametrize("kind", WRITTEN)
def test_prompts_are_shown_and_written_as_in_training(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    settings = WRITTEN[kind]
    module = trained(data := Written(**settings))
    export_policy(module, tmp_path / "policy")
    card = (tmp_path / "policy/README.md").read_text()
    assert [yaml.safe_load(text) for text in blocks(card, "yaml")] == [settings]
    (prompt,) = data.make_encoder(module.tokenizer).prompts.encode_prompts([QUESTION])
    assert blocks(card, "text") == [prompt.text]
    names = run_code(card, tmp_path / "policy")
    assert names["text"] == prompt.text
    assert names["ids"].tolist() == [prompt.token_ids]
    assert len(names["answer"]) <= 3
    assert names["tokenizer"].decode(names["answer"], skip_special_tokens=True) in capsys.readouterr().out
    assert not [row["prompt"] for row in ROWS if f"{row['prompt']}\n" in card]  # no row of the data


def test_the_settings_are_those_of_the_checkpoint(tmp_path: Path):
    module = trained(Written(**WRITTEN["template"]))
    module.trainer.save_checkpoint(tmp_path / "kept.ckpt")
    loaded = make_module(policy=module.policy_loader)
    loaded.run.load_weights(tmp_path / "kept.ckpt")
    card = model_card(loaded, data=Written(**WRITTEN["chat"]))
    assert [yaml.safe_load(text) for text in blocks(card, "yaml")] == [WRITTEN["template"]]


def test_code_of_an_adapter_runs(tmp_path: Path):
    base = trained(Written(**WRITTEN["template"]))
    export_policy(base, tmp_path / "base")
    data = Written(**WRITTEN["template"])
    module = trained(data, PretrainedPolicy(str(tmp_path / "base"), lora=LoRA(r=2)))
    export_policy(module, tmp_path / "adapter")
    card = (tmp_path / "adapter/README.md").read_text()
    assert run_code(card, tmp_path / "adapter")["text"] == f"Question: {QUESTION}\nAnswer:\n"
    assert str(tmp_path) not in card


def test_a_template_that_writes_no_question_has_no_example():
    module = trained(Written(**WRITTEN["chat"]))
    module.tokenizer.chat_template = CHAT.replace("{% if add", "{{ raise_exception('no') }}{% if add")
    settings = module.run.prompt_settings()
    del settings["system_prompt"]
    module.trainer.datamodule.prompt_settings = settings
    card = model_card(module)
    assert "does not write a single question" in card
    assert blocks(card, "text") == []


def test_the_steps_of_figures_and_weights_are_told_apart():
    data = Written(**WRITTEN["template"])
    assert "From the validation after step 1. The weights are those of the same step." in model_card(trained(data))
    module = trained(data, max_epochs=3, check_val_every_n_epoch=2)
    assert "From the validation after step 2. The weights are those of step 3." in model_card(module)
    module.trainer.datamodule.load_rows = lambda split: {"": ROWS}
    module.trainer.test(module, datamodule=module.trainer.datamodule, verbose=False)
    assert "From the test after step 3. The weights are those of the same step." in model_card(module)
