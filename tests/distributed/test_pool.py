"""Each rank has workers of its own, and what fails on one of them is counted over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from lightning_gft import GFTLoss, JudgedReward
from tests.distributed.launch import HANG, run_two_processes
from tests.module.runs import ROWS, Rows, fit, make_module
from tests.rewards.attacks import digit_sum
from tests.rewards.processes import alive


class PooledDigitSum(JudgedReward):
    """A tenth of the sum of the response's digits; of two responses to rank 1 and one to rank 0, workers die.

    Workers see these alone, so that only what hangs has a short limit.
    """

    bad: ClassVar = {"333": "hangs_in_c", "12345678": "exits", "81234": "exits"}

    def __init__(self) -> None:
        super().__init__(digit_sum, seconds=HANG, workers=2)

    def __call__(self, *, responses: Sequence[str], **batch: Any) -> Tensor | Sequence[float | None]:
        self.pool.seconds = 0.5 if "333" in responses else HANG
        return super().__call__(responses=responses, **batch)

    def quick(self, item: tuple[str, str | None]) -> float | None:
        return None if item[1] else digit_sum(item)

    def item(self, response: str, reference: Any, columns: Mapping[str, Any]) -> tuple[str, str | None]:
        return response, self.bad.get(response)


def train(rank: int) -> tuple[dict[str, float], list[bool]]:
    reward = PooledDigitSum()
    module = make_module(GFTLoss(), reward=reward)
    reward.pool.map([("1", None)] * 2)
    pids = [worker.pid for worker in reward.pool._workers]
    data = Rows(ROWS[:4], batch_size=2)
    trainer = fit(module, data, use_distributed_sampler=False, strategy="ddp", devices=2)
    names = ("timeouts", "crashes", "memory", "errors")
    figures = {name: trainer.callback_metrics[f"train/rewards/score/{name}"].item() for name in names}
    return figures, [alive(pid) for pid in pids]


def test_failures_are_counted_over_ranks_and_workers_end_with_the_run():
    for figures, left in run_two_processes(train):
        assert figures == {"timeouts": 1, "crashes": 2, "memory": 0, "errors": 0}
        assert left == [False, False]
