"""The commit that a benchmark ran at."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit(root: Path = Path(__file__).parents[1]) -> str | None:
    """Return the commit of a repository, with ``-dirty`` if tracked files differ from it; ``None`` outside a clone.

    Changed results do not count: benchmarks write them.
    """
    describe = ["git", "describe", "--always", "--abbrev=10"]
    compare = ["git", "diff", "--quiet", "HEAD", "--", ".", ":(exclude)benchmarks/results"]
    try:
        described = subprocess.run(describe, cwd=root, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(compare, cwd=root, capture_output=True, check=False).returncode != 0
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{described}-dirty" if changed else described
