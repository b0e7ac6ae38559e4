"""Groups that were kept, as small as one wants."""

from __future__ import annotations

from typing import Any

from lightning_gft.samples import SampledGroup, SampledResponse, TokenFigures

FIGURES = TokenFigures(["2", "", "€", "<eos>"], [-0.5, -1.0, -0.25, -2.0], [1.0, 0.5, 1.0, -2.0], [1.0, 0.5, 1.0, 0.0])


def response(number: int = 0, **changed: Any) -> SampledResponse:
    given = {
        "source": "self",
        "completion": "2€",
        "finish_reason": "stop",
        "completion_length": 4,
        "reward": 1.5,
        "rewards": {"accuracy": 1.0, "format": 0.5},
        "advantage": 0.25,
    }
    return SampledResponse(number, **{**given, **changed})


def group(step: int = 1, kind: Any = "train", **changed: Any) -> SampledGroup:
    given = {
        "dataset": "",
        "group": 3,
        "size": 8,
        "prompt": "1+1=",
        "weights": {"accuracy": 1.0, "format": 1.0},
        "responses": [response(trained=FIGURES), response(5, source="expert", finish_reason="length")],
    }
    return SampledGroup(step, kind, **{**given, **changed})
