"""What the documentation shows holds: Python runs, configurations and commands parse, examples train, links resolve.

A block whose first line is a comment with a file's name (``# my_reward.py``), or whose fence has a ``title``, is that
file.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_gft import GFTLitModule, __version__
from lightning_gft.cli import main
from lightning_gft.report.command import describe
from lightning_gft.training import plan_step
from tests.cli.command import GFT, ROOT, SMALL, column, logged, printed_config

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md"])
ARCHITECTURE = ROOT / "docs/architecture.md"
EXTENDING = ROOT / "docs/extending.md"

FENCE = re.compile(r'^```(\w*)(?: title="([\w.-]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# ([\w-]+\.\w+)$")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
LANGUAGES = {"", "bash", "python", "yaml", "json", "csv", "text"}
PROGRAMS = {
    "curl",
    "echo",
    "export",
    "for",
    "git",
    "hf",
    "lm_eval",
    "ollama",
    "pip",
    "python",
    "torchrun",
    "uv",
    "vllm",
}
"""Programs of others that pages call; no test runs them."""
COMMAND = re.compile(r"(?:\w+=\S+ )*(?:\S+/)?lightning-gft (?=fit|validate|test|predict|export|inspect|rescore)")
OWN_PATH = re.compile(r"`((?:lightning_gft|configs|tests|docs|notebooks|benchmarks)/[\w./-]*)`")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str
    text: str

    @property
    def file(self) -> str | None:
        """Name of the file that the block is, if it says so."""
        match = FILE_NAME.match(self.text.splitlines()[0])
        return self.title or (match and match[1])


def blocks(page: Path, language: str) -> list[Block]:
    return [block for block in all_blocks(page) if block.language == language]


def all_blocks(page: Path) -> list[Block]:
    return [Block(*match.groups(default="")) for match in FENCE.finditer(page.read_text())]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


EXTENDING = next(page for page in PAGES if any(block.file == "my_reward.yaml" for block in blocks(page, "yaml")))
"""The page that shows a part of one's own for each kind, and how it is configured."""
EXAMPLES = [block.file for block in blocks(EXTENDING, "yaml") if block.file is not None]


def is_whole(config: dict[str, Any]) -> bool:
    return "data" in config and {"policy", "sampler", "loss"} <= config.get("model", {}).keys()


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the arguments of every call of the command line that takes a configuration."""
    for block in blocks(page, "bash"):
        for line in block.text.replace("\\\n", " ").splitlines():
            if match := COMMAND.match(line):
                yield shlex.split(line[match.end() :], comments=True)


def shell_commands(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command of a block of bash; a script is a block of another kind."""
    given = ""
    for line in [] if block.text.startswith("#!") else block.text.replace("\\\n", " ").splitlines():
        given += line
        with contextlib.suppress(ValueError):  # a quotation that the next line closes
            yield from filter(None, [shlex.split(given, comments=True)])
            given = ""
    assert not given


def known(command: list[str]) -> bool:
    """Return whether a command calls this project, which is checked, or a program of others."""
    words = [word for word in command if not re.match(r"[A-Z_]+=", word)]
    if words[0] == "make":
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        return {word for word in words[1:] if "=" not in word} <= targets
    if "-m" in words and Path(words[0]).name in ("python", "torchrun"):
        return find_spec(words[words.index("-m") + 1]) is not None
    return Path(words[0]).name in {"lightning-gft", *PROGRAMS}


def with_blocks(*languages: str) -> list[Any]:
    return [pytest.param(page, id=name_of(page)) for page in PAGES if any(blocks(page, name) for name in languages)]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a user's own, with the configurations beside it, in which what is written leaves no trace."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write_files(page: Path, folder: Path) -> None:
    for block in all_blocks(page):
        if block.file is not None:
            (folder / block.file).write_text(block.text)


@pytest.mark.parametrize("page", with_blocks("python"))
def test_python_runs(page, workplace):
    write_files(page, workplace)
    namespace: dict[str, Any] = {}
    for number, block in enumerate(blocks(page, "python"), start=1):
        if block.file is None:
            exec(compile(block.text, f"{page.name}, Python block {number}", "exec"), namespace)  # noqa: S102
        else:
            namespace |= vars(importlib.import_module(Path(block.file).stem))


@pytest.mark.parametrize("page", with_blocks("yaml"))
def test_configurations_parse(page, workplace, capsys):
    write_files(page, workplace)
    for number, block in enumerate(blocks(page, "yaml")):
        path = workplace / (block.file or f"block_{number}.yaml")
        path.write_text(block.text)
        base = () if is_whole(yaml.safe_load(block.text)) else ("--config", GFT)
        assert is_whole(printed_config(capsys, *base, "--config", str(path)))


