"""The callback that gives advice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from typing_extensions import override

from lightning_gft import record
from lightning_gft.callbacks.advice.history import History
from lightning_gft.callbacks.advice.in_place import names_in_place
from lightning_gft.callbacks.advice.record import AdviceLine, print_advice
from lightning_gft.callbacks.advice.rule import Finding, Rule
from lightning_gft.callbacks.advice.rules import RULES
from lightning_gft.callbacks.run_record import record_folder
from lightning_gft.callbacks.stopped import KeepStopped
from lightning_gft.callbacks.writing import giving_up
from lightning_gft.checks import did_you_mean
from lightning_gft.errors import GFTTypeError, GFTValueError, remedies
from lightning_gft.module import GFTLitModule
from lightning_gft.rewards.items import describe_failing


class Advice(Callback):
    """Reports each problem of a run once, in one line with the figure and a remedy.

    Small rules read the figures of every step and every validation; each rule speaks once in a stage. The lines are
    printed on standard error and, if the run has a folder, appended to its ``advice.jsonl``. A resumed run repeats no
    advice, and gives the same further advice as a run without the interruption.

    A rule compares means over 5 to 50 steps with those of the first 10 or 20 steps of the run or stage, so no single
    batch triggers it. ``docs/advice.md`` lists the rules with their figures and windows.

    Args:
        stop: Whether the first advice ends the run, or the names of the rules whose advice does. The run ends as by
            ``EarlyStopping``: with a last validation, its checkpoints and exports, and exit status 0, but not before
            the trainer's ``min_steps``. With ``true``, rules that only explain a figure do not end it. A run that
            keeps checkpoints also keeps ``stopped-step=<step>.ckpt``; a run that resumes from it does not end there
            again.
        ignore: Names of rules to leave out.

    Attributes:
        rules: The rules in use, in the order of their evaluation; others may be added before a run.
        lines: All advice so far.

    Raises:
        ValueError: If a name is not a rule's, or ``stop`` names a rule that ``ignore`` leaves out.
        TypeError: If a setting has another type.

    Example:
        >>> advice = Advice(stop=["entropy_collapse"], ignore=["small_loss"])
        >>> "small_loss" in [rule.name for rule in advice.rules]
        False
    """

    def __init__(self, stop: bool | list[str] = False, ignore: list[str] | None = None) -> None:
        left_out = _checked("ignore", ignore or [])
        self.rules = [rule for rule in RULES if rule.name not in left_out]
        faults = [rule.name for rule in self.rules if not rule.explains]
        self._ends = _checked("stop", (faults if stop else []) if isinstance(stop, bool) else stop)
        if ignored := sorted(self._ends & left_out):
            raise GFTValueError(
                f"`stop` of Advice: expected rules that `ignore` does not name, got {', '.join(ignored)}; remove them"
            )
        self.lines: list[AdviceLine] = []
        self._history = History()
        self._stage = ""
        self._path: Path | None = None
        self._ending = False
        self._keeper = KeepStopped(lambda: self._ending)

    @override
    def state_dict(self) -> dict[str, Any]:
        lines = [line._asdict() for line in self.lines]
        return {"stage": self._stage, "lines": lines, "history": self._history.state_dict()}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._stage, self.lines = state_dict["stage"], [AdviceLine(**line) for line in state_dict["lines"]]
        self._history.load_state_dict(state_dict["history"])

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":  # before a checkpoint is loaded
            self.lines, self._history, self._stage, self._ending = [], History(), "", False
            callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
            if self._ends and self._keeper not in callbacks:
                callbacks.append(self._keeper)  # after all others, whose state it saves

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = record_folder(trainer)
        self._path = None if folder is None or not trainer.is_global_zero else folder / record.ADVICE
        if self._path is not None and (self.lines or self._path.exists()):
            # Remove advice that a killed run gave after its last checkpoint: the resumed run gives it again.
            with self._writing():
                record.write_rows(self._path, [line.row() for line in self.lines])

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._evaluate_rules(trainer, pl_module)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._evaluate_rules(trainer, pl_module)

    def _evaluate_rules(self, trainer: Trainer, module: LightningModule) -> None:
        """Add the newest figures to the history, give advice, and end the run if ``stop`` asks for it."""
        assert isinstance(module, GFTLitModule)  # noqa: S101 (this package's callbacks serve its module)
        stage = "" if module.rows.stage is None else module.rows.stage[1]
        if stage != self._stage:
            self._stage, self._history = stage, History()
        self._history.uses_advantages = "advantages" in module.loss.needs()
        self._history.in_place = names_in_place(trainer, module)
        self._history.failing = describe_failing(module.sampler.rewards)
        self._history.add(self._read(module.rows.latest))
        new = [self._make_advice(module, rule, finding) for rule, finding in self._findings()]
        self._write(new)
        if self._ends:
            ends = any(line.name in self._ends for line in new)
            # Figures are the same on all ranks, so all ranks stop together.
            self._ending |= trainer.strategy.reduce_boolean_decision(ends, all=False)
            trainer.should_stop |= self._ending

    def _write(self, new: Sequence[AdviceLine]) -> None:
        for line in new:
            if self._path is not None:
                with self._writing():
                    record.append_row(self._path, line.row())

    def _writing(self) -> AbstractContextManager[None]:
        def give_up() -> None:
            self._path = None

        return giving_up("Advice is no longer written to the run's folder", give_up)

    def _read(self, row: Mapping[str, Tensor | float]) -> dict[str, float]:
        """Return the figures that at least one rule reads."""
        return {name: float(value) for name, value in row.items() if self._is_read(name)}

    def _is_read(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for rule in self.rules for pattern in rule.figures)

    def _findings(self) -> Iterator[tuple[Rule, Finding]]:
        given = {line.name for line in self.lines if line.stage == self._stage}
        for rule in self.rules:
            if rule.name in given or given.intersection(rule.after):
                continue
            if (finding := rule.find(self._history)) is not None:
                given.add(rule.name)
                yield rule, finding

    def _make_advice(self, module: GFTLitModule, rule: Rule, finding: Finding) -> AdviceLine:
        remark = "; the run ends here, as `stop` asks" if rule.name in self._ends else ""
        line = AdviceLine(module.rows.steps(), rule.name, dict(finding.figures), finding.text + remark, self._stage)
        self.lines.append(line)
        print_advice(line)
        return line


def _checked(field: str, names: object) -> frozenset[str]:
    """Return the names of rules in a setting.

    Raises:
        ValueError: If a name is not a rule's.
        TypeError: If ``names`` is no list of texts.
    """
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        choices = "true, false or a list" if field == "stop" else "a list"
        raise GFTTypeError(f"`{field}` of Advice: expected {choices} of names of rules, got {names!r}; give [cut_off]")
    known = [rule.name for rule in RULES]
    for name in names:
        if name not in known:
            raise GFTValueError(
                f"`{field}` of Advice: expected names of rules, got {name!r}"
                + remedies(did_you_mean(name, known), f"there are {', '.join(known)}")
            )
    return frozenset(names)
