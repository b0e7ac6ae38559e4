"""Rows from files, folders, saved data sets and the hub, with their exact values."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import datasets
import pyarrow

from lightning_gft.checks import with_value
from lightning_gft.data.files import KINDS, DataFile, suffix_of
from lightning_gft.data.paths import SOURCES, address_fault, check_not_model, check_path, may_be_on_hub
from lightning_gft.data.repositories import Splits, find_in_folder, find_on_hub
from lightning_gft.data.selection import Piece, Rows
from lightning_gft.data.stored_table import StoredTable
from lightning_gft.data.tables import DatasetTable, JoinedTable, Table
from lightning_gft.errors import GFTValueError, remedies
from lightning_gft.hub import near
from lightning_gft.stored import is_stored
from lightning_gft.stored.reading import folder_nearby, is_shard

Found = Mapping[str, Sequence[DataFile] | datasets.Dataset | Table]
"""Sources of the rows of each split."""

_SLICES = "a split, slices such as 'train[:1000]' or 'train[80%:]', or a sum of them such as 'train+test[:10%]'"
_SPLIT_NAME = re.compile(r"[\[(]")


def load_rows(
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    split: str | None = None,
    path_field: str = "path",
    split_field: str = "split",
) -> Rows:
    r"""Load one split of a data set, or slices of its splits.

    Values are those of the file: JSON text ``"007"`` is a text, whatever is in other rows, and an object keeps only its
    own keys. All values of .csv and .tsv files are texts, and an empty cell is ``None``. A column that a row lacks is
    ``None`` in it. A file, and files found by a glob, are one split, ``"train"``.

    Args:
        path: A file of one of :data:`~lightning_gft.data.files.KINDS`, which may be compressed (.gz, .bz2, .xz), a glob
            or folder of them, a folder written by ``save_to_disk`` or ``lightning-gft predict``, or the name of a data
            set on the hub.
        name: Configuration of a data set on the hub, or of a folder's README.md.
        split: A split, slices such as ``train[:1000]`` or ``train[80%:]``, or a sum of them such as ``train+test``;
            ``None`` takes the only split, if there is one.
        path_field: Name of ``path`` in errors.
        split_field: Name of ``split`` in errors.

    Returns:
        The rows, which are read from Parquet files and saved data sets when they are accessed.

    Raises:
        FileNotFoundError: If there is no data at the path.
        ValueError: If the data are of an unknown format or damaged, lack the split or have no rows.
        OSError: If they cannot be opened.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "rows.jsonl")
        >>> _ = file.write_text('{"prompt": "Which agent?", "answer": "007"}\n{"prompt": "1+1=", "answer": 2}')
        >>> list(load_rows(file, split="train[:1]"))
        [{'prompt': 'Which agent?', 'answer': '007'}]
    """
    return find_splits(path, name, path_field).choose(split, split_field)


def find_splits(path: str | os.PathLike[str], name: str | None = None, path_field: str = "path") -> SplitTables:
    """Find the splits of a data set; see :func:`load_rows`."""
    path = os.fspath(path)
    check_path(path_field, path)
    where = with_value(path_field, path)
    with _named(where):
        return SplitTables(_find_splits(path, name, where), where)


def _find_splits(path: str, name: str | None, where: str) -> Found:
    local = os.path.expanduser(path)  # noqa: PTH111  # `Path.expanduser` raises for a user that does not exist
    if "://" in path:
        raise FileNotFoundError(address_fault(path, where))
    # Unlike `Path`'s methods, these return false for a name that is too long.
    if os.path.isdir(local):  # noqa: PTH112
        return _find_in_folder(Path(local), name, where)
    is_file, is_glob = os.path.isfile(local), glob.has_magic(local)  # noqa: PTH113
    if name is not None and (is_file or is_glob):
        raise GFTValueError(
            f"`name`: expected none for files, got {name!r} with {where}; it chooses a configuration of a data set: "
            "leave it out"
        )
    if is_file:
        _check_not_shards([Path(local)], where)
        return {"train": _data_files([Path(local)], where)}
    if is_glob:
        found = sorted(glob.glob(local, recursive=True))  # noqa: PTH207  # `Path.glob` takes no absolute pattern
        files = [Path(file) for file in found if Path(file).is_file()]
        if not files:
            raise FileNotFoundError(f"{where}: expected files that match it, got none; give {SOURCES}")
        _check_not_shards(files, where)
        return {"train": _data_files(files, where)}
    if os.path.lexists(local):
        what = "a link to a file that does not exist" if os.path.islink(local) else "neither a file nor a folder"  # noqa: PTH114
        raise FileNotFoundError(f"{where}: expected data, got {what}; give {SOURCES}")
    if suffix_of(Path(local)) in KINDS or not may_be_on_hub(path):
        beside = near(local, files=True)
        remedy = remedies(beside, "" if beside.endswith("?") else f"give {SOURCES}")
        raise FileNotFoundError(f"{where}: expected a path that exists, got one that does not exist{remedy}")
    return find_on_hub(path, name, where)


def _check_not_shards(files: Sequence[Path], where: str) -> None:
    """Raise an error for shards of groups, which would be read as rows of responses."""
    first = files[0]  # the only one checked, as there may be thousands
    if suffix_of(first) == ".parquet" and is_shard(first):
        raise GFTValueError(f"{where}: expected data, got groups that predict has written; give {first.parent}")


def _find_in_folder(folder: Path, name: str | None, where: str) -> Found:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _load_saved(folder, where)
    if is_stored(folder):
        if name is not None:
            raise GFTValueError(f"`name`: expected none for {where}, a folder of groups, got {name!r}; set it to null")
        return {"train": StoredTable(folder)}
    check_not_model(folder, where)
    if near := folder_nearby(folder):
        raise GFTValueError(f"{where}: expected data, got a folder that contains folders of groups; give {near}")
    files = sorted(
        file for file in folder.rglob("*") if suffix_of(file) in KINDS and _is_data(file.relative_to(folder))
    )
    if not files:
        raise FileNotFoundError(f"{where}: expected a folder with data files, got one without; give {SOURCES}")
    _data_files(files, where)  # checks that they have one format
    return find_in_folder(folder, name)


def _data_files(files: Sequence[Path], where: str) -> list[DataFile]:
    suffixes = Counter(suffix_of(file) for file in files)
    if not suffixes.keys() <= KINDS.keys():
        unknown = ", ".join(sorted({file.suffix or "none" for file in files if suffix_of(file) not in KINDS}))
        raise GFTValueError(
            f"{where}: expected files of a format that can be read, got the suffix {unknown}; give {SOURCES}"
        )
    if len({KINDS[suffix] for suffix in suffixes}) > 1:
        found = ", ".join(f"{count} {suffix}" for suffix, count in sorted(suffixes.items()))
        raise GFTValueError(
            f"{where}: expected files of one format, got {found}; choose them by a glob, as in "
            f"{str(files[0].with_name('*' + suffix_of(files[0])))!r}, or move the others elsewhere"
        )
    return [DataFile.of(file) for file in files]


def _is_data(file: Path) -> bool:
    # Like the library, skip hidden files and those that describe the data.
    hidden = any(part.startswith((".", "__")) for part in file.parts)
    return not hidden and file.name not in datasets.data_files.FILES_TO_IGNORE


def _load_saved(folder: Path, where: str) -> Splits:
    try:
        saved = datasets.load_from_disk(str(folder))
    except (FileNotFoundError, KeyError, ValueError, pyarrow.ArrowException) as error:
        raise GFTValueError(
            f"{where}: expected a complete folder of `save_to_disk`, got one that cannot be read ({error}); save it "
            "again"
        ) from error
    return dict(saved) if isinstance(saved, datasets.DatasetDict) else {"train": saved}


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Prefix errors raised while reading data with the name of the data."""
    try:
        yield
    except ValueError as error:
        if where in f"{error}":
            raise
        raise GFTValueError(f"{where}: {error}") from error
    except OSError as error:
        if where in f"{error}":
            raise
        # The system's errors have one of Python's own classes, such as PermissionError; a library's class may take
        # other arguments.
        kind = OSError if error.errno is None else type(error)
        raise kind(f"{where}: expected data that can be opened, got: {error}") from error


