"""The contract of a reward, and a reward from any function."""

from __future__ import annotations

import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, get_args

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.errors import GFTImportError, GFTTypeError, GFTValueError
from lightning_gft.parts import Part
from lightning_gft.rewards.text import shown

ResponseFact = Literal["response_tokens", "response_source"]
"""What a reward may ask for: tokens of a response, its end included; and where it is from, such as ``"self"``."""


class Reward(Part, ABC):
    """Scores all responses of a batch in one call.

    A subclass raises where it has no score, as without a reference: a 0 would teach the policy that the
    response is wrong. What it counts and starts is a :class:`~lightning_gft.parts.Part`'s.

    Args:
        weight: What the score counts in the total; negative for a penalty, 0 to log the score alone.
        special_tokens: Whether the responses keep their special tokens, all but those that end them, such as
            ``<think>`` where a tokenizer has it.

    Raises:
        ValueError: If the weight is infinite or NaN.
        TypeError: If it is not a number.

    Example:
        >>> import torch
        >>> class Brevity(Reward):
        ...     def __call__(self, *, prompts, responses, references, **columns):
        ...         return torch.tensor([1.0 / (1 + len(response)) for response in responses])
        >>> Brevity(weight=0.5)(prompts=["1+1="], responses=["2"], references=["2"])
        tensor([0.5000])
    """

    def __init__(self, weight: float = 1.0, special_tokens: bool = False) -> None:
        self.weight = check_number("weight", weight, of=type(self).__name__)
        self.special_tokens = special_tokens

    @abstractmethod
    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor | Sequence[float | None]:
        """Return ``N`` scores without the weight, in the order of the responses, ``None`` where it does not apply.

        Args:
            prompts: ``N`` prompt texts.
            responses: ``N`` response texts.
            references: ``N`` references; ``None`` where the data has none.
            **columns: Every other column of the data, ``N`` entries each.
        """

    def asks(self) -> frozenset[ResponseFact]:
        """Return what the reward wants to know of responses beside their texts; it comes among the columns."""
        return frozenset()

    def measures(self) -> bool:
        """Return whether evaluation may call a response correct by this reward; a mere penalty says no."""
        return True

    def read_ahead(self, references: Sequence[Any]) -> None:
        """Prepare for :meth:`check_row` of these rows, one that reads references slowly several at once.

        Args:
            references: Those of all rows; unfit ones raise no error yet.
        """

    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:
        """Refuse a row of the data whose responses could not be scored; a run asks for every row before it starts.

        Args:
            reference: The row's reference.
            columns: The whole row.

        Raises:
            ValueError: If it is unfit.
        """

    def check_tokens(self, special_tokens: Collection[str]) -> None:
        """Check the reward against a tokenizer; a run asks before it starts.

        Args:
            special_tokens: Tokens that are taken out of the responses, unless the reward keeps them.

        Raises:
            ValueError: If no response could ever score.
        """


class FunctionReward(Reward):
    """A reward from any function, so that a config needs no class.

    The function takes the keywords of :meth:`Reward.__call__`. Without ``**columns`` in its signature it is given only
    what it names: ``def score(responses, difficulty)`` is enough. ``response_tokens`` and ``response_source`` it is
    given where it names them. It returns one number for each response, or ``None``
    where it does not apply, as a list, an array or a tensor.

    Args:
        function: Where the function is, ``package.module.function`` or ``package.module:function``; from Python the
            function itself, or anything that can be called.
        weight: What the score counts in the total.
        special_tokens: Whether the responses keep their special tokens.

    Raises:
        ValueError: If ``function`` is no dotted path, or the weight is not finite; on a call, if a parameter of the
            function is neither a keyword of a reward nor a column of the data.
        ImportError: If the module cannot be imported, or has no such function.
        TypeError: If what the path names cannot be called.

    Example:
        >>> def brevity(responses):
        ...     return [1 / len(response) for response in responses]
        >>> FunctionReward(brevity)(prompts=["1+1="], responses=["it is 2"], references=["2"])
        [0.14285714285714285]
    """

    def __init__(self, function: str | Callable[..., Any], weight: float = 1.0, special_tokens: bool = False) -> None:
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

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor | Sequence[float | None]:
        """Return what the function returns; see :meth:`Reward.__call__`."""
        keywords = {**columns, "prompts": prompts, "responses": responses, "references": references}
        return self._function(**self._select(keywords))  # type: ignore[no-any-return]

    @override
    def asks(self) -> frozenset[ResponseFact]:
        return frozenset(fact for fact in get_args(ResponseFact) if fact in self._accepted)

    @override
    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:
        self._check_parameters({*columns, "prompts", "responses", "references", *self.asks()})

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
            f"`function`: expected one whose parameters the data has, got {self.function} with {missing}; name some of "
            f"{sorted(given)}{hint}"
        )


def as_rewards(rewards: Mapping[str, Any]) -> dict[str, Any]:
    """Return named rewards, each plain function among them made a :class:`FunctionReward`.

    Example:
        >>> as_rewards({"brief": lambda responses: [-len(response) for response in responses]})["brief"].weight
        1.0
    """
    return {name: FunctionReward(part) if _is_function(part) else part for name, part in rewards.items()}


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
            f"`function`: expected one whose parameters can be read, got {name}; wrap it in one of your own"
        ) from error


def _import_function(path: str) -> Callable[..., Any]:
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        function = pkgutil.resolve_name(f"{module}:{name}")
    except ValueError as error:
        raise GFTValueError(
            f"`function`: expected package.module.function or package.module:function, got {path!r}; write the path so"
        ) from error
    except (ImportError, AttributeError) as error:
        raise GFTImportError(
            f"`function`: expected a function that can be imported, got {path!r} ({error}); define it at the top level "
            "of a module that is installed, or whose folder is on PYTHONPATH"
        ) from error
    if not callable(function):
        raise GFTTypeError(
            f"`function`: expected a function, got {path!r}, a {type(function).__name__}; name the function itself"
        )
    return function  # type: ignore[no-any-return]
