"""Reads the groups that a run has kept, even while the run continues."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_gft.errors import GFTValueError
from lightning_gft.record import SAMPLES
from lightning_gft.samples.schema import Kind, SampledGroup
from lightning_gft.samples.tables import from_table, read_notes

if TYPE_CHECKING:
    import pyarrow as pa

_NAME = re.compile(r"(train|val)-(\d{6,})\.parquet")


class SampleFile(NamedTuple):
    """A file with the groups of one step."""

    kind: Kind
    step: int
    path: Path


def sample_path(folder: Path, kind: Kind, step: int) -> Path:
    """Return the path of the file for the groups of a step.

    Example:
        >>> sample_path(Path("samples"), "train", 40).name
        'train-000040.parquet'
    """
    return folder / f"{kind}-{step:06d}.parquet"


def sample_files(folder: Path) -> list[SampleFile]:
    """Return the files of groups in a folder in the order of steps; empty if the folder does not exist."""
    names = ((_NAME.fullmatch(path.name), path) for path in folder.glob("*.parquet"))
    files = [SampleFile("train" if name[1] == "train" else "val", int(name[2]), path) for name, path in names if name]
    return sorted(files, key=lambda file: (file.step, file.kind))


def count_groups(path: Path) -> int:
    """Return the number of groups in a file."""
    from pyarrow import parquet

    return int(_checked(path, lambda: read_notes(parquet.read_schema(path).metadata or {})["groups"]))


def read_samples(folder: Path) -> list[SampledGroup]:
    """Return the groups that a run has kept, in the order of steps; empty if there are none.

    The run may thin out its files meanwhile; a file that disappears before it is opened is skipped.

    Args:
        folder: The run's log folder, such as ``lightning_logs/version_0``.

    Raises:
        ValueError: If a file is damaged, or a later version of the package has written it.

    Example:
        >>> read_samples(Path("nowhere"))
        []
    """
    return [group for file in sample_files(folder / SAMPLES) for group in read_file(file)]


def read_file(file: SampleFile) -> list[SampledGroup]:
    """Return the groups of a file; empty if the run has removed the file in the meantime.

    Raises:
        ValueError: If the file is damaged, or a later version of the package has written it.
    """
    try:
        return list(_checked(file.path, lambda: from_table(_table(file.path))))
    except FileNotFoundError:
        return []


def _table(path: Path) -> pa.Table:
    from pyarrow import parquet

    with path.open("rb") as file:
        return parquet.ParquetFile(file).read()


def _checked(path: Path, read: Any) -> Any:
    import pyarrow as pa

    try:
        return read()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        raise GFTValueError(f"{path}: expected a complete file of groups, got {error}; remove it") from error
    except GFTValueError as error:
        raise GFTValueError(f"{path}: {error}") from error
