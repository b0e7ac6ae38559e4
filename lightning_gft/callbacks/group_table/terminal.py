"""Prints groups on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from lightning_gft.callbacks.group_table.texts import visible
from lightning_gft.samples import SampledGroup, SampledResponse, TokenFigures

_LONG = 400
"""Characters of a prompt or a response to print."""
_RECTIFIED = "yellow"


def print_groups(groups: Sequence[SampledGroup]) -> None:
    """Print groups, each as a table with a row for each response.

    Args:
        groups: Groups with any texts: neither rich's markup nor a terminal's control codes take effect.

    Raises:
        OSError: If the reading end of a pipe is closed.
    """
    console = Console(file=sys.stdout)
    with console.capture() as capture:  # rich itself ends the process if it cannot write
        for group in groups:
            console.print(render(group), "", sep="\n")
    print(capture.get(), end="", flush=True)


def render(group: SampledGroup) -> RenderableType:
    """Return a group as a table with its prompt."""
    of = visible(f" of {group.dataset}" if group.dataset else "")
    kind = "training" if group.kind == "train" else "validation"
    title = f"Step {group.step}, {kind}, prompt {group.group}{of}: {len(group.responses)} of {group.size} responses"
    trained = any(response.trained is not None for response in group.responses)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("source")
    table.add_column("response", ratio=1, overflow="fold")
    table.add_column("reward", max_width=20, overflow="fold")
    compared = group.kind == "train"
    for name in (*(["adv."] if compared else []), *(["rectified"] if trained else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for response in group.responses:
        cells = [_source(response), _completion(response), _rewards(response)]
        cells += [Text(_number(response.advantage))] if compared else []
        cells += [Text(_share(response.trained))] if trained else []
        table.add_row(*cells)
    return Group(Text(title, style="bold"), Text(visible(group.prompt, _LONG)), table)


def _source(response: SampledResponse) -> Text:
    return Text("greedy" if response.greedy else response.source)


def _completion(response: SampledResponse) -> Text:
    """Return the response; if it is short and its tokens are known, its rectified tokens are coloured."""
    trained = response.trained
    if trained is None or len(trained.tokens) < response.completion_length or sum(map(len, trained.tokens)) > _LONG:
        shown = Text(visible(response.completion, _LONG))
    else:
        tokens = zip(trained.tokens, trained.rectified, strict=True)
        shown = Text.assemble(*((visible(text), _RECTIFIED if rectified else "") for text, rectified in tokens))
    if response.finish_reason == "length":
        shown.append(f" [cut at {response.completion_length} tokens]", style="dim")
    return shown


def _rewards(response: SampledResponse) -> Text:
    """Return the total, and below it the single rewards if it combines several."""
    parts = {name: _number(reward) for name, reward in response.rewards.items()}
    total = _number(response.reward)
    if [*parts.values()] == [total]:
        return Text(total)
    return Text("\n".join([total, *(f"{visible(name)} {reward}" for name, reward in parts.items())]))


def _share(trained: TokenFigures | None) -> str:
    fraction = None if trained is None else trained.rectified_fraction
    return "-" if fraction is None else f"{fraction:.0%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
