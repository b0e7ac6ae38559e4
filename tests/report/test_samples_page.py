"""Kept groups in a real browser: what is seen, what can be done with mouse and keyboard, and what text cannot do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from lightning_gft.report.page import build_page
from tests.report.contrast import low_contrasts
from tests.report.written import group, many, response, run, trained

Visit = Callable[..., Page]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
HOSTILE = (
    "</script><script>window.hacked = 1</script><!--<script>"
    "<img src=http://127.0.0.1:9/x onerror='window.hacked = 1'><svg onload=window.hacked=1>"
    "<style>*{display:none}</style>{{7*7}} ${window.hacked=1} ]]> &lt;b&gt; javascript:window.hacked=1 "
    "\u202eright to left \x00\x1b[2J\r\ufeff"
)
SHOWN = (
    HOSTILE.replace("\u202e", "[U+202E]")
    .replace("\x00", "[U+0000]")
    .replace("\x1b", "[U+001B]")
    .replace("\r", "[U+000D]")
    .replace("\ufeff", "[U+FEFF]")
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a page of two runs: 30 groups that both kept, and a few of the second run alone."""
    folder = tmp_path_factory.mktemp("runs")
    own = [
        group(
            trained([" 4", "2", "\n", HOSTILE], [0.9, 0.25, 0.005, 0.5], advantage=-0.5, source="self", reward=0.0),
            trained(["one", " two"], [0.8, 0.9], advantage=3.0, source="teacher", reward=2.0),
            response(HOSTILE, source="expert", reward=1.0),
            step=1000,
            prompt=HOSTILE,
        ),
        group(response("A" * 1_000_000), step=1000, group=1),
        group(
            response("six", greedy=True, advantage=None, reward=0.25),
            step=1000,
            kind="val",
            dataset=HOSTILE,
            group=2,
            size=1,
        ),
    ]
    runs = [
        run("sft", folder / "sft", many(30, tokens=12)),
        run("<b>gft</b>", folder / "gft", [*many(30, tokens=12, seed=1), *own]),
    ]
    page = folder / "report.html"
    page.write_text(build_page(runs), encoding="utf-8")
    return page


def shown(page: Page) -> Locator:
    return page.locator(".group:visible")


def choose(page: Page, name: str, value: str) -> None:
    page.select_option(f"select[name={name}]", value)


def open_last(page: Page) -> Locator:
    """Open the group with the hostile texts, which is of the last step."""
    choose(page, "order", "-step")
    found = shown(page).filter(has=page.get_by_role("heading", name="step 1000 · training · group 0"))
    found.locator("summary").click()
    return found


def figures(page: Page) -> dict[str, str]:
    panel = page.get_by_role("tooltip")
    expect(panel).to_be_visible()
    return dict(zip(panel.locator("dt").all_inner_texts(), panel.locator("dd").all_inner_texts(), strict=True))


def test_hostile_text_is_shown_and_does_nothing(visit, path):
    page = visit(path)
    opened = open_last(page)
    assert opened.locator(".prompt").text_content() == SHOWN
    assert opened.locator("[data-source=expert] .text").text_content() == SHOWN
    token = opened.locator("[data-source=self] .t").last.text_content()
    assert token.startswith(HOSTILE[:190])
    assert token.endswith(f"… ({len(HOSTILE)} characters, 200 shown)")
    assert opened.locator("h4").inner_text() == "<b>gft</b>"
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main svg, main style, bdi b").count() == 0


def test_a_text_of_a_megabyte_is_cut_and_says_so(visit, path):
    assert path.stat().st_size < 1_000_000
    page = visit(path)
    choose(page, "order", "-step")
    text = page.locator(".response .text", has_text="AAAA").text_content()
    assert text.endswith("A… (1,000,000 characters, 20,000 shown)")


