"""Each rank has workers of its own, and what fails on one of them is counted over all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lightning_gft import GFTLoss, JudgedReward
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, Rows, fit, make_module
from tests.rewards.attacks import digit_sum
from tests.rewards.processes import alive


class PooledDigitSum(JudgedReward):
    """A tenth of the sum of the response's digits, from workers that do not survive each response."""

    bad: ClassVar = {"333": "hangs_in_c", "1224": "exits", "12345678": "exits"}

    def __init__(self) -> None:
        super().__init__(digit_sum, seconds=1.5, workers=2)

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
