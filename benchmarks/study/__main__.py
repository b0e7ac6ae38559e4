"""The study's command line: ``python -m benchmarks.study run | status | tables | plots PLAN ...``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from benchmarks.study.choice import choose
from benchmarks.study.plan import Plan, PlanError, Run
from benchmarks.study.reading import read_plan
from benchmarks.study.results import RESULTS, Results, written_by_one
from lightning_gft.checks import check_count
from lightning_gft.errors import GFTError


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: Arguments; by default those of the process.
    """
    options = _parser().parse_args(args)
    try:
        if options.reference and options.command != "tables":
            raise PlanError(f"`--reference`: expected the command tables, got {options.command}; leave the option out")
        plans = [read_plan(name) for name in options.plans]
        COMMANDS[options.command](plans, options)
    except GFTError as error:
        sys.exit(str(error))


def run(plans: Sequence[Plan], options: argparse.Namespace) -> None:
    """Train what the plans ask for and the results do not hold."""
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from benchmarks.study.pool import Pool

    for name in ("workers", "threads"):
        check_count(f"--{name}", getattr(options, name))
    limits = {name: getattr(options, name) for name in ("workers", "threads", "minutes", "limit")}
    with written_by_one(options.results):
        results = Results(options.results)
        all_ended = Pool(results, options.folder, **limits).train(lambda: wanted(plans, results))
    status(plans, options)
    print("all runs have ended" if all_ended else "runs are left: the same command continues")


def wanted(plans: Sequence[Plan], results: Results) -> Iterator[Run]:
    """Yield all runs of plans: what chooses learning rates first, then seed by seed those whose choice is made.

    Args:
        plans: Earlier ones come first.
        results: All runs that have ended.
    """
    for plan in plans:
        yield from chain(plan.tuning(), plan.final(choose(plan, results)))


def status(plans: Sequence[Plan], options: argparse.Namespace) -> None:
    """Print how far the plans are, and the learning rates that are chosen."""
    results = Results(options.results)
    for plan in plans:
        choices = choose(plan, results)
        for role, runs in (("tuning", [*plan.tuning()]), ("final", [*plan.final(choices)])):
            ended = sum(run in results for run in runs)
            print(f"{plan.name}, {role}: {ended} of {len(runs)} runs have ended")
        for (variant, method), rate in choices.items():
            print(f"  {' '.join(part for part in (variant, method) if part)}: learning rate {rate:g}")


def tables(plans: Sequence[Plan], options: argparse.Namespace) -> None:
    """Print the plans' tables, and write them into the marked places of a page."""
    from benchmarks.study.markdown import fill
    from benchmarks.study.outcome import read
    from benchmarks.study.tables import all_tables

    if options.docs and options.reference:
        raise PlanError("`--reference`: expected no --docs, whose tables have the plan's own reference; drop either")
    if options.docs and not options.docs.is_file():
        raise PlanError(f"`--docs`: expected a page with marked places, got {options.docs}; name another")
    for plan in plans:
        if options.reference:
            plan = replace(plan, reference=options.reference)
        made = all_tables(read(plan, Results(options.results)))
        print("\n\n".join(f"**{plan.name}, {name}.** {table.text()}" for name, table in made.items()))
        if options.docs:
            options.docs.write_text(fill(options.docs.read_text(), plan.name, made))


def plots(plans: Sequence[Plan], options: argparse.Namespace) -> None:
    """Draw the plans' pictures."""
    from benchmarks.study.outcome import read
    from benchmarks.study.plots import save_all

    for plan in plans:
        for path in save_all(read(plan, Results(options.results)), options.output):
            print(path)


COMMANDS = {"run": run, "status": status, "tables": tables, "plots": plots}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("plans", nargs="+", help="names of files in benchmarks/study/plans, or paths of YAML files")
    parser.add_argument("--results", type=Path, default=RESULTS, help="Parquet file of all runs")
    parser.add_argument("--folder", type=Path, default=Path("runs/study"), help="for logs of runs under way or failed")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="runs at once")
    parser.add_argument("--threads", type=int, default=1, help="threads of a run")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no run begins after that time")
    parser.add_argument("--limit", type=float, default=30.0, help="minutes after which a run has failed")
    parser.add_argument("--docs", type=Path, help="tables: page whose marked places are filled")
    parser.add_argument("--reference", help="tables: method that others are compared with; default the plan's own")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="plots: folder for pictures")
    return parser


if __name__ == "__main__":
    main()