def test_pointing_at_a_token_shows_its_figures(visit, path):
    page = visit(path)
    tokens = open_last(page).locator("[data-source=self] .t")
    assert tokens.all_text_contents()[:3] == [" 4", "2", "\n"]
    tokens.nth(1).hover()
    assert figures(page) == {
        "token": "2",
        "probability p": "0.25",
        "weight before, 1/p": "4",
        "weight after": "1",
        "factor, rectified": "0.25",
        "coefficient": "-0.125",
        "entropy (nats)": "0.25",
    }
    page.mouse.move(0, 0)
    expect(page.get_by_role("tooltip")).to_be_hidden()


def test_tokens_are_reached_by_keyboard_and_tell_their_figures(visit, path):
    page = visit(path)
    opened = open_last(page)
    tokens = opened.locator("[data-source=self] .t")
    opened.locator("summary").focus()
    page.keyboard.press("Tab")
    expect(tokens.nth(0)).to_be_focused()
    assert figures(page)["weight after"] == "1.11"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert figures(page) | {"token": "↵", "weight before, 1/p": "200", "factor, rectified": "0.005"} == figures(page)
    described = tokens.nth(2).get_attribute("aria-describedby")
    assert page.locator(f"#{described}").is_visible()
    page.keyboard.press("Home")
    expect(tokens.nth(0)).to_be_focused()
    page.keyboard.press("End")
    expect(tokens.last).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("tooltip")).to_be_hidden()
    page.keyboard.press("Tab")  # one stop a response
    expect(opened.locator("[data-source=teacher] .t").first).to_be_focused()


def test_what_was_rectified_is_underlined_and_the_colours_are_those_of_the_legend(visit, path):
    page = visit(path)
    tokens = open_last(page).locator("[data-source=self] .t")

    def style(of: Locator, name: str) -> str:
        return of.evaluate(f"element => getComputedStyle(element).{name}")

    lines = [style(tokens.nth(place), "textDecorationLine") for place in range(3)]
    assert lines == ["none", "underline", "underline"]
    keys = page.locator(".by-coefficient .t")
    by_coefficient = [style(tokens.nth(place), "backgroundColor") for place in range(3)]
    assert by_coefficient == [style(keys.nth(place), "backgroundColor") for place in (2, 3, 4)]  # -0.5, -0.125, -0.0025
    page.get_by_label("probability", exact=True).check()
    keys = page.locator(".by-probability .t")
    by_probability = [style(tokens.nth(place), "backgroundColor") for place in range(3)]
    assert by_probability == [style(keys.nth(place), "backgroundColor") for place in (0, 2, 4)]
    assert keys.all_inner_texts() == ["≥ 0.9", "0.5 to 0.9", "0.1 to 0.5", "0.01 to 0.1", "< 0.01"]
    assert len({*by_coefficient, *by_probability}) == 5


def test_runs_stand_side_by_side(visit, path):
    page = visit(path)
    first = shown(page).first
    first.locator("summary").click()
    assert first.locator("h4").all_inner_texts() == ["sft", "<b>gft</b>"]
    assert first.locator("h3").inner_text() == "step 0 · training · group 0"
    boxes = [column.bounding_box() for column in first.locator(".of-run").all()]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]


def test_filters(visit, path):
    page = visit(path)
    status = page.get_by_role("status")
    expect(status).to_have_text("20 of 33 matching groups shown")
    page.get_by_role("button", name="Show more groups").click()
    expect(shown(page)).to_have_count(33)
    expect(shown(page).nth(20).locator("summary")).to_be_focused()
    choose(page, "run", "0")
    expect(status).to_have_text("20 of 30 matching groups shown")
    shown(page).first.locator("summary").click()
    assert shown(page).first.locator("h4:visible").all_inner_texts() == ["sft"]
    choose(page, "run", "")
    choose(page, "source", "teacher")
    expect(shown(page)).to_have_count(1)
    assert shown(page).locator("h3").inner_text() == "step 1000 · training · group 0 · <b>gft</b>"
    choose(page, "source", "")
    choose(page, "kind", "val")
    expect(shown(page)).to_have_count(1)
    assert "greedy" in str(shown(page).locator(".facts").text_content())
    choose(page, "kind", "")
    page.get_by_label("only with rectified tokens").check()
    expect(status).to_have_text("20 of 31 matching groups shown")


