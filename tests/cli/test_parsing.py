"""What a configuration may write."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.cli.command import GFT
from tests.forking import HANG, Command, forking


def check_that_it_is_not_imported() -> None:
    assert "lightning_gft.rollout.vllm" not in sys.modules


def test_a_part_is_found_by_its_name_alone_even_if_nothing_has_imported_it(tmp_path: Path):
    fork = forking().Process(target=check_that_it_is_not_imported)  # as little as the process of the command
    fork.start()
    fork.join(HANG)
    assert fork.exitcode == 0
    rollout = "--model.policy.init_args.rollout"
    stderr = tmp_path / "stderr"
    command = Command("fit", f"--config={GFT}", f"{rollout}=VLLMEngine", f"{rollout}.url=localhost", stderr=stderr)
    assert command.wait()
    assert "error: `model.policy.rollout.url`: expected an address" in stderr.read_text()
