"""The controls above the sample groups: filters, the order, and the legend of the colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_gft.report.text import escape

_ORDERS = {
    "step": "step, first to last",
    "-step": "step, last to first",
    "-reward": "mean reward, high to low",
    "reward": "mean reward, low to high",
    "-spread": "spread of rewards, wide to narrow",
}
_BY_COEFFICIENT = {
    "c-4": "&le; &minus;2",
    "c-3": "&minus;2 to &minus;1",
    "c-2": "&minus;1 to &minus;0.3",
    "c-1": "&minus;0.3 to &minus;0.03",
    "c0": "about 0",
    "c1": "0.03 to 0.3",
    "c2": "0.3 to 1",
    "c3": "1 to 2",
    "c4": "&ge; 2",
}
_BY_PROBABILITY = {
    "p0": "&ge; 0.9",
    "p1": "0.5 to 0.9",
    "p2": "0.1 to 0.5",
    "p3": "0.01 to 0.1",
    "p4": "&lt; 0.01",
}
"""Classes of style.css; script.js assigns them to tokens by the same bounds."""


def controls(runs: Sequence[str], kinds: Mapping[str, str], sources: Sequence[str]) -> str:
    """Return filters, order and legend; hidden until the script runs, as they have no effect without it.

    Args:
        runs: Names of the runs.
        kinds: Titles of the kinds of groups, by kind.
        sources: Sources of all responses.
    """
    return (
        '<form class="controls" hidden>'
        f"{_filter('Run', 'run', {str(number): name for number, name in enumerate(runs)})}"
        f"{_filter('Kind', 'kind', kinds)}"
        f"{_filter('Source', 'source', {source: source for source in sources})}"
        f"{_select('Order', 'order', _ORDERS)}"
        '<label><input type="checkbox" name="rectified"> only with rectified tokens</label>'
        '<p class="count" role="status"></p>'
        "<fieldset><legend>Colour tokens by</legend>"
        '<label><input type="radio" name="colour" value="coefficient" checked> coefficient</label>'
        '<label><input type="radio" name="colour" value="probability"> probability</label>'
        "</fieldset></form>\n"
        '<div class="legend" hidden><p>Underlined tokens are <span class="rectified">rectified</span>: the loss has '
        'changed their weight 1/p. <span class="how">Point at a token to see its figures, or press Tab to reach a '
        "response and the arrow keys to move within it.</span></p>"
        f"{_key('coefficient', _BY_COEFFICIENT)}{_key('probability', _BY_PROBABILITY)}</div>"
    )


def _filter(title: str, name: str, values: Mapping[str, str]) -> str:
    """Return a choice among all values or one of them; an empty text if there is only one."""
    return _select(title, name, {"": "all", **values}) if len(values) > 1 else ""


def _select(title: str, name: str, values: Mapping[str, str]) -> str:
    options = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in values.items())
    return f'<label>{title} <select name="{name}">{options}</select></label>'


def _key(name: str, classes: Mapping[str, str]) -> str:
    items = "".join(f'<li><span class="t {key}">{text}</span></li>' for key, text in classes.items())
    return f'<ul class="by-{name}"><li>{name}</li>{items}</ul>'
