"""What a configuration may write."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from lightning_gft import GroupLoss, LoRA
from lightning_gft.cli.parsing import Parser
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


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("--numbers=[1, x]", "`numbers`: expected a list of whole numbers or null, got [1, 'x']"),
        ("--several=[1, x]", "`several[1]`: expected a whole number, got 'x'"),
        ("--lora=None", "`lora`: expected a LoRA or null, got 'None'; write null"),
        ("--lora=3", "`lora`: expected a LoRA or null, got 3"),
        ("--lora.r=None", "`lora.r`: expected a whole number, got 'None'"),
        ("--loss=None", "`loss`: expected a class_path, got 'None'"),
        ("--loss=null", "`loss`: expected a GroupLoss, got null"),
    ],
)
def test_a_value_of_a_wrong_type_is_shown_as_yaml_reads_it(typed: str, message: str, capsys):
    parser = Parser(prog="lightning-gft")
    settings: dict[str, Any] = {"numbers": list[int] | None, "several": list[int], "lora": LoRA | None}
    for name, kind in {**settings, "loss": GroupLoss}.items():
        parser.add_argument(f"--{name}", type=kind)
    with pytest.raises(SystemExit):
        parser.parse_args([typed])
    assert f"error: {message}\n" in capsys.readouterr().err