def _read_files(files: Sequence[DataFile]) -> Table:
    tables = [file.read() for file in files]
    for file, table in zip(files, tables, strict=True):
        if file.kind != "json" and set(table.columns) != set(tables[0].columns):
            raise GFTValueError(
                f"{file.path.name}: expected the columns of {files[0].path.name}, {_listed(tables[0].columns)}, got "
                f"{_listed(table.columns)}; give files with the same columns"
            )
    return JoinedTable(tables)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _table(source: Sequence[DataFile] | datasets.Dataset | Table) -> Table:
    if isinstance(source, Table):
        return source
    return DatasetTable(source) if isinstance(source, datasets.Dataset) else _read_files(source)


class SplitTables:
    """The rows of each split, which are read once, at the first access."""

    def __init__(self, splits: Found, where: str) -> None:
        self._splits, self._where = splits, where
        self._read: dict[str, Table] = {}

    def choose(self, split: str | None, field: str) -> Rows:
        """Return the rows of a split, of slices, or of the only split; see :func:`load_rows`."""
        if split is None and len(self._splits) > 1:
            raise GFTValueError(
                f"{self._where}: expected one split, got {_listed(self._splits)}; choose one with `{field}`"
            )
        name = next(iter(self._splits)) if split is None else split
        if name in self._splits:
            pieces = [Piece(name, self._table(name), range(len(self._table(name))))]
        else:
            pieces = self._slices(name, field)
        rows = Rows(pieces)
        if len(rows) == 0:
            sizes = ", ".join(f"{len(piece.table)} in {piece.split!r}" for piece in pieces)
            raise GFTValueError(
                f"{self._where}: expected rows, got none"
                + (
                    f" in {field}={split!r} (rows: {sizes}); choose others"
                    if split is not None
                    else "; give other data"
                )
            )
        return rows

    def _slices(self, spec: str, field: str) -> list[Piece]:
        names = [_SPLIT_NAME.split(part)[0].strip() for part in spec.split("+")]
        missing = [name for name in names if name not in self._splits]
        lengths = {name: len(self._table(name)) for name in names if name not in missing}
        try:
            instruction = datasets.ReadInstruction.from_spec(spec)
            spans = [] if missing else instruction.to_absolute(lengths)
        except (ValueError, AssertionError) as error:
            raise GFTValueError(
                f"{with_value(field, spec)}: expected {_SLICES}, of {_listed(self._splits)}, got {error}"
            ) from error
        if missing:
            raise GFTValueError(
                f"{with_value(field, spec)}: expected a split of {self._where}, {_listed(self._splits)}, got "
                f"{missing[0]!r}; name one of these"
            )
        return [
            Piece(span.splitname, self._table(span.splitname), range(span.from_, max(span.from_, span.to)))
            for span in spans
        ]

    def _table(self, split: str) -> Table:
        if split not in self._read:
            source = self._splits[split]
            with _named(self._where):
                self._read[split] = _table(source)
        return self._read[split]
