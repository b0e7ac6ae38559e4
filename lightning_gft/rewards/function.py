"""A reward from any function."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, get_args

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.errors import GFTImportError, GFTTypeError, GFTValueError
from lightning_gft.parts import CompositePart, Part
from lightning_gft.rewards.base import ResponseFact, Reward
from lightning_gft.rewards.entries import check_entries, check_finite
from lightning_gft.rewards.items import ItemScorer
from lightning_gft.rewards.pool import WorkerPool
from lightning_gft.rewards.task import ScoreOfOne
from lightning_gft.rewards.text import shown


class FunctionReward(CompositePart, Reward):
    """A reward from any function, so that a configuration needs no class.

    The function takes the keywords of :meth:`Reward.__call__`. Without ``**columns`` in its signature it gets only the
    ones that it names: ``def score(responses, difficulty)`` is enough. It may also name ``response_tokens`` and
    ``response_source``. A parameter without a default needs a value in every row, which is checked before a run; a
    blank reference counts as none. One with a default, ``references=None``, gets ``None``, or the blank text, for such
    a row. The function returns one number for each response, or ``None`` if it does not apply, as a list, an array or
    a tensor.

    With ``timeout`` it is called for each response by itself, in processes of a
    :class:`~lightning_gft.rewards.pool.WorkerPool`. A response on which it hangs, crashes or runs out of memory then
    scores ``failed_score`` and is counted as ``timeouts``, ``crashes`` or ``memory``. A warning shows the first
    response of each kind in a run. An exception of the function always stops the run.

    Args:
        function: Path of the function, ``package.module.function`` or ``package.module:function``; in Python also the
            function itself, or any callable.
        weight: Weight of the score in the total.
        special_tokens: Whether responses are decoded with their special tokens.
        timeout: Longest time of one response, in seconds; ``None`` calls the function in this process, with all
            responses at once.
        failed_score: Score of a response on which the function hangs, crashes or runs out of memory; only with
            ``timeout``.
        memory_mb: Most memory, in MiB, that a process may allocate in addition to that after its start; ``None`` for
            no limit. Only with ``timeout``.

    Raises:
        ValueError: If ``function`` is no dotted path, a number is out of range, or a limit is set without ``timeout``;
            on a call, if a parameter of the function is neither a keyword of a reward nor a column of the data.
        ImportError: If the module cannot be imported, or has no such function.
        TypeError: If the path names an object that cannot be called.

    Example:
        >>> def brevity(responses):
        ...     return [1 / len(response) for response in responses]
        >>> FunctionReward(brevity)(prompts=["1+1="], responses=["it is 2"], references=["2"])
        [0.14285714285714285]
    """

    def __init__(
        self,
        function: str | Callable[..., Any],
        weight: float = 1.0,
        special_tokens: bool = False,
        timeout: float | None = None,
        failed_score: float = 0.0,
        memory_mb: int | None = None,
    ) -> None:
        super().__init__(weight, special_tokens)
        self._function = _import_function(function) if isinstance(function, str) else function
        if not callable(self._function):
            raise GFTTypeError(f"`function`: expected a function or its dotted path, got {shown(function)}")
        self.function = function if isinstance(function, str) else _name(function)
        parameters = _parameters(self._function, self.function)
        named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        self._accepts_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self._accepted = {p.name for p in named}
        self._required = {p.name for p in named if p.default is p.empty}
        self._scorer: ItemScorer | None = None
        if timeout is None:
            _check_unlimited(failed_score=failed_score, memory_mb=memory_mb)
        else:
            task = ScoreOfOne(FunctionReward(self._function))
            of = type(self).__name__
            seconds = check_number("timeout", timeout, above=0, otherwise="null for none", of=of)
            pool = WorkerPool(task, seconds=seconds, memory_mb=memory_mb, of=of)
            self._scorer = ItemScorer(pool, of, failed_score, cache_size=0, stops={"error"})

    @property
    def failed_score(self) -> float | None:
        """Score of a response on which the function fails; ``None`` without a ``timeout``."""
        return None if self._scorer is None else self._scorer.failed_score

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor | Sequence[float | None]:
        """Return the function's result; see :meth:`Reward.__call__`.

        Raises:
            RewardError: If it is not a finite number for each response; with ``timeout``, if the function raises.
        """
        texts = {"prompts": prompts, "responses": responses, "references": references}
        selected = self._select({**columns, **texts})
        if self._scorer is None:
            scores = self._function(**selected)
            check_finite(check_entries(scores, len(responses), self.function))
            return scores  # type: ignore[no-any-return]
        sent = {**selected, **texts}  # without the columns that the function does not name
        single = [{name: [values[number]] for name, values in sent.items()} for number in range(len(responses))]
        return self._scorer.scores(single, responses)

    @override
    def within(self) -> tuple[Part, ...]:
        return () if self._scorer is None else (self._scorer,)

    @override
    def needs(self) -> frozenset[ResponseFact]:
        return frozenset(fact for fact in get_args(ResponseFact) if fact in self._accepted)

    @override
    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:
        row = {**columns, "references": reference}
        given = {"prompts", "responses", *self.needs()}
        self._check_parameters({*row, *given})
        for name in sorted(self._required - given):
            value = row[name]
            # The reference may come by the name of its column, too. In other columns a blank text is a value.
            own = name == "references" or [column for column in columns if columns[column] == reference] == [name]
            blank = own and isinstance(value, str) and not value.strip()
            if value is None or blank:
                got = f"{shown(value)}, which no answer equals" if blank else "null"
                raise GFTValueError(
                    f"`{name}`: expected a value for this parameter of {self.function}, got {got}; give the row one, "
                    f"or the parameter a default, {name}=None, if the function can do without"
                )

    def _select(self, keywords: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        self._check_parameters(keywords.keys())
        if self._accepts_all:
            return keywords
        return {name: values for name, values in keywords.items() if name in self._accepted}

    def _check_parameters(self, given: Collection[str]) -> None:
        missing = sorted(self._required - set(given))
        if not missing:
            return
        hint = (
            "; a response is called `responses` here, not `completions`: rename it" if "completions" in missing else ""
        )
        raise GFTValueError(
            f"`function`: expected parameters that the data has, got {missing} of {self.function}; name some of "
            f"{sorted(given)}{hint}"
        )


def as_rewards(rewards: Mapping[str, Any]) -> dict[str, Any]:
    """Return named rewards, with each plain function wrapped in a :class:`FunctionReward`.

    Example:
        >>> as_rewards({"brief": lambda responses: [-len(response) for response in responses]})["brief"].weight
        1.0
    """
    return {name: FunctionReward(part) if _is_function(part) else part for name, part in rewards.items()}


def _check_unlimited(**limits: float | None) -> None:
    """Raise an error for settings that only take effect with a timeout."""
    for name, value in limits.items():
        if value:
            raise GFTValueError(f"`{name}` of FunctionReward: expected none without timeout, got {value}; set timeout")


def _is_function(part: Any) -> bool:
    return callable(part) and not isinstance(part, Reward | type)


def _name(function: Callable[..., Any]) -> str:
    named = getattr(function, "func", function)  # of a partial
    name = getattr(named, "__qualname__", type(named).__qualname__)
    return f"{getattr(named, '__module__', type(named).__module__)}.{name}"


def _parameters(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError as error:
        raise GFTTypeError(
            f"`function`: expected one with a readable signature, got {name}; wrap it in a function of your own"
        ) from error


def _import_function(path: str) -> Callable[..., Any]:
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        function = pkgutil.resolve_name(f"{module}:{name}")
    except ValueError as error:
        raise GFTValueError(
            f"`function`: expected package.module.function or package.module:function, got {path!r}; correct the path"
        ) from error
    except (ImportError, AttributeError) as error:
        raise GFTImportError(
            f"`function`: expected a function that can be imported, got {path!r} ({error}); define it at the top level "
            "of a module in the current folder, in a folder on PYTHONPATH, or installed"
        ) from error
    if not callable(function):
        raise GFTTypeError(
            f"`function`: expected a function, got {path!r}, a {type(function).__name__}; name the function itself"
        )
    return function  # type: ignore[no-any-return]
