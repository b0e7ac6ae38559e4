"""What a draw has drawn so far, as another thread reads it."""

from __future__ import annotations

import time
from itertools import chain
from typing import Any

import pytest

from lightning_gft import Response, SamplingParams, TransformersEngine
from lightning_gft.lm.decoding.shareable import shares_prompts
from lightning_gft.phases import DrawCounts, PhaseClock, counting, draw_counts
from lightning_gft.policy.ahead import AheadDraw
from lightning_gft.seeds import spawn_seeds
from tests.forking import HANG
from tests.tiny import tiny_policy

PROMPTS = [[5, 6, 7], [8, 9], [10]]


@pytest.mark.parametrize("max_batch_size", [2, 100])
def test_counts_grow_with_each_token_up_to_the_whole_draw(max_batch_size: int):
    policy, counts, seen = tiny_policy(), DrawCounts(9), list[tuple[int, int]]()
    shares_prompts(policy.model)  # tried once, in passes of its own

    def look(*_: Any) -> None:
        seen.append((counts.responses, counts.tokens))

    policy.model.register_forward_pre_hook(look)
    engine, sampling = TransformersEngine(max_batch_size), SamplingParams(max_new_tokens=6)
    with counting(counts):
        drawn = engine.generate(policy.model.eval(), PROMPTS, 3, sampling, spawn_seeds(1, 9), policy.end)
    responses = [*chain.from_iterable(drawn)]
    assert (counts.responses, counts.tokens) == (9, sum(len(response.token_ids) for response in responses))
    assert seen == sorted(seen)
    assert len({tokens for _, tokens in seen}) == len(seen)  # a pass draws tokens, a prefill those of its last one


def test_a_draw_ahead_is_shown_where_the_run_waits_for_it():
    clock, counts = PhaseClock(), DrawCounts(1)

    def draw() -> list[list[Response]]:
        draw_counts().add(responses=1, tokens=3)
        deadline = time.monotonic() + HANG
        while clock.draw is not counts:
            assert time.monotonic() < deadline, "nothing is shown"
            time.sleep(0.005)
        return [[Response([1, 2, 3])]]

    with clock.running():
        ahead = AheadDraw(draw, counts)
        assert clock.draw is None
        ahead.responses()
        assert clock.draw is None
    assert (counts.responses, counts.tokens) == (1, 3)


def test_without_a_draw_counts_are_kept_nowhere():
    draw_counts().add(responses=1, tokens=3)
    assert draw_counts().responses == 0
