"""Shows the settings and the device of each run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning_gft.report.markup import run_heads, table
from lightning_gft.report.redaction import HIDDEN
from lightning_gft.report.runs import Run
from lightning_gft.report.scales import number
from lightning_gft.report.text import escape

_NONE = "–"  # noqa: RUF001 (a dash)


def about_section(runs: Sequence[Run]) -> str:
    """Return a table with one column per run."""
    rows = {title: [of(run) for run in runs] for title, of in _FACTS.items()}
    rows = {title: cells for title, cells in rows.items() if any(cells)}
    body = [[escape(title), *(escape(cell or _NONE) for cell in cells)] for title, cells in rows.items()]
    return table(["", *run_heads(runs)], body, kind="about", whose=run_heads(runs) if len(runs) > 1 else ())


def _method(run: Run) -> str:
    model = _part(run, "model")
    parts = [_class(model.get("loss"))]
    parts += [_class(_given(model.get("loss"), "rectifier"))]
    return ", ".join(filter(None, parts)) if run.trained else "evaluated only, not trained"


def _sources(run: Run) -> str:
    sources = _given(_part(run, "model").get("sampler"), "sources")
    if not run.trained or not isinstance(sources, Mapping):
        return ""
    return ", ".join(f"{name}{_times(source)}" for name, source in sources.items())


def _times(source: Any) -> str:
    count = _given(source, "num_responses") or _given(source, "num_generations")
    return f" × {count}" if isinstance(count, int) and count > 1 else ""  # noqa: RUF001 (a multiplication sign)


def _model(run: Run) -> str:
    parameters, trainable = run.description.parameters, run.description.trainable
    name = run.description.model or _class(_part(run, "model").get("policy"))
    path = _given(_part(run, "model").get("policy"), "model_name_or_path")
    size = f"{number(parameters)} parameters" if parameters else ""
    share = (
        f"{(trainable or 0) / parameters:.1%} of them trained"
        if parameters and trainable not in (None, parameters)
        else ""
    )
    return ", ".join(filter(None, (name, path if path != HIDDEN else None, size, share)))


def _data(run: Run) -> str:
    train = run.description.train
    parts = [_class(run.config.get("data")), f"{train:,} training prompts" if train else ""]
    for name, count in run.description.val.items():
        parts.append(f"{count:,} validation prompts{f' of {name}' if name else ''}")
    return ", ".join(filter(None, parts))


def _steps(run: Run) -> str:
    most = _part(run, "trainer").get("max_steps")
    if not run.trained:
        return ""
    if not isinstance(most, int) or most < 0:
        return f"{run.last_step:,}"
    open_end = "" if run.last_step >= most else ": running or stopped early"
    return f"{run.last_step:,} of {most:,}{open_end}"


def _tokens(run: Run) -> str:
    counts = list(_finite(run, "train/num_tokens").values())
    return number(counts[-1]) if counts else ""


def _time(run: Run) -> str:
    """Return the time of training steps, from tokens and tokens per second; steps without a log count as the mean."""
    counts, speeds = _finite(run, "train/num_tokens"), _finite(run, "train/tokens_per_second")
    seconds, before = 0.0, 0.0
    for step, count in counts.items():
        if speeds.get(step, 0.0) > 0:
            seconds += (count - before) / speeds[step]
        before = count
    return duration(seconds) if seconds else ""


def _finite(run: Run, key: str) -> dict[int, float]:
    return {step: value for step, value in run.series(key) if math.isfinite(value)}


def duration(seconds: float) -> str:
    """Return a duration in its two largest units.

    Example:
        >>> duration(5), duration(125), duration(7380)
        ('5 s', '2 min 5 s', '2 h 3 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _device(run: Run) -> str:
    device, ranks = run.description.device, run.description.world_size
    count = f"{device.count} × " if device.count != 1 else ""  # noqa: RUF001 (a multiplication sign)
    kind = f"({device.kind})" if device.kind else ""
    of = " ".join(filter(None, (device.name, kind)))
    return ", ".join(
        filter(None, (of and f"{count}{of}", f"{ranks} ranks" if ranks != 1 else "", run.description.precision))
    )


def _versions(run: Run) -> str:
    return ", ".join(f"{name} {version}" for name, version in run.description.versions.items())


def _started(run: Run) -> str:
    resumed = [f"resumed at step {step:,}" for step in run.description.starts if step]
    when = run.description.started[:16].replace("T", " ")
    return ", ".join(filter(None, (when and f"{when} UTC", *resumed)))


def _part(run: Run, name: str) -> Mapping[str, Any]:
    part: Mapping[str, Any] = run.config.get(name) or {}
    return part


def _class(part: Any) -> str:
    return str(part.get("class_path", "")).rpartition(".")[2] if isinstance(part, Mapping) else ""


def _given(part: Any, name: str) -> Any:
    """Return an argument of a part, from its ``init_args``, or from the part itself if its class is fixed."""
    return {**part, **(part.get("init_args") or {})}.get(name) if isinstance(part, Mapping) else None


_FACTS: dict[str, Callable[[Run], str]] = {
    "Method": _method,
    "Responses per prompt": _sources,
    "Model": _model,
    "Data": _data,
    "Steps": _steps,
    "Tokens": _tokens,
    "Time in training steps": _time,
    "Device": _device,
    "Versions": _versions,
    "Began": _started,
}