def test_order(visit, path):
    page = visit(path)
    for order, first in {
        "-step": "step 1000 · training · group 0",
        "step": "step 0 · training · group 0",
        "reward": "step 1000 · validation",
        "-reward": "step 1000 · training",
        "-spread": "step 1000 · training · group 0",
    }.items():
        choose(page, "order", order)
        assert shown(page).first.locator("h3").inner_text().startswith(first), order


def test_without_scripts_all_texts_are_there(visit, path):
    page = visit(path, java_script_enabled=False)
    expect(shown(page)).to_have_count(33)
    expect(page.locator(".controls, .legend, .more").first).to_be_hidden()
    last = shown(page).filter(has_text="step 1000 · training · group 0")
    last.locator("summary").click()
    expect(last.locator("[data-source=teacher] .text")).to_have_text("one two")
    expect(last.locator("[data-source=teacher] .facts")).to_contain_text("advantage +3.00")


def test_phone(visit, path):
    page = visit(path, **PHONE)
    opened = open_last(page)
    token = opened.locator("[data-source=self] .t").nth(1)
    token.tap()
    assert figures(page)["probability p"] == "0.25"
    box = page.get_by_role("tooltip").bounding_box()
    assert 0 <= box["x"] <= box["x"] + box["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_print_holds_the_groups_that_are_shown(visit, path):
    page = visit(path)
    choose(page, "source", "teacher")
    closed = shown(page).first
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<details id=other><p>closed</p></details>')")
    expect(closed.locator(".prompt")).to_be_hidden()
    page.emulate_media(media="print")
    expect(closed.locator(".prompt")).to_be_visible()
    expect(closed.locator("[data-source=teacher] .text")).to_be_visible()
    expect(page.locator(".controls")).to_be_hidden()
    expect(page.locator("#other p")).to_be_hidden()
    pages = page.pdf(format="A4").count(b"/Type /Page\n")
    page.emulate_media(media="screen")
    choose(page, "source", "")
    assert page.pdf(format="A4").count(b"/Type /Page\n") > pages >= 1
    assert page.locator(".group:visible .tokens:not([data-drawn])").count() == 0  # their colours are printed too


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(visit, path, scheme):
    page = visit(path, color_scheme=scheme)
    open_last(page)
    page.locator("[data-source=self] .t").first.hover()
    for colour in ("coefficient", "probability"):
        page.get_by_label(colour, exact=True).check()
        assert low_contrasts(page) == []


def test_keyboard_reaches_everything_and_shows_where_it_is(visit, path):
    page = visit(path)
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    assert skip.get_attribute("href") == "#main"
    assert skip.bounding_box()["x"] >= 0
    names = list[str]()
    for _ in range(20):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        assert focused.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
        names.append(focused.evaluate("element => element.name || element.tagName"))
    assert [name for name in names if name != "A"] == [
        *("run", "kind", "source", "order", "rectified", "colour"),
        *["SUMMARY"] * names.count("SUMMARY"),
    ]
    page.keyboard.press("Enter")
    assert names.count("SUMMARY") >= 3
    assert page.locator(":focus").evaluate("element => element.parentElement.open")


@pytest.mark.slow
def test_five_hundred_groups_are_below_five_megabytes_and_open_at_once(visit, tmp_path):
    groups = many(500, tokens=200, a_step=100)
    path = tmp_path / "report.html"
    path.write_text(build_page([run("gft", tmp_path, groups)]), encoding="utf-8")
    assert path.stat().st_size < 5_000_000
    page = visit(path)
    assert page.locator(".t").count() == len(
        page.locator(".legend .t").all()
    )  # none of the groups' until one is opened
    shown(page).first.locator("summary").click()
    expect(shown(page).first.locator(".tokens .t")).to_have_count(400)
