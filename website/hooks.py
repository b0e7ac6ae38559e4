"""MkDocs hooks: pages from outside of ``docs/``, pages that are generated from the code, and links."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from website import links
from website.api import api_pages
from website.configurations import configurations_page
from website.reference import reference_page


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that are not in ``docs/``, and the files that pages link to."""
    texts = {name: (links.ROOT / source).read_text(encoding="utf-8") for source, name in links.PAGES.items()}
    written = {file.src_uri: Path(str(file.abs_src_path)) for file in files.documentation_pages()}
    linked = texts | {name: path.read_text(encoding="utf-8") for name, path in written.items()}
    generated = {links.CONFIGURATIONS: configurations_page(), "reference.md": reference_page(), **api_pages()}
    for name, text in {**texts, **generated}.items():
        files.append(File.generated(config, name, content=text))
    for path in sorted(links.downloads(linked)):
        files.append(File.generated(config, f"files/{path}", abs_src_path=str(links.ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Resolve the links of pages that are also read on GitHub."""
    return links.for_site(markdown, page.file.src_uri)
