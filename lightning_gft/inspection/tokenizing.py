"""Tokenises data with unfit rows, so that the other rows can still be inspected."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lightning_gft.data import Example, ExampleEncoder, PromptDataModule
from lightning_gft.data.columns import NumberedRows, Row
from lightning_gft.data.datamodule import Split, data_name
from lightning_gft.data.errors import naming
from lightning_gft.errors import GFTValueError
from lightning_gft.inspection.problems import FAULTS, Problems
from lightning_gft.inspection.report import Counted, DataSetReport, Lengths

_MOST_UNFIT = 200
"""Unfit rows to find one by one; a column of a wrong type would make all rows unfit."""


def tokenize_data_set(
    data: PromptDataModule, split: Split, name: str, encoder: ExampleEncoder, rows: Sequence[Row], problems: Problems
) -> DataSetReport:
    """Return the report of a data set, and store its examples in the datamodule if there are any.

    Args:
        data: The datamodule that stores the examples.
        split: The split of the data set.
        name: Name of the data set; empty for the main one.
        encoder: Tokenises the rows.
        rows: Rows of the data set.
        problems: Collects the errors.
    """
    where = data_name(split, name)
    report = DataSetReport(where, rows=len(rows))
    for row in data.rejected.get(name, ()) if split == "train" else ():
        report.dropped.setdefault("rows that `keep` leaves out", Counted()).add(row)
    with problems.collecting(), naming(f"{where} data"):
        if not rows:
            raise GFTValueError("expected at least one row, got none")
        encoder.columns.check(list(rows[0]))
        whole = _fit_rows(encoder, rows, where, problems)
        if not whole:
            return report
        examples, dropped = _within_limits(encoder, whole, report, where, problems)
        report.prompts = Lengths.of([len(example.prompt_ids) for example in whole])
        report.demonstrations = _lengths(whole)
        _count_left_out(report, whole)
        report.used = len(examples)
        report.repeated = _repeated(examples)
    with problems.collecting():
        if report.prompts is not None:
            if examples:
                data.examples.setdefault(split, {})[name] = examples
            data.check_examples(split, name, encoder, examples, dropped)
    return report


def shared_prompts(examples: Sequence[Example], others: Sequence[Example]) -> Counted:
    """Return the prompts that others also contain, token for token.

    Args:
        examples: Examples to count.
        others: Examples to compare with.
    """
    known, shared = {tuple(example.prompt_ids) for example in others}, Counted()
    for example in examples:
        if tuple(example.prompt_ids) in known:
            shared.add(example.row)
    return shared


def _fit_rows(encoder: ExampleEncoder, rows: Sequence[Row], where: str, problems: Problems) -> list[Example]:
    """Return the rows that can be tokenised, and add the errors of the others to ``problems``."""
    numbered = rows if isinstance(rows, NumberedRows) else NumberedRows(rows, range(len(rows)))
    unfit: dict[int, Exception] = {}
    try:
        with _warning_at_the_end():
            return encoder.tokenize(numbered)
    except FAULTS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            left = _find_unfit(encoder, numbered, range(len(rows)), unfit)
    for error in unfit.values():
        with problems.collecting(), naming(f"{where} data"):
            raise error
    if left:
        problems.add(GFTValueError(f"{where} data: {left} more rows were not checked, after {len(unfit)} unfit ones"))
    if left or len(unfit) == len(rows):
        return []
    return encoder.tokenize(_subset(numbered, [place for place in range(len(rows)) if place not in unfit]))


@contextmanager
def _warning_at_the_end() -> Iterator[None]:
    """Context that delays warnings to its end; an error discards them, as the rows are then tokenised again."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        warnings.warn(warning.message, stacklevel=3)


def _find_unfit(encoder: ExampleEncoder, rows: NumberedRows, places: range, unfit: dict[int, Exception]) -> int:
    """Find rows that cannot be tokenised by bisection, and return the number of rows that were not checked."""
    if len(unfit) >= _MOST_UNFIT:
        return len(places)
    try:
        encoder.tokenize(_subset(rows, places))
    except FAULTS as error:
        if len(places) == 1:
            unfit[places[0]] = error
            return 0
        half = len(places) // 2
        return sum(_find_unfit(encoder, rows, part, unfit) for part in (places[:half], places[half:]))
    return 0


def _subset(rows: NumberedRows, places: Sequence[int]) -> NumberedRows:
    return NumberedRows([rows[place] for place in places], [rows.positions[place] for place in places])


def _within_limits(
    encoder: ExampleEncoder, whole: Sequence[Example], report: DataSetReport, where: str, problems: Problems
) -> tuple[list[Example], Counter[str]]:
    examples, dropped = [], Counter[str]()
    for each in whole:
        with problems.collecting(), naming(f"{where} data"):
            example, too_long = encoder.fit(each)
            dropped += too_long
            for part, count in too_long.items():
                what = "prompts" if part == "prompt" else f"{part} demonstrations"
                report.dropped.setdefault(f"overlong {what}", Counted()).add(each.row, count)
            if example is not None:
                examples.append(example)
    return examples, dropped


def _lengths(whole: Sequence[Example]) -> dict[str, Lengths]:
    lengths = {
        role: [len(r.token_ids) for row in whole for r in row.demonstrations[role]] for role in whole[0].demonstrations
    }
    for source in whole[0].stored:
        lengths[f"stored {source}"] = [len(r.token_ids) for row in whole for r in row.stored.get(source, [])]
    return {name: Lengths.of(of_name) for name, of_name in lengths.items() if of_name}


def _count_left_out(report: DataSetReport, whole: Sequence[Example]) -> None:
    for example in whole:
        for what, count in example.left_out.items():
            report.dropped.setdefault(what, Counted()).add(example.row, count)
        for role, given in example.demonstrations.items():
            if not given:
                report.dropped.setdefault(f"rows without a demonstration for {role}", Counted()).add(example.row)


def _repeated(examples: Sequence[Example]) -> Counted:
    seen: set[tuple[int, ...]] = set()
    repeated = Counted()
    for example in examples:
        prompt = tuple(example.prompt_ids)
        if prompt in seen:
            repeated.add(example.row)
        seen.add(prompt)
    return repeated
