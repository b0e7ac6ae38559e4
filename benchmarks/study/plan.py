"""What a study runs: methods, learning rates and seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lightning_gft.checks import check_count, check_number, check_seed
from lightning_gft.errors import GFTValueError

_MOST_HIGHLIGHTED = 7
"""Pictures have as many colours."""

Settings = dict[str, Any]
Choices = Mapping[tuple[str, str], float]
"""The chosen learning rate by variant and method."""


class PlanError(GFTValueError):
    """A plan that cannot be run, in one line."""


@dataclass(frozen=True)
class Method:
    """An objective with what it trains on.

    Args:
        name: Name in tables and pictures.
        responses: Responses a prompt, so that all methods train on equally many sequences an update.
        updates_per_batch: Updates that are taken on a batch.
        updates: Updates of a run, where stages with smaller updates make it another number than the plan's.
        learning_rate: A rate of its own; without one the plan's rule chooses.
        layers: Configurations that are laid over the base, the last on top.
        label: Name in words; default ``name``.
    """

    name: str
    responses: int
    updates_per_batch: int = 1
    updates: int | None = None
    learning_rate: float | None = None
    layers: tuple[Settings, ...] = ()
    label: str = ""

    def __post_init__(self) -> None:
        for name in ("responses", "updates_per_batch", *(["updates"] if self.updates is not None else [])):
            check_count(f"methods.{self.name}.{name}", getattr(self, name))
        if self.learning_rate is not None:
            check_number(f"methods.{self.name}.learning_rate", self.learning_rate, above=0)


@dataclass(frozen=True)
class Run:
    """One training, and all that decides how it ends.

    Args:
        plan: The plan that asked for it first.
        variant: Name of the variant; empty where a plan has one.
        method: Name of the method.
        learning_rate: The optimizer's.
        seed: What data, order and samples are drawn from.
        role: ``"tuning"`` or ``"final"``.
        layers: Configurations of ``lightning-gft fit``, the last on top.
        final_samples: Samples a prompt of the test at the end.
        trained: The data set that is trained, where it has a name in the run's figures.
    """

    plan: str
    variant: str
    method: str
    learning_rate: float
    seed: int
    role: str
    layers: tuple[Settings, ...] = field(repr=False)
    final_samples: int
    trained: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """A name made of the settings alone: two plans that ask for the same training share its rows."""
        decides = [self.layers, self.final_samples, *([self.trained] if self.trained else [])]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def names(self) -> dict[str, str | float]:
        """What a plan calls the run, and its fingerprint: columns of a row."""
        return {
            "run": self.fingerprint,
            "variant": self.variant,
            "method": self.method,
            "learning_rate": self.learning_rate,
            "seed": self.seed,
            "role": self.role,
        }

    @property
    def title(self) -> str:
        """The run in a few words, for a line of the terminal."""
        parts = (self.plan, self.variant, self.method, f"lr {self.learning_rate:g}", f"seed {self.seed}")
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Plan:
    """Methods that are compared under the same conditions.

    Args:
        name: Name of the file.
        base: Configuration that all runs share.
        methods: By name.
        variants: Layers over the base by name, under each of which all methods run.
        sequences: Sequences an update.
        updates: Updates a run.
        evaluations: Validations a run, beside the one before training. Where they do not divide its batches, the last
            one comes before its end.
        learning_rates: Those among which one is chosen for each method and variant. A single one needs no choosing.
        tuning_seeds: Seeds of the runs that choose.
        seeds: Seeds of the runs that count.
        choose_by: Validation figure whose mean at the end of training decides.
        choice_of: Another plan, whose chosen learning rates are taken; no choosing then.
        times_of: Another plan, whose runs time the methods; default this one. Seconds of different days cannot be
            compared.
        final_samples: Samples a prompt of the test at the end.
        trained: Name of the data set that is trained, if figures have such names; rows leave it out.
        beside: What is measured and not trained: figures of validations by their titles in tables.
        reference: Method that others are compared with in tables; default the first.
        highlighted: Methods that pictures colour and name, at most seven; default the first six.
    """

    name: str
    base: Settings
    methods: dict[str, Method]
    variants: dict[str, Settings]
    sequences: int
    updates: int
    evaluations: int
    learning_rates: tuple[float, ...]
    tuning_seeds: tuple[int, ...]
    seeds: tuple[int, ...]
    choose_by: str = "mean"
    choice_of: str = ""
    times_of: str = ""
    final_samples: int = 64
    trained: str = ""
    beside: Mapping[str, str] = field(default_factory=lambda: {"second skill": "second_skill/greedy_accuracy"})
    reference: str = ""
    highlighted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("sequences", "updates", "evaluations", "final_samples"):
            check_count(name, getattr(self, name))
        self._check_choice()
        for rate in self.learning_rates:
            check_number("learning_rates", rate, above=0)
        for seed in (*self.tuning_seeds, *self.seeds):
            check_seed("seeds", seed)
        for method in self.methods.values():
            if self.sequences % method.responses:
                raise PlanError(
                    f"`methods.{method.name}.responses`: expected a divisor of sequences={self.sequences}, got "
                    f"{method.responses}; change either"
                )
        if unknown := {self.reference, *self.highlighted} - {*self.methods}:
            raise PlanError(
                f"`reference`, `highlighted`: expected names of methods, got {sorted(unknown)}; change them"
            )
        if len(self.highlighted) > _MOST_HIGHLIGHTED:
            raise PlanError(
                f"`highlighted`: expected at most {_MOST_HIGHLIGHTED} methods, got {len(self.highlighted)}; drop some"
            )
        labels = [method.label or name for name, method in self.methods.items()]
        if doubled := {label for label in labels if labels.count(label) > 1}:
            raise PlanError(f"`methods`: expected labels that differ, got {sorted(doubled)} twice; change them")
        if overlap := {*self.tuning_seeds} & {*self.seeds}:
            raise PlanError(f"`seeds`: expected none of tuning_seeds, got {sorted(overlap)}; choose on other seeds")

    def _check_choice(self) -> None:
        """Check that each method comes to a learning rate."""
        if self.choice_of:
            return
        if not self.learning_rates:
            raise PlanError("`learning_rates`: expected at least one, got none; give some, or choice_of")
        if len(self.learning_rates) > 1 and not self.tuning_seeds:
            raise PlanError(
                f"`tuning_seeds`: expected a seed to choose among {len(self.learning_rates)} learning rates on, got "
                "none; give one, a single learning rate, or choice_of"
            )

    @property
    def length(self) -> int:
        """The sequences of a run."""
        return self.updates * self.sequences

    def tuning(self) -> Iterator[Run]:
        """Yield the runs that choose learning rates; none where there is no choice."""
        for seed in () if self.choice_of or len(self.learning_rates) == 1 else self.tuning_seeds:
            for rate in self.learning_rates:
                for variant in self.variants:
                    for method in self.methods.values():
                        if method.learning_rate is None:
                            yield self._run(variant, method, rate, seed, "tuning")

    def final(self, choices: Choices) -> Iterator[Run]:
        """Yield the runs that count, of methods whose learning rate is chosen; all methods of a seed together.

        Args:
            choices: Learning rates by variant and method.
        """
        for seed in self.seeds:
            for variant in self.variants:
                for method in self.methods.values():
                    if (rate := choices.get((variant, method.name))) is not None:
                        yield self._run(variant, method, rate, seed, "final")

    def _run(self, variant: str, method: Method, rate: float, seed: int, role: str) -> Run:
        updates = method.updates or self.updates
        batches = updates // method.updates_per_batch
        conditions: Settings = {
            "seed_everything": seed,
            "trainer": {"max_steps": updates, "val_check_interval": max(1, batches // self.evaluations)},
            "model": {"updates_per_batch": method.updates_per_batch, "optimizer": {"init_args": {"lr": rate}}},
            "data": {"init_args": {"seed": seed, "batch_size": self.sequences // method.responses}},
        }
        layers = (self.base, self.variants[variant], *method.layers, conditions)
        return Run(self.name, variant, method.name, rate, seed, role, layers, self.final_samples, self.trained)
