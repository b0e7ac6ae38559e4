"""The folder of kept groups: a file a step, thinned out evenly so that a run of any length keeps so many at most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_gft.errors import GFTValueError
from lightning_gft.samples import Kind, SampledGroup, to_table
from lightning_gft.samples.reading import SampleFile, count_groups, sample_files, sample_path
from lightning_gft.stored.writing import set_aside, write_table


class SampleFolder:
    """Writes the groups of steps, at first of each.

    Steps are counted in strides, and the first one of each stride that has groups is kept. When there are more groups
    than are to be kept, the strides become twice as long. Training and validation have strides of their own, and the
    one with more groups gives some up first.

    Args:
        folder: Need not exist.
        keep: Most groups in it.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep
        self._strides: dict[Kind, int] = {"train": 1, "val": 1}
        self._counts: dict[SampleFile, int] = {}

    def begin(self, step: int) -> list[str]:
        """Take on what is there of a run that resumes; what it wrote after that step comes again, and is removed.

        Args:
            step: Optimizer steps taken by the run as it begins; 0 for one that is new.

        Returns:
            What is wrong with each file that cannot be read, and where it is now.

        Raises:
            OSError: If a file cannot be removed or renamed.
        """
        for path in self.folder.glob(".*.parquet-*"):  # what a run was writing when it was killed
            path.unlink(missing_ok=True)
        self._counts, faults = {}, []
        for file in sample_files(self.folder):
            if file.step > step:
                file.path.unlink(missing_ok=True)
                continue
            try:
                self._counts[file] = count_groups(file.path)
            except GFTValueError as fault:
                faults.append(f"{str(fault).rpartition('; ')[0]}; set aside as {set_aside(file.path).name}")
        self._thin_out()
        return faults

    def wants(self, kind: Kind, step: int) -> bool:
        """Tell whether the groups of a step are to be kept."""
        stride = self._strides[kind]
        return not any(
            file.kind == kind and file.step != step and file.step // stride == step // stride for file in self._counts
        )

    def write(self, groups: Sequence[SampledGroup]) -> None:
        """Write the groups of a step, and thin out what there is if that makes too many.

        Args:
            groups: At least one; all of one step and of one kind.

        Raises:
            OSError: If the disk does not take them.
        """
        kind, step = groups[0].kind, groups[0].step
        path = sample_path(self.folder, kind, step)
        write_table(path, to_table(groups))
        self._counts[SampleFile(kind, step, path)] = len(groups)
        self._thin_out()

    def _thin_out(self) -> None:
        while sum(self._counts.values()) > self.keep and (kind := self._largest()) is not None:
            self._strides[kind] *= 2
            seen: set[int] = set()
            for file in sorted(file for file in self._counts if file.kind == kind):
                stride = file.step // self._strides[kind]
                if stride in seen:
                    file.path.unlink(missing_ok=True)
                    del self._counts[file]
                seen.add(stride)

    def _largest(self) -> Kind | None:
        """Return the kind with the most groups; ``None`` if none has two files to choose from."""
        groups: dict[Kind, list[int]] = {}
        for file, count in self._counts.items():
            groups.setdefault(file.kind, []).append(count)
        several = {kind: sum(counts) for kind, counts in groups.items() if len(counts) > 1}
        return max(several, key=lambda kind: several[kind], default=None)
