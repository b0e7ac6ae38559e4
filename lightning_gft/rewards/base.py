"""The contract of a reward, and a reward from any function."""

from __future__ import annotations

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.rewards.text import shorten


class Reward(ABC):
    """Scores all responses of a batch in one call.

    A subclass raises where it cannot tell the score, say for want of a reference: a 0 would teach the policy that the
    response is wrong.

    Args:
        weight: What the score counts in the total; negative for a penalty, 0 to log the score alone.

    Raises:
        ValueError: If the weight is infinite or NaN.
        TypeError: If it is not a number.

    Example:
        >>> class Brevity(Reward):
        ...     def __call__(self, *, prompts, responses, references, **columns):
        ...         return torch.tensor([1.0 / (1 + len(response)) for response in responses])
        >>> Brevity(weight=0.5)(prompts=["1+1="], responses=["2"], references=["2"])
        tensor([0.5000])
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = check_number("weight", weight, of=type(self).__name__)

    @abstractmethod
    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor:
        """Return ``[N]`` scores, float32 and without the weight, in the order of the responses.

        Args:
            prompts: ``N`` prompt texts.
            responses: ``N`` response texts.
            references: ``N`` references; ``None`` where the data has none.
            **columns: Every other column of the data, ``N`` entries each.
        """

    @property
    def keeps_special_tokens(self) -> bool:
        """Whether the responses that it scores keep their special tokens, all but the one that ends them."""
        return False

    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:  # noqa: B027 (nothing to check is the rule)
        """Refuse a row of the data whose responses could not be scored; a run asks for every row before it starts.

        Args:
            reference: The row's reference.
            columns: The whole row.

        Raises:
            ValueError: If it is unfit.
        """


class FunctionReward(Reward):
    """A reward from any importable function, so that a config needs no class.

    The function takes the keywords of :meth:`Reward.__call__`. Without ``**columns`` in its signature it is given only
    what it names: ``def score(responses, difficulty)`` is enough.

    Args:
        function: Where the function is: ``package.module.function`` or ``package.module:function``. It returns one
            number for each response, as a tensor, a list or an array.
        weight: What the score counts in the total.

    Raises:
        ValueError: If ``function`` is no dotted path, or the weight is not finite; on a call, if a parameter of the
            function is neither a keyword of a reward nor a column of the data.
        ImportError: If the module cannot be imported, or has no such function.
        TypeError: If what the path names cannot be called; on a call, if what it returns is no numbers.

    Example:
        >>> import sys
        >>> from types import SimpleNamespace
        >>> def brevity(responses):
        ...     return [1 / len(response) for response in responses]
        >>> sys.modules["my_rewards"] = SimpleNamespace(brevity=brevity)  # stands for a file my_rewards.py
        >>> FunctionReward("my_rewards.brevity")(prompts=["1+1="], responses=["it is 2"], references=["2"])
        tensor([0.1429])
    """

    def __init__(self, function: str, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.function = function
        self._function = _import_function(function)
        parameters = inspect.signature(self._function).parameters.values()
        named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        self._accepts_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self._accepted = {p.name for p in named}
        self._required = {p.name for p in named if p.default is p.empty}

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor:
        """Return the function's scores; see :meth:`Reward.__call__`."""
        keywords = {**columns, "prompts": prompts, "responses": responses, "references": references}
        scores = self._function(**self._select(keywords))
        try:
            return torch.as_tensor(scores, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"{self.function} returned {shorten(scores)}, a {type(scores).__name__}; "
                "return one number for each response, as a tensor, a list or an array"
            ) from error

    @override
    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:
        self._check_parameters({*columns, "prompts", "responses", "references"})

    def _select(self, keywords: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        self._check_parameters(keywords.keys())
        if self._accepts_all:
            return keywords
        return {name: values for name, values in keywords.items() if name in self._accepted}

    def _check_parameters(self, given: Collection[str]) -> None:
        missing = sorted(self._required - set(given))
        if missing:
            raise ValueError(f"{self.function} has parameters {missing} that the data lacks; it has {sorted(given)}")


def _import_function(path: str) -> Callable[..., Any]:
    parts = path.replace(":", ".").split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ValueError(f"function={path!r} must read package.module.function or package.module:function")
    module_name, name = ".".join(parts[:-1]), parts[-1]
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ImportError(
            f"function={path!r}: module {module_name!r} cannot be imported ({error}); "
            "install it, or put the folder that holds it on PYTHONPATH"
        ) from error
    if not hasattr(module, name):
        raise ImportError(
            f"function={path!r}: module {module_name!r} has no {name!r}; define it there at the top level"
        )
    function = getattr(module, name)
    if not callable(function):
        raise TypeError(f"function={path!r} is a {type(function).__name__}, not a function")
    return function  # type: ignore[no-any-return]
