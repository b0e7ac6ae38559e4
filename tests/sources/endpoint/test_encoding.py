"""A reply is encoded as the datamodule encodes the teacher's column."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from lightning_gft import GroupDataModule
from tests.chat import templates as known
from tests.chat.templates import chat_tokenizer
from tests.conftest import quick
from tests.sources.endpoint.cases import POLICY, source_of
from tests.sources.endpoint.servers import completion, says, serving


def data_of(tmp_path: Path, template: str, answers: list[str], **settings: Any) -> Any:
    """Return a datamodule whose only row has the answers as its teacher's."""
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"prompt": "hi", "answer": "5", "teacher": answers}]))
    data = GroupDataModule(str(file), teacher_column="teacher", batch_size=1, **settings)
    data.tokenizer = chat_tokenizer(template)
    data.setup("fit")
    return data


TEXTS = ["five", " five\n", "<think>\none\n</think>\n\nfive", "five<|im_end|>", "five <eos> ", "The answer: 5"]
TEMPLATES = [known.CHATML, known.QWEN3, known.GEMMA, known.LLAMA2, None]
PREFIXES = ["", "<think>\n", "The "]
QUICK = [
    *product([known.QWEN3], PREFIXES),
    *product([known.CHATML, known.LLAMA2], [""]),
    *product([known.GEMMA, None], ["The "]),
]


@pytest.mark.parametrize("case", quick(product(TEMPLATES, PREFIXES), *QUICK))
def test_a_reply_is_encoded_as_the_data_encode_it(case: tuple[str | None, str], tmp_path: Path):
    template, prefix = case
    settings: dict[str, Any] = {"response_prefix": prefix}
    if template is None:
        settings |= {"use_chat_template": False, "prompt_template": "Q: {prompt} A: "}
    data = data_of(tmp_path, template or known.CHATML, TEXTS, **settings)
    (prompts,) = data.train_dataloader()
    with serving(lambda handler, body, number: handler.send(completion(TEXTS[number - 1]))) as server:
        source = source_of(server, tmp_path / "cache", num_responses=len(TEXTS), concurrency=1)
        [given] = source.respond(prompts, POLICY, 0)
        source.close()
    assert [response.token_ids for response in given] == [
        response.token_ids for response in prompts.demonstrations["teacher"][0]
    ]
    assert len(given) == len(TEXTS)


def test_what_the_students_template_does_not_write_is_counted(tmp_path: Path):
    kept = {
        "five": 0,
        "<think>\none\n</think>\n\nfive": 1,  # the template drops it, so the text stands as it is
        "five<eos>": 0,
        "<|im_start|>five": 1,
    }
    dropped = {"five<eos>six": 1, " ": 0, "five" * 20: 0, "f\u00fcnf \u4e94": 1}
    answers = {**kept, **dropped}
    data = data_of(tmp_path, known.QWEN3, ["five"], max_response_length=40)
    (prompts,) = data.train_dataloader()
    for text, rendered in answers.items():
        with serving(says(text)) as server:
            source = source_of(server, tmp_path / f"cache{len(text)}{rendered}")
            if text in dropped:
                with pytest.warns(UserWarning, match="a teacher's reply (cannot be a demonstration|is blank)"):
                    [given] = source.respond(prompts, POLICY, 0)
            else:
                [given] = source.respond(prompts, POLICY, 0)
            source.close()
        figures = source.compute()
        assert (len(given), figures["dropped"]) == ((1, 0) if text in kept else (0, 1)), text
        assert figures["not_rerendered"] == rendered, text
