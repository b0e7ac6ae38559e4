"""Results are labelled with the commit of the code that made them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.revision import commit


def test_results_do_not_make_a_commit_dirty(tmp_path: Path):
    assert commit(tmp_path) is None
    for name in ("code.py", "benchmarks/results/study.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("before")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for args in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-q", "-m", "one")):
        subprocess.run(["git", *args], cwd=tmp_path, check=True)
    clean = commit(tmp_path)
    assert clean
    assert len(clean) == 10
    (tmp_path / "benchmarks/results/study.parquet").write_text("after")
    assert commit(tmp_path) == clean
    (tmp_path / "code.py").write_text("after")
    assert commit(tmp_path) == f"{clean}-dirty"
