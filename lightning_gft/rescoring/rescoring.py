"""A folder of groups scored anew, shard by shard."""

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
    """Write stored groups with the rewards of a sampler to another folder, and return what has changed.

    What an interrupted run has written there is not scored again.

    Args:
        sampler: Has the rewards, their total and the advantage.
        groups: Folder of stored groups.
        output: Folder to write to: new, empty, or begun by the same rescoring.
        tolerance: Scores that differ by no more are the same.
        report: Called after each shard, with the number of shards that are done and the number of all.

    Raises:
        ValueError: If a folder holds something else, or the data of a group are unfit for a reward.
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
    """Return what shards say of themselves that are scored anew.

    Args:
        sampler: Has the rewards, their total and the advantage.
        info: That of the shards as they are.
    """
    kept = {name: words for name, words in info.settings.items() if not name.startswith("reward `")}
    weights = {name: float(reward.weight) for name, reward in sampler.rewards.items()}
    return replace(info, rewards=weights, settings={**kept, **describe_scoring(sampler, identify)})


def check_output(groups: Path, output: Path, info: StoredInfo) -> None:
    """Refuse a folder that holds anything but what the same rescoring has begun.

    Args:
        groups: Folder that is read.
        output: Folder that is written to.
        info: What its shards will say of themselves.

    Raises:
        ValueError: If it holds something else.
    """
    if output.resolve() == groups.resolve():
        raise GFTValueError(f"`output`: expected another folder than groups, got {output}; the scores there are kept")
    if groups.resolve() in output.resolve().parents:
        raise GFTValueError(f"`output`: expected a folder outside of groups, got {output}; choose one beside {groups}")
    shards = sorted(output.glob("*.parquet")) if is_stored(output) else []
    if not shards and output.exists() and (not output.is_dir() or any(_visible(output))):
        raise GFTValueError(f"`output`: expected a new or empty folder, got {output}, which holds other things")
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
    """Return what was written before, unless it is of other groups."""
    if [group.prompt_token_ids for group in written] != [group.prompt_token_ids for group in before]:
        raise GFTValueError(
            f"`output`: expected groups of the same prompts in {shard.name}, got others; choose another folder"
        )
    return written


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]
