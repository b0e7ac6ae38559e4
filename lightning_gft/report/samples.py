"""The groups that runs kept: prompts and responses, runs side by side, with their tokens in colour."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from lightning_gft.errors import GFTValueError
from lightning_gft.record import SAMPLES
from lightning_gft.report.frame import evenly
from lightning_gft.report.packing import pack
from lightning_gft.report.runs import Run
from lightning_gft.report.samples_controls import controls
from lightning_gft.report.text import escape, isolated, json_block
from lightning_gft.samples import SampledGroup, SampledResponse
from lightning_gft.samples.reading import read_file, sample_files

MOST_GROUPS = 500
MOST_BYTES = 4_000_000
"""Bytes of all samples in the page."""
_LIMITS = (200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 20_000)
"""Characters of one text to show: the highest limit at which all groups fit; if none does, the lowest."""
_LONGEST_NAME = 100
_KINDS = {"train": "training", "val": "validation"}


class Key(NamedTuple):
    """The properties that groups of several runs share when they are shown side by side."""

    step: int
    kind: str
    dataset: str
    group: int
    prompt: str


Entry = Mapping[int, SampledGroup]
"""The same group of several runs, by the index of the run."""


def samples_section(runs: Sequence[Run]) -> str:
    """Return the kept groups of each run as HTML, or an empty text if there are none."""
    every = side_by_side([_groups(run) for run in runs])
    if not every:
        return ""
    names = [run.name for run in runs]
    entries, items = fitting(every, names)
    shown = "\n".join(items)
    note = f'<p class="note">{len(entries):,} of {len(every):,} kept groups, evenly over the steps.</p>\n'
    return (
        f"{note if len(entries) < len(every) else ''}"
        f"{controls(names, {key.kind: _KINDS[key.kind] for key in entries}, _sources(entries))}\n"
        f'<div class="groups">\n{shown}\n</div>\n<button type="button" class="more" hidden>Show more groups</button>\n'
    )


def _groups(run: Run) -> list[SampledGroup]:
    """Return the groups that the run's starts kept, without steps that a later start has trained again."""
    groups = []
    for part in run.parts:
        for file in sample_files(part.folder / SAMPLES):
            try:
                groups += [group for group in read_file(file) if group.step < part.until]
            except GFTValueError as error:
                run.faults.note(part.folder, f"{SAMPLES}/{file.path.name}", str(error).removeprefix(f"{file.path}: "))
    return groups


def side_by_side(groups: Sequence[Sequence[SampledGroup]]) -> dict[Key, Entry]:
    """Return the groups of all runs by their shared properties, in the order of steps."""
    entries: dict[Key, dict[int, SampledGroup]] = {}
    for number, of_run in enumerate(groups):
        for group in of_run:
            key = Key(group.step, group.kind, group.dataset, group.group, group.prompt)
            entries.setdefault(key, {})[number] = group
    return dict(sorted(entries.items()))


def fitting(every: Mapping[Key, Entry], names: Sequence[str]) -> tuple[dict[Key, Entry], list[str]]:
    """Return the groups that fit into the page, evenly spread over the steps, and the HTML of each.

    Args:
        every: All kept groups.
        names: Names of the runs.
    """
    entries, items = _fewer(every, names)
    for limit in _LIMITS[1:]:
        longer = list(_within(entries, names, limit))
        if len(longer) < len(entries):
            break
        items = longer
    return entries, items


def _fewer(every: Mapping[Key, Entry], names: Sequence[str]) -> tuple[dict[Key, Entry], list[str]]:
    """Return as many groups as fit if each text has the lowest limit."""
    count = min(len(every), MOST_GROUPS)
    while True:
        entries = dict(evenly(list(every.items()), count))
        items = list(_within(entries, names, _LIMITS[0]))
        if len(items) == count:
            return entries, items
        count = len(items)


def _within(entries: Mapping[Key, Entry], names: Sequence[str], limit: int) -> Iterator[str]:
    """Yield the HTML of groups until the next one does not fit."""
    left = MOST_BYTES
    for key, entry in entries.items():
        item = _entry(key, entry, names, limit)
        left -= len(item.encode()) + 1
        if left < 0:
            return
        yield item


def _responses(entries: Mapping[Key, Entry]) -> list[SampledResponse]:
    return [response for entry in entries.values() for group in entry.values() for response in group.responses]


