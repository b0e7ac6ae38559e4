"""Text of a run in a page: shown as it is, and without effect."""

from __future__ import annotations

import html
import json
import unicodedata

import pytest

from lightning_gft.report.text import escape, isolated, json_block, visible

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!-- --><![CDATA[",
    '"onmouseover="alert(1)',
    "'><img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "&lt;b&gt; &#x3C;",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_is_text(text):
    shown = escape(text)
    assert not set(shown) & set("<>\"'")
    assert html.unescape(shown) == text
    assert isolated(text) == f"<bdi>{shown}</bdi>"


@pytest.mark.parametrize("text", [*HOSTILE, "\u2028\u2029"])
def test_json_cannot_leave_its_script(text):
    block = json_block({"texts": [text], text: 1})
    assert "<" not in block
    assert block.isascii()
    assert json.loads(block) == {"texts": [visible(text)], visible(text): 1}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_number_that_is_none(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_block([value])


def test_every_character_without_a_shape_is_written_out():
    unseen = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    private = range(0xE001, 0xF8FF), range(0xF0001, 0xFFFFD), range(0x100001, 0x10FFFD)  # without their ends
    codes = (code for code in range(0x110000) if not any(code in of for of in private))
    characters = [chr(code) for code in codes if unicodedata.category(chr(code)) in unseen]
    shown = {character: visible(f"a{character}b")[1:-1] for character in characters}
    assert {character for character, text in shown.items() if character in text} == {"\n", "\t"}
    assert not any(unicodedata.category(letter) in unseen for text in shown.values() for letter in text if text > "\n")
    "".join(shown.values()).encode()  # a page is UTF-8


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("right\u202eleft\u2066", "right[U+202E]left[U+2066]"),
        ("4\u200d2", "4[U+200D]2"),  # a joiner that joins nothing
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("\u06cc\u200c\u062e", "\u06cc\u200c\u062e"),
        ("\ufeffa\u00ad\x00\x7f\r\n\t", "[U+FEFF]a[U+00AD][U+0000][U+007F][U+000D]\n\t"),
        ("\ud800", "[U+D800]"),
        (b"\xff\xc3\xa9", "[byte FF]é"),
        ("\u3164", "[U+3164]"),
        (3.5, "3.5"),
    ],
)
def test_what_is_shown(text, shown):
    assert visible(text) == shown


def test_long_text_is_cut_and_says_its_length():
    assert visible("x" * 1_000_000, 50) == "x" * 50 + "… (1,000,000 characters, 50 shown)"
    assert visible("x" * 50, 50) == "x" * 50
    assert len(escape("\u202e" * 1_000_000)) < 1_000_000