@pytest.mark.parametrize("page", with_blocks("bash"))
def test_commands_parse(page, workplace, capsys):
    write_files(page, workplace)
    for subcommand, *args in commands(page):
        assert is_whole(printed_config(capsys, *args, subcommand=subcommand))


def test_reports_parse():
    parser = argparse.ArgumentParser(exit_on_error=False)
    describe(parser)
    found = [words for page in PAGES for block in blocks(page, "bash") for words in shell_commands(block)]
    reports = [words[2:] for words in found if Path(words[0]).name == "lightning-gft" and words[1] == "report"]
    assert len(reports) >= 3
    assert all(parser.parse_args(words).runs for words in reports)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_of_a_kind_that_is_checked(page):
    for block in all_blocks(page):
        assert block.language in LANGUAGES, f"{page.name}: {block.text}"
        if block.language == "json" and not block.file:
            json.loads(block.text)
    for block in blocks(page, "bash"):
        for command in shell_commands(block):
            assert known(command), f"{page.name}: {command}"


@pytest.mark.slow  # one by one, where `test_examples_train_together` trains them in one run
@pytest.mark.parametrize("file", [block.file for block in blocks(EXTENDING, "yaml")])
def test_example_trains(file, workplace):
    write_files(EXTENDING, workplace)
    main(["fit", "--config", GFT, "--config", file, f"--trainer.default_root_dir={workplace / 'run'}", *SMALL])
    rows = logged(workplace / "run")
    assert len(column(rows, "train/loss")) == 2
    assert all(norm > 0 for norm in column(rows, "train/grad_norm"))


def test_examples_train_together(workplace):
    write_files(EXTENDING, workplace)
    files = [f"--config={block.file}" for block in blocks(EXTENDING, "yaml")]
    main(["fit", f"--config={GFT}", *files, f"--trainer.default_root_dir={workplace / 'run'}", *SMALL])
    rows = logged(workplace / "run")
    assert column(rows, "train/rewards/steps/mean") > [0.0, 0.0]
    assert column(rows, "train/reward_by_source/expert") == [
        1.5,
        1.5,
    ]  # both rewards, the second of weight 0.5
    assert all(norm > 0 for norm in column(rows, "train/grad_norm"))


def test_the_columns_that_configurations_need_are_those_of_their_sources():
    rows = re.findall(r"^\| (`configs/.*?) \| (.*?) \| (.*?) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    found = [(name, *cells) for names, *cells in rows for name in re.findall(r"`(.+?)`", names)]
    assert len(found) == 4
    for name, sources, columns in found:
        entries = list(yaml.safe_load((ROOT / name).read_text())["model"]["sampler"]["sources"])
        assert re.findall(r"`(.+?)`", sources) == entries, name
        assert re.findall(r"`(.+?)`", columns) == [f"{entry}_column" for entry in entries if entry != "self"], name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_resolve(page):
    for target in LINK.findall(prose(page)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_files_exist(page):
    missing = [path for path in OWN_PATH.findall(prose(page)) if not (ROOT / path).exists()]
    assert not missing


def test_the_flow_is_told_in_the_order_of_the_code():
    told = re.findall(r"^ *\d\. `(\w+(?:\.\w+)?)`", ARCHITECTURE.read_text(), re.MULTILINE)
    code = inspect.getsource(GFTLitModule.training_step)
    code = code.replace("plan_step(", "plan_step(\n" + inspect.getsource(plan_step), 1)
    places = [code.find(f"{name}(") for name in told]
    assert len(told) >= 10
    assert -1 not in places
    assert places == sorted(places)
    assert len(ARCHITECTURE.read_text().splitlines()) <= 165


def test_examples_of_docstrings_stand_where_they_run():
    prompt = ">" * 3
    assert [file for file in (ROOT / "tests").rglob("*.py") if prompt in file.read_text()] == []


def test_every_part_of_the_package_has_its_line():
    parts = {path.name for path in (ROOT / "lightning_gft").iterdir() if path.suffix == ".py" or path.is_dir()}
    parts -= {"__init__.py", "__main__.py", "__pycache__"}
    lines = [line for page in PAGES for line in prose(page).splitlines()]
    named = [match[1] for line in lines if (match := re.match(r"\| `lightning_gft/([\w.]+)/?` \|", line))]
    assert sorted(named) == sorted(parts)


def test_the_citation_has_the_version_and_the_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"


def test_this_reading_of_pages_finds_what_there_is():
    assert {block.file for block in blocks(EXTENDING, "python")} >= {"my_reward.py", "my_objective.py"}
    assert len(list(commands(ROOT / "README.md"))) >= 3
    assert any("where-the-normaliser-comes-from" in anchors(page) for page in PAGES)
    assert LINK.findall("see [a](b.md#c) and ![not](this.png)") == ["b.md#c"]
