"""Generates the entries of one task, or of a mixture of tasks, without questions of other splits."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, islice
from random import Random
from typing import Any

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lightning_gft.checks import cut
from lightning_gft.errors import GFTValueError
from lightning_gft.gym.entries import GymEntry
from lightning_gft.gym.making import CHUNK, NONSENSE, EntryRequest
from lightning_gft.gym.tasks import Task
from lightning_gft.rewards.failures import Failed

_AHEAD, _SHORT_SECONDS = 32, 0.5
"""Entries of the first request; requests double as long as one takes no longer than this many seconds."""
_PROBED = 8
"""First entries of a task whose scorer is tested."""
_FAULTS = 20
"""Rejected entries before the first valid one, after which the whole task is rejected."""
_TRIED = 5
"""Scores of other answers that decide on a scorer."""
_PATIENCE = 50
"""Known questions in a row, after which the split repeats its own."""
_EXHAUSTED = 1000
"""Questions in a row that cannot be used, after which the task counts as exhausted."""
_QUIET_SECONDS = 10.0

Make = Callable[[Sequence[EntryRequest]], list[GymEntry | Failed]]


class EntryStream:
    """Entries of one task, drawn one by one, with new questions and valid answers.

    Args:
        task: The task that generates entries.
        config: Settings of the task.
        key: Seed of the entries, as a text.
        size: Number of entries to draw.
        make: Generates entries from requests.
        others: Questions of other splits, which are never drawn.
        own: Questions of this split, which are drawn again only if no others are left; updated by each draw.
    """

    def __init__(
        self, task: Task, config: Mapping[str, Any], key: str, size: int, make: Make, others: set[str], own: set[str]
    ) -> None:
        self.task, self.repeated = task, 0
        self._requests = _requests(task.task, config, key)
        self._left, self._ahead, self._make = size, _AHEAD, make
        self._others, self._own = others, own
        self._made: deque[GymEntry | Failed] = deque()
        self._fit, self._faults = 0, Counter[str]()
        self._accepted: dict[str, list[bool]] = {"nonsense": [], "other": []}
        self._repeats = False

    def draw(self) -> GymEntry:
        """Return the next entry.

        Raises:
            ValueError: If the task has no valid entries, or other splits hold all of its questions.
        """
        for missed in range(_EXHAUSTED):
            entry = self._fit_entry()
            self._repeats |= missed >= _PATIENCE
            question = entry.entry["question"]
            if question in self._others or (question in self._own and not self._repeats):
                continue
            self.repeated += question in self._own
            self._own.add(question)
            self._left -= 1
            return entry
        raise GFTValueError(
            f"`tasks.{self.task.name}`: expected more different questions than those of validation and test, got "
            f"{_EXHAUSTED} known ones in a row; lower val_size and test_size, or widen the task's config"
        )

    def _fit_entry(self) -> GymEntry:
        while True:
            made = self._next()
            if isinstance(made, Failed) and made.kind != "error":
                # Omitting it would make the rows depend on the speed and memory of the machine.
                raise GFTValueError(
                    f"`tasks.{self.task.name}`: expected entries that can be generated, got one that {made.message}; "
                    "choose smaller settings"
                )
            if isinstance(made, GymEntry) and made.scores.get("own", 1.0) == 1.0:
                self._fit += 1
                self._try_scorer(made.scores)
                return made
            self._count(_fault(made))

    def _next(self) -> GymEntry | Failed:
        if not self._made:
            began = time.monotonic()
            self._made.extend(self._make(list(islice(self._requests, max(1, min(self._left, self._ahead))))))
            self._ahead *= 2 if self._ahead < CHUNK and time.monotonic() - began < _SHORT_SECONDS else 1
        return self._made.popleft()

    def _count(self, fault: str) -> None:
        self._faults[fault] += 1
        total = self._faults.total()
        if total < _FAULTS:
            return
        first, often = self._faults.most_common(1)[0]
        if self._fit == 0:
            raise GFTValueError(
                f"`tasks.{self.task.name}`: expected a task with valid entries, got {self.task.task}, where "
                f"{cut(first, 300)} in {often} of the first {total}; leave it out, or change its settings"
            )
        if total == _FAULTS:
            rank_zero_warn(
                f"tasks.{self.task.name}: {total} of the first {total + self._fit} entries were left out, {often} of "
                f"them because {cut(first, 300)}"
            )

    def _try_scorer(self, scores: Mapping[str, float]) -> None:
        """Raise an error if the scorer accepts any answer, and warn if it accepts answers to other questions."""
        for answer, right in self._accepted.items():
            if answer in scores:
                right.append(scores[answer] >= 1.0)
            if answer not in scores or len(right) != _TRIED or not all(right):
                continue
            if answer == "nonsense":
                raise GFTValueError(
                    f"`tasks.{self.task.name}`: expected a task whose scorer tells right from wrong, got "
                    f"{self.task.task}, where the answer {NONSENSE!r} gets the full score; leave it out"
                )
            rank_zero_warn(
                f"tasks.{self.task.name}: the scorer of {self.task.task} accepts answers to other questions, so a "
                "policy may learn one answer for all"
            )


def _fault(made: GymEntry | Failed) -> str:
    if isinstance(made, Failed):
        return f"making one {made.message}"
    return f"its own answer scores {made.scores['own']:g}"


def _requests(task: str, config: Mapping[str, Any], key: str) -> Iterator[EntryRequest]:
    for chunk in count():
        # Seeds lie far apart: entry i of seed s usually equals entry i - 1 of seed s + 1.
        seed = Random(f"{key}/{chunk}").randrange(2**31)
        for index in range(CHUNK):
            yield EntryRequest(task, config, seed, index, tries_others=chunk == 0 and index < _PROBED)


def draw_mixture(
    tasks: Sequence[Task], size: int, key: str, make: Make, others: set[str], what: str = "train"
) -> list[tuple[Task, GymEntry]]:
    """Return entries of several tasks in a random order; the weight of a task determines its share.

    Args:
        tasks: The tasks. A task with a list of levels proceeds from its first level to its last one.
        size: Number of entries in total.
        key: Seed of the entries and their order, as a text.
        make: Generates entries from requests.
        others: Questions that no entry may have; the questions of the entries are added to it.
        what: Name of the entries in progress lines and warnings.

    Raises:
        ValueError: If a task's share is less than one entry, or a task has no valid entry.
    """
    own: set[str] = set()
    plan = [number for number, share in enumerate(_shares(tasks, size)) for _ in range(share)]
    Random(f"{key}/order").shuffle(plan)
    wanted = [(number, place * len(tasks[number].configs) // size) for place, number in enumerate(plan)]
    streams = {
        (number, level): EntryStream(
            tasks[number],
            tasks[number].configs[level],
            f"{key}/{tasks[number].name}/{level}",
            share,
            make,
            others,
            own,
        )
        for (number, level), share in Counter(wanted).items()
    }
    progress, drawn = _Progress(what, size), []
    for number, level in wanted:
        drawn.append((tasks[number], streams[number, level].draw()))
        progress.say(len(drawn), tasks[number].name)
    if repeated := sum(stream.repeated for stream in streams.values()):
        rank_zero_warn(
            f"{what} data: {repeated} of {size} rows repeat a question of another row, as their task has no more; to "
            "avoid this, lower the task's weight or the size, or widen its config"
        )
    others |= own
    return drawn


def _shares(tasks: Sequence[Task], size: int) -> list[int]:
    """Return the number of rows of each task, by the largest-remainder method."""
    if len(tasks) == 1:
        return [size]  # whatever the weight is
    total = sum(task.weight for task in tasks)
    exact = [size * task.weight / total for task in tasks]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(tasks)), key=lambda number: shares[number] - exact[number])
    for number in by_remainder[: size - sum(shares)]:
        shares[number] += 1
    if 0 in shares:
        task = tasks[shares.index(0)]
        raise GFTValueError(
            f"`tasks.{task.name}.weight`: expected a share of at least one of {size} rows, got {task.weight:g} of "
            f"{total:g}; raise it, or the number of rows"
        )
    return shares


class _Progress:
    """Reports the progress of generation if it takes long."""

    def __init__(self, what: str, size: int) -> None:
        self._what, self._size = what, size
        self._began = self._reported = self._last = time.monotonic()
        self._seconds: dict[str, float] = {}

    def say(self, done: int, task: str) -> None:
        now = time.monotonic()
        self._seconds[task] = self._seconds.get(task, 0.0) + now - self._last
        self._last = now
        if now - self._reported >= _QUIET_SECONDS:
            self._reported = now
            slowest = max(self._seconds, key=lambda name: self._seconds[name])
            rank_zero_info(
                f"reasoning-gym: {done} of {self._size} {self._what} rows after {now - self._began:.0f} s, "
                f"{self._seconds[slowest]:.0f} s of them for {slowest}"
            )