def _sources(entries: Mapping[Key, Entry]) -> list[str]:
    return sorted({response.source for response in _responses(entries)})


def _entry(key: Key, entry: Entry, names: Sequence[str], limit: int) -> str:
    rewards = [response.reward for group in entry.values() for response in group.responses]
    rewards = [reward for reward in rewards if math.isfinite(reward)]
    low, high = min(rewards, default=math.nan), max(rewards, default=math.nan)
    mean = sum(rewards) / len(rewards) if rewards else math.nan
    where = " · ".join(
        [f"step {key.step}", _KINDS[key.kind], *filter(None, [key.dataset[:_LONGEST_NAME]]), f"group {key.group}"]
    )
    # Names are needed only if some runs lack the group; otherwise the columns show whose each response is.
    whose = [f'<bdi class="s{number}">{escape(names[number])}</bdi>' for number in entry if len(entry) < len(names)]
    heading = " &middot; ".join([escape(where), *whose])
    spread = _number(low) if low == high or not rewards else f"{_number(low)} to {_number(high)}"
    columns = "".join(_column(number, group, names, limit) for number, group in entry.items())
    return (
        f'<details class="group" data-kind="{escape(key.kind)}" data-step="{key.step}" '
        f'data-reward="{mean:.6g}" data-spread="{high - low:.6g}">'
        f'<summary><h3>{heading}</h3> <bdi class="preview">{escape(key.prompt, 100)}</bdi> '
        f'<span class="range">reward {spread}</span></summary>\n'
        f'<div class="text prompt" dir="auto">{escape(key.prompt, limit)}</div>\n'
        f'<div class="side">{columns}</div></details>'
    )


def _column(number: int, group: SampledGroup, names: Sequence[str], limit: int) -> str:
    heading = f'<h4 class="s{number}">{isolated(names[number])}</h4>' if len(names) > 1 else ""
    some = len(group.responses) < group.size
    count = f'<p class="count">{len(group.responses)} of {group.size} responses kept</p>' if some else ""
    responses = "".join(map(partial(_response, group=group, number=number, limit=limit), group.responses))
    return f'<div class="of-run">{heading}{count}{responses}</div>'


def _response(response: SampledResponse, group: SampledGroup, number: int, limit: int) -> str:
    if response.trained is None:
        rectified, about = 0, "no gradient" if group.kind == "train" else ""
        text = f'<div class="text" dir="auto">{escape(response.completion, limit)}</div>'
    else:
        packed = pack(response, response.trained, limit)
        rectified, about = packed.rectified, f"{packed.rectified:,} rectified"
        text = (
            f'<div class="text tokens" dir="auto">{escape(packed.text, len(packed.text))}</div>'
            f'<script type="application/json">{json_block(packed.columns)}</script>'
        )
    return (
        f'<div class="response" data-run="{number}" data-source="{escape(response.source)}" '
        f'data-rectified="{rectified}">{_facts(response, group.weights, about)}{text}</div>\n'
    )


def _facts(response: SampledResponse, weights: Mapping[str, float | None], about: str) -> str:
    """Return the figures of a response in one line, to show above its text."""
    parts = [
        f"{isolated(name, _LONGEST_NAME)} {_number(value)}{_times(value, weights.get(name))}"
        for name, value in response.rewards.items()
    ]
    truncated = "truncated" if response.finish_reason == "length" else ""
    in_parts = f" ({', '.join(parts)})" if parts else ""
    facts = [
        "greedy" if response.greedy else "",
        f"<b>reward {_number(response.reward)}</b>{in_parts}",
        "" if response.advantage is None else f"advantage {_number(response.advantage, '+')}",
        ", ".join(filter(None, [f"{response.completion_length:,} tokens", truncated, about])),
    ]
    shown = "".join(f"<li>{fact}</li>" for fact in facts if fact)
    source = escape(response.source, _LONGEST_NAME)
    return f'<ul class="facts"><li class="source {source}">{source}</li>{shown}</ul>'


def _times(value: float | None, weight: float | None) -> str:
    return "" if value is None or weight in (None, 1) else f" &times; {weight:g}"


def _number(value: float | None, sign: str = "") -> str:
    """Return a number with two decimals, or a dash for ``None``."""
    shown = value is not None and math.isfinite(value)
    return f"{value:{sign}.2f}".replace("-", "&minus;") if shown else "&ndash;"
