"""Links of pages that are also read on GitHub, as links of the site.

Pages link to files of the project by relative paths. On the site, a file outside of ``docs/`` is a separate page, an
entry of the page of configurations, a page of the API, or a file to download.
"""

from __future__ import annotations

import os.path
import re
from pathlib import Path, PurePosixPath

from website.groups import FUNCTIONS, group_of_part
from website.markup import unescaped_row

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Pages outside of ``docs/``, and their names on the site."""
CONFIGURATIONS = "configurations.md"
_SOURCES = {target: source for source, target in PAGES.items()}
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<code>`[^`\n]*`)|(?P<file>\[[\w/-]+\.md)?\]\((?P<target>[^)\s]+)\)")


def anchor(path: str) -> str:
    """Return the anchor of a configuration file on its page.

    Example:
        >>> anchor("configs/overlays/7b.yaml")
        'configsoverlays7byaml'
    """
    return re.sub(r"[^\w\- ]", "", path.lower())


def source_of(page: str) -> str:
    """Return the file of the project that a page of the site is read from.

    Example:
        >>> source_of("index.md"), source_of("data.md")
        ('README.md', 'docs/data.md')
    """
    return _SOURCES.get(page, f"docs/{page}")


def heading(page: str) -> str:
    """Return the title of a page of ``docs/``.

    Example:
        >>> heading("data.md")
        'Data'
    """
    return (ROOT / source_of(page)).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def place(path: str, fragment: str = "") -> str:
    """Return where the site shows a file of the project, relative to the site's root.

    Example:
        >>> place("docs/data.md", "conversations"), place("configs/gsm8k.yaml")
        ('data.md#conversations', 'configurations.md#configsgsm8kyaml')
        >>> place("lightning_gft/losses/gft.py"), place("LICENSE")
        ('api/losses.md', 'files/LICENSE')
    """
    suffix = f"#{fragment}" if fragment else ""
    if path in PAGES:
        return PAGES[path] + suffix
    top, _, rest = path.partition("/")
    if top == "docs":
        return rest + suffix
    if top == "configs" and path.endswith(".yaml"):
        return f"{CONFIGURATIONS}#{anchor(path)}"
    if top == "lightning_gft":
        part = rest.partition("/")[0].removesuffix(".py")
        group = FUNCTIONS if part == FUNCTIONS else getattr(group_of_part(part), "slug", None)
        if group:
            return f"api/{group}.md"
    return f"files/{path}"


def target_on_site(target: str, page: str) -> str:
    """Return a link's target for a page of the site; addresses and anchors of the same page stay.

    Example:
        >>> target_on_site("../README.md#results", "data.md"), target_on_site("docs/data.md", "index.md")
        ('index.md#results', 'data.md')
    """
    if re.match(r"\w+:|#", target):
        return target
    path, _, fragment = target.partition("#")
    origin = PurePosixPath(source_of(page)).parent
    found = os.path.normpath(origin / path)
    return os.path.relpath(place(found, fragment), PurePosixPath(page).parent)


def downloads(pages: dict[str, str]) -> set[str]:
    """Return the files of the project that pages link to and that no page of the site shows.

    Args:
        pages: Texts by the names of pages on the site.
    """
    targets = {
        target_on_site(match["target"], page)
        for page, text in pages.items()
        for match in _LINK.finditer(_FENCE.sub("", text))
        if match["target"]
    }
    return {target.removeprefix("files/") for target in targets if target.startswith("files/")}


def _title(target: str, page: str) -> str:
    """Return the opened text of a link to a page: its title, where a reader on GitHub sees the name of its file."""
    found = os.path.normpath(PurePosixPath(page).parent / target.partition("#")[0])
    return f"[{heading(found)}"


def for_site(text: str, page: str) -> str:
    """Return a page's Markdown for the site: links that resolve there, and tables that Python-Markdown reads.

    Example:
        >>> for_site("See [docs/data.md](docs/data.md#chat-templates) and [why](docs/data.md).", "index.md")
        'See [Data](data.md#chat-templates) and [why](data.md).'
    """

    def link(match: re.Match[str]) -> str:
        if match["code"]:
            return match[0]
        target = target_on_site(match["target"], page)
        return f"{_title(target, page) if match['file'] else ''}]({target})"

    def prose(piece: str) -> str:
        return "\n".join(unescaped_row(line) for line in _LINK.sub(link, piece).split("\n"))

    fences = _FENCE.findall(text)
    pieces = _FENCE.split(text)
    return "".join(prose(piece) + fence for piece, fence in zip(pieces, [*fences, ""], strict=True))
