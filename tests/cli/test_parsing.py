"""What a configuration may write."""

from __future__ import annotations

import subprocess
import sys

from tests.cli.command import GFT


def test_a_part_is_found_by_its_name_alone_even_if_nothing_has_imported_it():
    rollout = "--model.policy.init_args.rollout"
    command = [sys.executable, "-m", "lightning_gft", "fit", f"--config={GFT}", f"{rollout}=VLLMEngine"]
    done = subprocess.run([*command, f"{rollout}.url=localhost"], capture_output=True, text=True, check=False)
    assert done.returncode
    assert "error: `url` of VLLMEngine: expected an address" in done.stderr
