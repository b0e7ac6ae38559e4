"""Tasks of reasoning-gym by name, whose settings are checked before any entry is generated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

from lightning_gft.checks import check_count, check_number, did_you_mean, shorten
from lightning_gft.errors import GFTTypeError, GFTValueError
from lightning_gft.extras import require

Levels = int | dict[str, int]
_OURS = ("seed", "size")
"""Settings of every task that only the datamodule sets."""
_OTHERS = "*"


@dataclass(frozen=True)
class GymTask:
    """A task of a mixture.

    Args:
        task: Name of the task in reasoning-gym; null for its name in the mixture.
        weight: Share of the training rows, relative to the weights of the other tasks; a task with weight 0 is
            evaluated but not trained on.
        config: Settings of the task, such as ``{min_terms: 2, max_terms: 3}`` of ``chain_sum``. They override those
            of the levels.
        levels: Levels of the task's curriculum, from 0: one number for all of its attributes, or one for each by name
            (``{num_terms: 2, "*": 0}``). With a list, the first part of the rows has its first entry, and so on.

    Raises:
        ValueError: If the weight is negative.
        TypeError: If it is not a number.

    Example:
        >>> GymTask("chain_sum", config={"max_terms": 2}).weight
        1.0
    """

    task: str | None = None
    weight: float = 1.0
    config: dict[str, Any] | None = None
    levels: Levels | list[Levels] | None = None

    def __post_init__(self) -> None:
        check_number("weight", self.weight, least=0, of="GymTask", remedy="0 measures without training")


class Task:
    """A task whose settings have been checked, ready to generate entries.

    Args:
        name: Name of the task in the mixture.
        settings: The user's settings of the task.

    Raises:
        ValueError: If the task, a setting, an attribute or a level does not exist.
        TypeError: If a level is not a number.

    Attributes:
        configs: Settings of the task, one entry for each item of a list of levels.
    """

    def __init__(self, name: str, settings: GymTask) -> None:
        require("reasoning_gym", setting="ReasoningGymDataModule", extra="gym")
        self.name, self.task, self.weight = name, settings.task or name, settings.weight
        self._field = f"tasks.{name}"
        self._check_name()
        own = settings.config or {}
        self._check_settings(own)
        listed = settings.levels if isinstance(settings.levels, list) else [settings.levels]
        if not listed:
            raise GFTValueError(f"`{self._field}.levels`: expected at least one level, got an empty list; leave it out")
        self.configs = [{**self._of_level(level), **own} for level in listed]
        for config in self.configs:
            self.build(config, seed=0, size=1)

    def build(self, config: Mapping[str, Any], seed: int, size: int) -> Any:
        """Return a data set of reasoning-gym; it generates each entry on access."""
        from reasoning_gym import create_dataset

        with self._naming("config", config):
            return create_dataset(self.task, seed=seed, size=size, **config)

    def _check_name(self) -> None:
        from reasoning_gym.factory import DATASETS

        known = DATASETS.keys() - {"composite"}
        if not self.name or "/" in self.name:
            raise GFTValueError(f"`tasks`: expected names without a slash, got {self.name!r}; rename it")
        if self.task not in known:
            raise GFTValueError(
                f"`{self._field}`: expected a task of reasoning-gym, got {self.task!r}"
                + (did_you_mean(self.task, known) or f"; it has {len(known)}, from {min(known)} to {max(known)}")
            )

    def _check_settings(self, config: Mapping[str, Any]) -> None:
        from reasoning_gym.factory import DATASETS

        names = {field.name for field in fields(DATASETS[self.task][1])} - {*_OURS}
        for name in config:
            if name in _OURS:
                raise GFTValueError(
                    f"`{self._field}.config.{name}`: expected none, since the datamodule chooses it; set its {name}"
                )
            if name not in names:
                raise GFTValueError(
                    f"`{self._field}.config.{name}`: expected a setting of {self.task}"
                    + (did_you_mean(name, names) or f"; it has {', '.join(sorted(names))}")
                )

    def _of_level(self, level: Levels | None) -> dict[str, Any]:
        """Return the task's settings at a level of its curriculum."""
        if level is None:
            return {}
        from reasoning_gym.factory import CURRICULA, create_curriculum

        field = f"{self._field}.levels"
        if self.task not in CURRICULA:
            raise GFTValueError(f"`{field}`: expected none, since {self.task} has no curriculum; use config")
        curriculum = create_curriculum(self.task)
        for name, chosen in self._by_attribute(field, level, curriculum.attributes).items():
            curriculum.set_attr_level(name, chosen)
        with self._naming("levels", level):
            generated = curriculum.generate_configuration()
        settings: list[str] = [
            getattr(attribute, end)
            for attribute in curriculum.attributes.values()
            for end in ("field_name", "lower_field_name", "upper_field_name")
            if hasattr(attribute, end)
        ]
        return {name: getattr(generated, name) for name in settings}

    def _by_attribute(self, field: str, level: Levels, attributes: Mapping[str, Any]) -> dict[str, int]:
        highest = {name: len(attribute.levels) - 1 for name, attribute in attributes.items()}
        if isinstance(level, int):
            check_count(field, level, least=0, most=max(highest.values()))
            return {name: min(level, most) for name, most in highest.items()}
        if not isinstance(level, dict):
            raise GFTTypeError(
                f"`{field}`: expected a number, or one for each attribute, got {shorten(level)}; give one"
            )
        for name in level:
            if name not in {*highest, _OTHERS}:
                raise GFTValueError(
                    f"`{field}.{name}`: expected an attribute of the curriculum of {self.task}"
                    + (did_you_mean(name, highest) or f"; it has {', '.join(highest)}, and {_OTHERS!r} for the others")
                )
        others = check_count(f"{field}.{_OTHERS}", level.get(_OTHERS, 0), least=0)
        given = {name: min(others, most) for name, most in highest.items() if _OTHERS in level}
        named = {name: chosen for name, chosen in level.items() if name != _OTHERS}
        return given | {
            name: check_count(f"{field}.{name}", chosen, least=0, most=highest[name]) for name, chosen in named.items()
        }

    @contextmanager
    def _naming(self, part: str, value: object) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            reason = str(error) or type(error).__name__  # an assertion may have no message
            raise GFTValueError(
                f"`{self._field}.{part}`: expected what {self.task} accepts, got {shorten(value, 200)} ({reason}); "
                "correct it"
            ) from error
