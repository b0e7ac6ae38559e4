"""Rescores a folder of stored groups, shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from lightning_gft.checkpoint import describe_scoring, identify
from lightning_gft.errors import GFTValueError
from lightning_gft.rescoring.changes import Changes
from lightning_gft.rescoring.scoring import check_groups, rescore_groups
from lightning_gft.sampler import GroupSampler
from lightning_gft.stored import StoredGroup, StoredGroups, StoredInfo, is_stored
from lightning_gft.stored.reading import read_info
from lightning_gft.stored.writing import remove_unfinished, write_groups


def rescore_folder(
    sampler: GroupSampler,
    groups: Path,
    output: Path,
    tolerance: float = 1e-6,
    report: Callable[[int, int], None] = lambda done, of: None,
) -> Changes:
    """Write stored groups with the rewards of a sampler to another folder, and return the changes.

    Groups that an interrupted run has already written there are not scored again.

    Args:
        sampler: The sampler with the rewards, their total and the advantage.
        groups: Folder of stored groups.
        output: Folder to write to: new, empty, or begun by the same rescoring.
        tolerance: Largest difference of two scores that count as equal.
        report: Called after each shard, with the number of completed shards and the number of all.

    Raises:
        ValueError: If a folder holds anything else, or the data of a group do not suit a reward.
        RewardError: If a reward fails.
    """
    stored = StoredGroups(groups)
    info = rescored_info(sampler, stored.info)
    check_output(groups, output, info)
    remove_unfinished(output)
    for shard in stored.shards:
        if not (output / shard.name).exists():
            check_groups(sampler, stored.read(shard))
    changes, written = Changes(tolerance), StoredGroups(output) if is_stored(output) else None
    for done, shard in enumerate(stored.shards, start=1):
        before = stored.read(shard)
        if written is not None and (output / shard.name).exists():
            now = _same_prompts(before, written.read(output / shard.name), shard)
        else:
            batches = [[*batch] for _, batch in groupby(before, key=lambda group: group.step)]
            now = [group for batch in batches for group in rescore_groups(sampler, batch)]
            write_groups(output / shard.name, now, info)
            changes.scored += len(now)
        changes.add(before, now)
        report(done, len(stored.shards))
    return changes


def rescored_info(sampler: GroupSampler, info: StoredInfo) -> StoredInfo:
    """Return the description that rescored shards store.

    Args:
        sampler: The sampler with the rewards, their total and the advantage.
        info: Description of the original shards.
    """
    kept = {name: words for name, words in info.settings.items() if not name.startswith("reward `")}
    weights = {name: float(reward.weight) for name, reward in sampler.rewards.items()}
    return replace(info, rewards=weights, settings={**kept, **describe_scoring(sampler, identify)})


def check_output(groups: Path, output: Path, info: StoredInfo) -> None:
    """Raise an error for a folder that holds anything but the begun output of the same rescoring.

    Args:
        groups: Folder to read.
        output: Folder to write to.
        info: Description that its shards will store.

    Raises:
        ValueError: If the folder holds anything else.
    """
    if output.resolve() == groups.resolve():
        raise GFTValueError(
            f"`output`: expected another folder than groups, got {output}; its scores are never changed"
        )
    if groups.resolve() in output.resolve().parents:
        raise GFTValueError(f"`output`: expected a folder outside of groups, got {output}; choose one beside {groups}")
    shards = sorted(output.glob("*.parquet")) if is_stored(output) else []
    if not shards and output.exists() and (not output.is_dir() or any(_visible(output))):
        raise GFTValueError(f"`output`: expected a new or empty folder, got {output} with other files; choose another")
    for shard in shards:
        begun = read_info(shard)
        if begun != info:
            names = {**begun.settings, **info.settings}
            differing = [name for name in names if begun.settings.get(name) != info.settings.get(name)]
            raise GFTValueError(
                f"`output`: expected a new folder or one that the same rescoring has begun, got {output}, whose groups "
                f"have other settings ({', '.join(differing) or 'of their data'}); choose another"
            )


def _same_prompts(before: Sequence[StoredGroup], written: list[StoredGroup], shard: Path) -> list[StoredGroup]:
    """Return the groups of an existing shard, or raise an error if it holds other prompts."""
    if [group.prompt_token_ids for group in written] != [group.prompt_token_ids for group in before]:
        raise GFTValueError(
            f"`output`: expected groups of the same prompts in {shard.name}, got others; choose another folder"
        )
    return written


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]
