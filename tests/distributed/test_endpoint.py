"""Ranks that ask the same teacher and keep replies in the same folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch

from lightning_gft import EndpointSource
from tests.distributed.launch import run_two_processes
from tests.module.runs import Rows, fit, make_module, weights
from tests.sources.endpoint.servers import serving
from tests.sources.endpoint.test_training import ROWS, digits, prompt_of
from tests.training.test_exchange import Recorder


def fit_on_a_rank(rank: int, url: str, cache: str) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    recorder = Recorder()
    module = make_module(sources={"teacher": EndpointSource("teacher", url, 2, cache=cache, ahead=1)})
    fit(
        module,
        Rows(ROWS[:5], batch_size=1),  # one row is on both ranks
        strategy="ddp",
        devices=2,
        logger=recorder,
        log_every_n_steps=1,
    )
    rows = [row for row in recorder.rows if "train/loss" in row]
    names = [name for name in rows[0] if name.startswith("train/sources/teacher/")] if rows else []
    return weights(module), {name: sum(row[name] for row in rows) for name in names}


def test_two_ranks_share_a_folder(tmp_path: Path):
    with serving(digits) as server:
        (first, figures), (second, _) = run_two_processes(fit_on_a_rank, server.url, str(tmp_path))
        asked = Counter((prompt_of(body), body["seed"]) for body in server.asked)
        assert len(asked) == 10
        assert sum(asked.values()) == figures["train/sources/teacher/requests"] <= 12
        assert figures["train/sources/teacher/replies"] == 12
        torch.testing.assert_close(first, second, rtol=0, atol=0)
        before = len(server.asked)
        again, figures = run_two_processes(fit_on_a_rank, server.url, str(tmp_path))[0]
        assert len(server.asked) == before
        assert figures["train/sources/teacher/cached"] == 12
        torch.testing.assert_close(first, again, rtol=0, atol=0)
