"""The folder of kept groups: one file for each step, thinned out evenly so that a run of any length stays bounded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_gft.errors import GFTValueError
from lightning_gft.samples import Kind, SampledGroup, to_table
from lightning_gft.samples.reading import SampleFile, count_groups, sample_files, sample_path
from lightning_gft.stored.writing import set_aside, write_table


class SampleFolder:
    """Writes the groups of steps to files: at first of every step, later of fewer.

    Steps are counted in strides, and the first step of each stride that has groups is kept. When the folder holds too
    many groups, the stride doubles. Training and validation have separate strides; the one with more groups is thinned
    out first.

    Args:
        folder: Folder of the files; created if missing.
        keep: Most groups in the folder.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep
        self._strides: dict[Kind, int] = {"train": 1, "val": 1}
        self._counts: dict[SampleFile, int] = {}

    def begin(self, step: int) -> list[str]:
        """Take over the files of a run that resumes, and remove those after its step, which it writes again.

        Args:
            step: Optimizer steps of the run at its start; 0 for a new run.

        Returns:
            For each unreadable file, its fault and its new name.

        Raises:
            OSError: If a file cannot be removed or renamed.
        """
        for path in self.folder.glob(".*.parquet-*"):  # partial files of a run that was killed
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
        """Return whether the groups of a step are to be kept."""
        stride = self._strides[kind]
        return not any(
            file.kind == kind and file.step != step and file.step // stride == step // stride for file in self._counts
        )

    def write(self, groups: Sequence[SampledGroup]) -> None:
        """Write the groups of a step, and thin out the folder if it then holds too many.

        Args:
            groups: One or more groups of the same step and kind.

        Raises:
            OSError: If the disk cannot store them.
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
        """Return the kind with the most groups, or ``None`` if neither has two files to choose from."""
        groups: dict[Kind, list[int]] = {}
        for file, count in self._counts.items():
            groups.setdefault(file.kind, []).append(count)
        several = {kind: sum(counts) for kind, counts in groups.items() if len(counts) > 1}
        return max(several, key=lambda kind: several[kind], default=None)
