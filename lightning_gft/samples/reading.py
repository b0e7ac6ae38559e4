"""Reading the groups that a run has kept, also while it keeps more."""

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
    """A file of groups: those of one step."""

    kind: Kind
    step: int
    path: Path


def sample_path(folder: Path, kind: Kind, step: int) -> Path:
    """Return the path of the groups of a step.

    Example:
        >>> sample_path(Path("samples"), "train", 40).name
        'train-000040.parquet'
    """
    return folder / f"{kind}-{step:06d}.parquet"


def sample_files(folder: Path) -> list[SampleFile]:
    """Return the files of groups in a folder by their steps; empty if there is no such folder."""
    names = ((_NAME.fullmatch(path.name), path) for path in folder.glob("*.parquet"))
    files = [SampleFile("train" if name[1] == "train" else "val", int(name[2]), path) for name, path in names if name]
    return sorted(files, key=lambda file: (file.step, file.kind))


def count_groups(path: Path) -> int:
    """Return how many groups a file holds."""
    from pyarrow import parquet

    return int(_checked(path, lambda: read_notes(parquet.read_schema(path).metadata or {})["groups"]))


def read_samples(folder: Path) -> list[SampledGroup]:
    """Return the groups that a run has kept, by their steps; empty if it has kept none.

    A run may thin out its files meanwhile; one that is gone when it is opened is left out.

    Args:
        folder: The run's log folder, as ``lightning_logs/version_0``.

    Raises:
        ValueError: If a file is damaged, or a later version of the package has written it.

    Example:
        >>> read_samples(Path("nowhere"))
        []
    """
    return [group for file in sample_files(folder / SAMPLES) for group in read_file(file)]


def read_file(file: SampleFile) -> list[SampledGroup]:
    """Return the groups of a file; none where it is gone when it is opened, since the run has thinned it out.

    Raises:
        ValueError: If it is damaged, or a later version of the package has written it.
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
        raise GFTValueError(f"{path}: expected a whole file of groups, got {error}; take it out") from error
    except GFTValueError as error:
        raise GFTValueError(f"{path}: {error}") from error
