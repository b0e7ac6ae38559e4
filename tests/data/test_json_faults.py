"""A fault between the rows of a JSON Lines file is shown where it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lightning_gft.data import load_rows


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            f'{{"prompt": "{"1" * 200}", "end": 2}},\n' * 2,
            r"line 1 of rows\.jsonl: .*got …'1+\", \"end\": 2},' \(',' after the end of a row\); correct or remove",
        ),
        (
            '{"prompt": 1}\n\0\0\0\n{"prompt": 2}\n',
            r"line 2 of rows\.jsonl: .*, got '\\x00\\x00\\x00' \(NUL characters",
        ),
        (
            '{"prompt": 1}\n{"prompt": 2}}\n',
            r"line 2 of rows\.jsonl: .*2}}' \('}' after the end of a row",
        ),
        ('{"prompt": 1}\nplain\n', r"line 2 of rows\.jsonl: .*got 'plain' \(Expecting value"),
    ],
)
def test_a_fault_between_rows_is_shown_with_its_line(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(ValueError, match="`path`") as caught:
        load_rows(tmp_path / "rows.jsonl")
    assert re.search(words, str(caught.value)), str(caught.value)
