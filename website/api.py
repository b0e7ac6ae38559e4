"""Pages of the API, as directives of mkdocstrings."""

from __future__ import annotations

import ast

from website.groups import FUNCTIONS, GROUPS, STUB, members, ungrouped
from website.links import heading

_FUNCTIONAL = STUB.parent / FUNCTIONS / "__init__.py"


def api_pages() -> dict[str, str]:
    """Return the Markdown of each page by its name.

    Raises:
        ValueError: If a public name belongs to no page.

    Example:
        >>> print(api_pages()["api/advantages.md"].splitlines()[4])
        ::: lightning_gft.AdvantageEstimator
    """
    if names := list(ungrouped()):
        raise ValueError(f"website/groups.py: expected a group for every public name, got none for {names}; add one")
    pages = {f"api/{group.slug}.md": _page(group.title, group.page, members(group)) for group in GROUPS}
    return {**pages, f"api/{FUNCTIONS}.md": _page("Functions", "architecture.md", functions(), f"{FUNCTIONS}.")}


def functions() -> list[str]:
    """Return the public functions of tensors, as ``__all__`` lists them."""
    statements = ast.parse(_FUNCTIONAL.read_text(encoding="utf-8")).body
    assigned = [statement for statement in statements if isinstance(statement, ast.Assign)]
    (names,) = [statement.value for statement in assigned if ast.unparse(statement.targets[0]) == "__all__"]
    return [str(name) for name in ast.literal_eval(names)]


def _page(title: str, described: str, names: list[str], prefix: str = "") -> str:
    pieces = [f"# {title}", f"[{heading(described)}](../{described}) describes how these are used."]
    return "\n\n".join([*pieces, *(f"::: lightning_gft.{prefix}{name}" for name in names)]) + "\n"
