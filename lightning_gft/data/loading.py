"""Rows from files, folders and the hub, through the ``datasets`` library."""

from __future__ import annotations

import glob
import re
from collections import Counter
from pathlib import Path
from typing import Any

import datasets

from lightning_gft.data.faults import check_files, csv_header, find_fault, json_rows

READERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}
"""Kinds of files that are read, by the reader of the ``datasets`` library for each."""

_KINDS = (
    "a .json, .jsonl, .csv or .parquet file, a glob or folder of them, a folder written by `save_to_disk`, or the name "
    "of a data set on the hub"
)
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def load_rows(
    path: str,
    *,
    name: str | None = None,
    split: str | None = None,
    path_field: str = "path",
    split_field: str = "split",
) -> datasets.Dataset:
    """Load one split of a data set.

    A file, and files found by a glob, are one split, ``"train"``. All values of a .csv file are texts and an empty cell
    is ``None``, so that an answer ``007`` or ``NA`` stays what it is.

    Args:
        path: A .json, .jsonl, .csv or .parquet file, a glob or folder of them, a folder written by ``save_to_disk``, or
            the name of a data set on the hub.
        name: Configuration of a data set on the hub.
        split: Name of the split; ``None`` takes the only one that there is.
        path_field: What errors call ``path``.
        split_field: What errors call ``split``.

    Raises:
        FileNotFoundError: If there is nothing to load.
        ValueError: If it is of an unknown kind, broken, lacks the split or has no rows.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "rows.jsonl")
        >>> _ = file.write_text('{"prompt": "1+1=", "answer": "2"}')
        >>> load_rows(str(file))[0]
        {'prompt': '1+1=', 'answer': '2'}
    """
    where = f"{path_field}={path!r}"
    splits = _load_splits(path, name, where)
    if split is None and len(splits) > 1:
        raise ValueError(f"{where} has the splits {_listed(splits)}: choose one by `{split_field}`")
    if split is not None and split not in splits:
        raise ValueError(f"{split_field}={split!r} is not a split of {where}, which has {_listed(splits)}")
    rows = splits[split if split is not None else next(iter(splits))]
    if len(rows) == 0:
        raise ValueError(f"{where} has no rows" + (f" in {split_field}={split!r}" if split is not None else ""))
    return rows


def _load_splits(path: str, name: str | None, where: str) -> dict[str, datasets.Dataset]:
    local = Path(path).expanduser()
    if name is not None and (local.is_file() or glob.has_magic(path)):
        raise ValueError(f"name={name!r} chooses a configuration of a data set, but {where} is files: leave it out")
    if local.is_file():
        return _load_files([local], where)
    if local.is_dir():
        return _load_folder(local, name, where)
    if glob.has_magic(path):
        found = sorted(glob.glob(str(local), recursive=True))  # noqa: PTH207  # `Path.glob` takes no absolute pattern
        files = [Path(file) for file in found if Path(file).is_file()]
        if not files:
            raise FileNotFoundError(f"{where} matches no file: give {_KINDS}")
        return _load_files(files, where)
    if local.suffix in READERS or not _HUB_NAME.fullmatch(path):
        raise FileNotFoundError(f"{where} does not exist: give {_KINDS}")
    return _load_from_hub(path, name, where)


def _load_files(files: list[Path], where: str) -> dict[str, datasets.Dataset]:
    kinds = {file.suffix for file in files}
    if not kinds <= READERS.keys():
        raise ValueError(f"{where} is of a kind that cannot be read ({', '.join(sorted(kinds))}): give {_KINDS}")
    _check_kinds(files, where)
    splits = _read(files, where, READERS[kinds.pop()], data_files=list(map(str, files)))
    if files[0].suffix != ".parquet" and _has_dates(splits):
        # The library takes a text such as 2024-01-31 for a date, which no response would equal.
        return {"train": datasets.Dataset.from_list([row for file in files for row in json_rows(file)])}
    return splits


def _load_folder(folder: Path, name: str | None, where: str) -> dict[str, datasets.Dataset]:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _load_saved(folder, where)
    files = sorted(file for file in folder.rglob("*") if file.suffix in READERS and _is_data(file.relative_to(folder)))
    if not files:
        raise FileNotFoundError(f"{where} is a folder without anything to read: give {_KINDS}")
    _check_kinds(files, where)
    splits = _read(files, where, str(folder), name)
    if files[0].suffix != ".parquet" and _has_dates(splits):
        raise ValueError(
            f"{where}: texts that look like dates would be read as such; give the files themselves, as in "
            f"{str(folder / ('*' + files[0].suffix))!r}"
        )
    return splits


def _has_dates(splits: dict[str, datasets.Dataset]) -> bool:
    schemas = " ".join(str(rows.features.arrow_schema) for rows in splits.values())
    return re.search(r"\b(timestamp|date32|date64|time32|time64)\[", schemas) is not None


def _check_kinds(files: list[Path], where: str) -> None:
    kinds = Counter(file.suffix for file in files)
    if len({READERS[kind] for kind in kinds}) > 1:
        found = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        glob_of_one = str(files[0].with_name(f"*{files[0].suffix}"))
        raise ValueError(
            f"{where} has files of different kinds ({found}), which cannot be read together: say which by a glob, as "
            f"in {glob_of_one!r}, or put the others elsewhere"
        )


def _is_data(file: Path) -> bool:
    # As the library sees it: what is hidden, or describes the data, is none of them.
    hidden = any(part.startswith((".", "__")) for part in file.parts)
    return not hidden and file.name not in datasets.data_files.FILES_TO_IGNORE


def _load_saved(folder: Path, where: str) -> dict[str, datasets.Dataset]:
    try:
        saved = datasets.load_from_disk(str(folder))
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise ValueError(f"{where} is not whole, as `save_to_disk` leaves a folder: save it again ({error})") from error
    return dict(saved) if isinstance(saved, datasets.DatasetDict) else {"train": saved}


def _read(files: list[Path], where: str, *args: Any, **kwargs: Any) -> dict[str, datasets.Dataset]:
    try:
        check_files(files)
    except ValueError as error:
        raise ValueError(f"{where} cannot be read: {error}") from error
    try:
        return dict(datasets.load_dataset(*args, **kwargs, **_reader_options(files)))
    except StopIteration as error:  # the library's for files without anything but white space
        raise ValueError(f"{where} has no rows") from error
    except (ValueError, datasets.exceptions.DatasetsError) as error:
        found = next((fault for file in files if (fault := find_fault(file))), None)
        if found is None and "corresponds to no data" in str(error):
            raise ValueError(f"{where} has no rows") from error
        raise ValueError(f"{where} cannot be read: {found or error.__cause__ or error}") from error


def _load_from_hub(path: str, name: str | None, where: str) -> dict[str, datasets.Dataset]:
    try:
        return dict(datasets.load_dataset(path, name))
    except (ConnectionError, FileNotFoundError, ValueError) as error:  # the last for an unknown configuration
        raise FileNotFoundError(
            f"{where} is neither here nor to be had from the hub ({error}): give {_KINDS}"
        ) from error


def _reader_options(files: list[Path]) -> dict[str, Any]:
    if files[0].suffix != ".csv":
        return {}
    texts = datasets.Features({column: datasets.Value("string") for column in csv_header(files[0])})
    return {"features": texts, "keep_default_na": False, "na_values": [""]}


def _listed(names: dict[str, datasets.Dataset]) -> str:
    return ", ".join(map(repr, names))
