"""``lightning-gft report``: what it prints, what it writes, and what it says of wrong arguments."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_gft.cli import main
from lightning_gft.report.figures import plot_panels, table_rows
from lightning_gft.report.runs import Run
from lightning_gft.report.text import visible
from tests.report.logged import train, val, write_log

ROOT = Path(__file__).parents[2]
TRACED = "(LIGHTNING_GFT_TRACEBACK=1 shows where it was raised)"
BASE = [val(0, 0.25, **{"mean@4": 0.125})]
GFT = [train(1, grad_norm=3.0, num_tokens=1000), val(1, 0.5), train(2, grad_norm=1.0, num_tokens=2000)]
GFT += [val(2, 0.75, **{"mean@4": 0.5, "hard/greedy_accuracy": 0.5})]


def test_figures_are_last_values(tmp_path):
    write_log(tmp_path, GFT)
    run = Run.read("gft", tmp_path)
    shown = {figure.title: figure.show(run) for figure in plot_panels([run])}
    assert (shown["greedy"], shown["mean@4"], shown["pass@4"], shown["hard"]) == ("0.75", "0.50", "-", "0.50")
    assert shown["grad norm"] == "1.00"


def test_the_table_of_the_readme_has_the_rows_that_the_command_prints(tmp_path):
    logged = {"mean@8": 0.5, "pass@8": 1.0, "entropy": 0.1, "kl": 0.1, "second_skill/greedy_accuracy": 0.5}
    write_log(tmp_path, [train(1, grad_norm=3.0), val(1, 0.5, **logged)])
    rows = [figure.title for figure in table_rows([Run.read("gft", tmp_path)])]
    heading = re.search(r"^\| after \d+ updates \|(.*)\|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert heading
    assert [column.strip() for column in heading[1].split("|")] == rows


def test_it_prints_every_run_and_writes_plot_and_page(tmp_path, capsys):
    write_log(tmp_path / "base", BASE)
    log = write_log(tmp_path / "gft", GFT)
    page = tmp_path / "out/page.html"
    main(["report", str(tmp_path / "base"), f"GFT={tmp_path / 'gft'}", f"--output={page}"])
    printed = capsys.readouterr().out
    assert "mean@4" in printed  # found in the logs
    assert "greedy │ 0.25 │ 0.75" in " ".join(printed.split())
    assert str(log) in printed
    assert max(map(len, printed.split("base:")[0].splitlines())) <= 80
    assert printed.endswith(f"Plot: {page.with_suffix('.png')}\nPage: {page}\n")
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "<title>base and GFT</title>" in page.read_text()


def test_runs_may_have_any_names(tmp_path, capsys):
    runs = {name: tmp_path / f"run{n}" for n, name in enumerate([r"$\frac$", "\udcff", "_x", "x" * 5000, "\x1b[31m"])}
    for folder in runs.values():
        write_log(folder, GFT)
    main(["report", *(f"{name}={folder}" for name, folder in runs.items()), f"--output={tmp_path}/report.html"])
    page = (tmp_path / "report.html").read_text()
    assert all(visible(name, 60) in page for name in runs)
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("rows", [[], [train(1)], [val(0, 0.5)], [{"step": 0, "test/greedy_accuracy": 0.5}]])
def test_a_run_that_has_hardly_begun_has_a_report(tmp_path, rows):
    write_log(tmp_path, rows)
    main(["report", str(tmp_path), f"--output={tmp_path}/report.html"])
    assert "<title>" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["nowhere"], 2, "error: `RUN`: expected a folder, got 'nowhere'; give a run's trainer.default_root_dir\n"),
        (["x=nowhere"], 2, "error: `RUN`: expected a folder, got 'nowhere'; give a run's trainer.default_root_dir\n"),
        (["{tmp}"], 2, "expected a folder with metrics.csv in it or below"),
        (["{tmp}/gft", "{tmp}/gft"], 2, "got 'gft' twice"),
        (["{tmp}/gft", "--output=x.png"], 2, "error: `--output`: expected a file that ends in .html, got 'x.png'"),
        (["{tmp}/gft", "--output=/dev/null/x.html"], 1, "error: `--output`: expected a file that can be written"),
    ],
)
def test_an_argument_that_does_not_work_is_named_in_the_last_line(tmp_path, capsys, args, status, message):
    (tmp_path / "empty").mkdir()
    write_log(tmp_path / "gft", GFT)
    given = [arg.replace("{tmp}", str(tmp_path / "empty" if arg == "{tmp}" else tmp_path)) for arg in args]
    with pytest.raises(SystemExit) as stop:
        main(["report", *given])
    told = capsys.readouterr().err
    assert stop.value.code == status
    hint, error = told.splitlines()
    assert message in f"{error}\n"
    assert hint == ("See: lightning-gft report --help" if status == 2 else TRACED)


def test_a_wrong_option_points_to_the_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["report", "gft", "--num_sample=4"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "See: lightning-gft report --help\nerror: unrecognized arguments: --num_sample=4\n"
    )


def test_it_waits_for_no_library_that_only_training_needs(tmp_path):
    write_log(tmp_path / "gft", GFT)
    code = (
        "import sys; from lightning_gft.cli import main; main(['report', *sys.argv[1:]]);"
        "print('imported:', sorted({'torch', 'lightning', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    args = [sys.executable, "-c", code, str(tmp_path / "gft"), f"--output={tmp_path / 'report.html'}"]
    ended = subprocess.run(args, capture_output=True, text=True, check=True)
    assert ended.stdout.endswith("imported: []\n")
