"""The page of one run, or of several side by side: a single HTML file that needs no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from importlib.resources import files

from lightning_gft.report.about import about_section
from lightning_gft.report.advice import advice_section
from lightning_gft.report.configuration import configuration_section
from lightning_gft.report.curves import curves_section
from lightning_gft.report.draws import draws_section
from lightning_gft.report.histograms import histograms_section
from lightning_gft.report.listing import listing_section
from lightning_gft.report.redaction import redacted
from lightning_gft.report.runs import Run
from lightning_gft.report.samples import samples_section
from lightning_gft.report.text import escape, isolated
from lightning_gft.report.tradeoffs import tradeoffs_section
from lightning_gft.report.verdict import verdict_section

Section = Callable[[Sequence[Run]], str]
"""Returns the HTML inside a section, without its heading; an empty text if the runs have no data for it."""

_SECTIONS: dict[str, tuple[str, Section]] = {
    "about": ("Runs", about_section),
    "verdict": ("Results", verdict_section),
    "advice": ("Advice", advice_section),
    "curves": ("Curves", curves_section),
    "tradeoffs": ("Accuracy against its cost", tradeoffs_section),
    "draws": ("pass@k", draws_section),
    "weights": ("Weights of tokens", histograms_section),
    "samples": ("Samples", samples_section),
    "figures": ("All figures", listing_section),
    "configuration": ("Configuration", configuration_section),
}
"""Heading and builder of each section by its anchor, in the order of the page."""


def build_page(runs: Sequence[Run]) -> str:
    """Return the page of ``runs``; the others are compared with the first."""
    made = {anchor: (title, section(runs)) for anchor, (title, section) in _SECTIONS.items()}
    made = {anchor: (title, inside) for anchor, (title, inside) in made.items() if inside}
    noted = "".join(f'<p class="note fault">{line}</p>\n' for line in _faults(runs))
    *others, last = [run.name for run in runs]
    title = f"{', '.join(others)} and {last}" if others else last
    links = "".join(f'<li><a href="#{anchor}">{escape(heading)}</a></li>' for anchor, (heading, _) in made.items())
    body = "\n".join(
        f'<section id="{anchor}" aria-labelledby="{anchor}-title"><h2 id="{anchor}-title">{escape(heading)}</h2>\n'
        f"{inside}\n</section>"
        for anchor, (heading, inside) in made.items()
    )
    style, script = _asset("style.css") + _asset("charts.css"), _asset("script.js")
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#main">To the content</a>\n'
        f'<header><h1>{escape(title)}</h1>\n<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f'<main id="main">\n{noted}{body}\n</main>\n<script>{script}</script>\n</body>\n</html>\n'
    )


def _faults(runs: Sequence[Run]) -> list[str]:
    """Return the faults of the runs' files; all are known only after the sections have been built."""
    return [
        f"{isolated(run.name)}: <code>{escape(fault.place)}</code>: {escape(redacted(str(fault)))}"
        for run in runs
        for fault in run.faults.by_kind.values()
    ]


def _policy(style: str, script: str) -> str:
    """Return the content security policy: only the page's own style and script, so no ``style=`` and no ``on...=``."""
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _asset(name: str) -> str:
    return files("lightning_gft.report").joinpath("assets", name).read_text(encoding="utf-8")
