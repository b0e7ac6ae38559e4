"""Groups on a terminal of 80 columns, whatever is in them."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from lightning_gft.callbacks.group_table.terminal import print_groups, render
from lightning_gft.samples import SampledGroup
from tests.samples.making import FIGURES, group, response


def printed(shown: SampledGroup, **options: Any) -> str:
    file = StringIO()
    Console(file=file, width=80, **options).print(render(shown))
    return file.getvalue()


def test_a_group_at_a_glance():
    text = printed(group(40))
    lines = [line.rstrip() for line in text.splitlines()]
    assert lines == [
        "Step 40, training, prompt 3: 2 of 8 responses",
        "1+1=",
        "source   response               reward       adv.   rectified",
        "─" * 61,
        "self     2€<eos>                1.5          0.25         50%",
        "                                accuracy 1",
        "                                format 0.5",
        "expert   2€ [cut at 4 tokens]   1.5          0.25           -",
        "                                accuracy 1",
        "                                format 0.5",
    ]


def test_a_prompt_of_a_validation():
    greedy = response(greedy=True, advantage=None, rewards={"accuracy": 1.0}, reward=1.0)
    text = printed(group(40, "val", dataset="hard", weights={"accuracy": 1.0}, responses=[greedy]))
    assert "Step 40, validation, prompt 3 of hard: 1 of 8 responses" in text
    assert "greedy" in text
    assert "accuracy" not in text  # it is all of the reward
    assert "adv." not in text
    assert "rectified" not in text


def test_tokens_that_were_rectified_are_in_colour():
    text = printed(group(), force_terminal=True, color_system="standard")
    assert re.sub(r"\x1b\[33m\x1b\[0m", "", text).count("2€\x1b[33m<eos>\x1b[0m") == 1


HOSTILE = {
    "markup of rich": ("[red]x[/red] [/] :smile: [link=http://x]y[/link]", "[red]x[/red] [/] :smile: [link=http://x]y"),
    "codes of a terminal": ("a\x1b[2J\x07\x9b31m\rb\x7f", r"a\x1b[2J\x07\x9b31m\rb\x7f"),
    "directions": ("a\u202eb\u2066c\u200fd\u061c", r"a\u202eb\u2066c\u200fd\u061c"),
    "invisible": ("a\u200b\u2028b\ufeff\U000e0041", r"a\u200b\u2028b\ufeff\U000e0041"),
    "a tab and a null": ("a\tb\0c", r"a\tb\x00c"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_seen_and_obeyed_by_nothing(name: str):
    text, seen = HOSTILE[name]
    figures = type(FIGURES)([text], [-1.0], [1.0], [1.0])
    responses = [response(completion=text), response(completion=text, completion_length=1, trained=figures)]
    for shown in (group(prompt=text, responses=responses), group(dataset=text, responses=responses)):
        out = printed(shown)
        assert "".join(seen.split()) in "".join(out.split())
        assert not [character for character in out if character != "\n" and not character.isprintable()]
        assert all(len(line) <= 80 for line in out.splitlines())


def test_a_reward_has_a_hostile_name():
    rewards = {"\x1b]0;title\x07[red]": 1.0, "b": 0.5}
    assert "\x1b" not in printed(group(weights=dict.fromkeys(rewards, 1.0), responses=[response(rewards=rewards)]))


def test_lines_stay_lines():
    text = printed(group(prompt="one\ntwo", responses=[response(completion="first\nsecond")]))
    lines = [line.strip() for line in text.splitlines()]
    assert lines[1:3] == ["one", "two"]
    assert any("first" in line and "second" not in line for line in lines)


def test_long_text_is_cut_and_its_length_said():
    figures = type(FIGURES)(["<pad>"] * 9000, *[[1.0] * 9000] * 3)
    for shown in (
        response(completion="ab" * 500_000),
        response(completion="x", completion_length=9000, trained=figures),
    ):
        out = printed(group(prompt="x" * 1000, responses=[shown]))
        assert len(out.splitlines()) < 40
        assert "[600 characters]" in out
    assert "999600 characters" in printed(group(responses=[response(completion="ab" * 500_000)])).replace("\n", "")


def test_wide_characters_fit():
    out = printed(group(responses=[response(completion="漢字" * 60)]))
    assert all(cell_len(line) <= 80 for line in out.splitlines())


def test_it_is_printed_to_standard_output(capsys: pytest.CaptureFixture[str]):
    print_groups([group(1), group(2)])
    assert capsys.readouterr().out.count("training") == 2
