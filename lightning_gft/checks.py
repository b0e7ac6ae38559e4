"""Checks of options that several parts share."""

from __future__ import annotations

import difflib
import math
import os
import re
import sys
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, cast

from lightning_gft.errors import GFTTypeError, GFTValueError

_MOST_SHOWN = 60  # characters shown of a wrong value

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_number(
    field: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    of: str = "",
    otherwise: str = "",
    remedy: str = "",
) -> float:
    """Return a number as Python's own, after checking that it is finite and within its range.

    Args:
        field: Name of the option, for errors.
        value: Value of the option; a scalar of numpy or torch is a number too, a boolean or a text is not.
        least: Smallest allowed value.
        above: Lower bound, itself not allowed.
        most: Largest allowed value.
        below: Upper bound, itself not allowed.
        of: Class that the option belongs to, if several have one of that name.
        otherwise: Alternative to a number, as errors put it: ``"null for no limit"``.
        remedy: What to do about a value outside the range.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is infinite, NaN or outside the range.

    Example:
        >>> check_number("top_p", 0.9, above=0, most=1)
        0.9
        >>> check_number("top_p", float("nan"), above=0, most=1, of="SelfSource")
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: `top_p` of SelfSource: expected a number above 0 and at most 1, got nan
    """
    number = _plain(value)
    expected = f"a {_range('number', least, above, most, below) or 'finite number'}{otherwise and f', or {otherwise}'}"
    if not isinstance(number, Real) or isinstance(number, bool):
        raise GFTTypeError(_message(field, of, expected, number, _type_remedy(number)))
    if not _is_finite(number) or _outside(number, least, above, most, below):
        raise GFTValueError(_message(field, of, expected, number, remedy))
    return cast("float", number)  # an int stays one


def check_count(
    field: str,
    count: object,
    least: int = 1,
    otherwise: str = "",
    *,
    most: int = sys.maxsize,
    of: str = "",
    remedy: str = "",
) -> int:
    """Return a whole number as Python's own, after checking its range.

    Args:
        field: Name of the option, for errors.
        count: Value of the option; a whole number of numpy or torch is accepted.
        least: Smallest allowed value.
        otherwise: Alternative to a number, as errors put it: ``"null for all rows"``.
        most: Largest allowed value; by default the largest index of this machine.
        of: Class that the option belongs to, if several have one of that name.
        remedy: What to do about a value outside the range.

    Raises:
        TypeError: If it is not a whole number.
        ValueError: If it is too small or too large.

    Example:
        >>> check_count("batch_size", 8)
        8
    """
    number = _plain(count)
    expected = f"a {_range('whole number', least, None, None if most == sys.maxsize else most, None)}"
    expected += otherwise and f", or {otherwise}"
    if not isinstance(number, Integral) or isinstance(number, bool):
        raise GFTTypeError(_message(field, of, expected, number, _type_remedy(number)))
    if _outside(number, least, None, most, None):
        beyond = most == sys.maxsize and _outside(number, None, None, most, None)
        remedy = f"{sys.maxsize} is the most that a machine counts to" if beyond else remedy
        raise GFTValueError(_message(field, of, expected, number, remedy))
    return int(number)


def check_seed(field: str, seed: object, of: str = "") -> int:
    """Return a seed, after checking that it is within the range of numpy and ``seed_everything``.

    Raises:
        TypeError: If it is not a whole number.
        ValueError: If it lies outside the range.

    Example:
        >>> check_seed("seed", 42)
        42
    """
    return check_count(field, seed, least=0, most=2**32 - 1, of=of)


def check_choice(field: str, value: object, choices: tuple[str, ...], of: str = "") -> None:
    """Check that a value is one of a few choices.

    Raises:
        ValueError: If it is not.

    Example:
        >>> check_choice("prefer", "long", ("shortest", "longest", "median"))
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: `prefer`: expected shortest, longest or median, got 'long'; choose one
    """
    if not isinstance(value, str) or value not in choices:
        *others, last = choices
        expected = f"{', '.join(others)} or {last}" if others else last
        raise GFTValueError(_message(field, of, expected, value, "choose one"))


def check_kind(field: str, value: object, kind: type, example: str) -> None:
    """Check the class of a part; a wrong one would fail somewhere else and later.

    Raises:
        TypeError: If it is not an instance of ``kind``.

    Example:
        >>> check_kind("batch_size", 8, int, "8")
    """
    if not isinstance(value, kind):
        raise GFTTypeError(_message(field, "", f"a {kind.__name__}", value, f"give one such as {example}"))


def check_texts(field: str, texts: object, of: str = "") -> tuple[str, ...]:
    """Return one text or several as a tuple, after checking their types.

    Args:
        field: Name of the option, for errors.
        texts: A text or a list of texts; an empty text stands for no texts.
        of: Class that the option belongs to, if several have one of that name.

    Raises:
        TypeError: If it is of another type.
        ValueError: If a text in a list is empty.

    Example:
        >>> check_texts("stop_strings", "Question:"), check_texts("stop_strings", "")
        (('Question:',), ())
    """
    given = ((texts,) if texts else ()) if isinstance(texts, str) else texts
    if not isinstance(given, list | tuple) or not all(isinstance(text, str) for text in given):
        remedy = "in YAML, quote a text that begins with # or looks like a number"
        raise GFTTypeError(_message(field, of, "a text or a list of texts", texts, remedy))
    if not all(given):
        raise GFTValueError(_message(field, of, "texts of at least one character", texts, "leave the empty one out"))
    return tuple(given)


def check_variable(field: str, name: object, of: str = "") -> str:
    """Return the name of an environment variable; an error does not show a wrong value, which may be the secret itself.

    Upper-case names are accepted; others only if such a variable is set, because tokens often look like a name.

    Raises:
        ValueError: If it is not such a name.

    Example:
        >>> check_variable("api_key_env", "OPENAI_API_KEY")
        'OPENAI_API_KEY'
        >>> check_variable("api_key_env", "sk-1234", of="HTTPReward")
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: `api_key_env` of HTTPReward: expected the name of an environment ...
    """
    if isinstance(name, str) and _VARIABLE.fullmatch(name) and (name == name.upper() or name in os.environ):
        return name
    raise GFTValueError(
        f"`{field}`{of and f' of {of}'}: expected the name of an environment variable, such as OPENAI_API_KEY, got a "
        "text that is not one (not shown, as it may be a key); write the name here, and the key into the variable"
    )


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return the end of an error that suggests the closest name, its words in any order; empty if no name is close.

    Example:
        >>> did_you_mean("batch_sizes", ["batch_size", "seed"]), did_you_mean("x", ["seed"])
        ('; did you mean batch_size?', '')
    """
    closest = closest_name(name, names)
    return f"; did you mean {closest}?" if closest else ""


def closest_name(name: str, names: Iterable[str]) -> str | None:
    """Return the name that is closest to another one, even if its words are in another order; ``None`` if none is.

    The only name that begins with the other one is close, too: it may have been abbreviated.

    Example:
        >>> closest_name("size_batch", ["batch_size", "seed"]), closest_name("seed", ["batch_size", "seed_everything"])
        ('batch_size', 'seed_everything')
    """
    ordered = {"_".join(sorted(other.split("_"))): other for other in sorted(names)}
    reordered = difflib.get_close_matches("_".join(sorted(name.split("_"))), list(ordered), n=1)
    closest = difflib.get_close_matches(name, list(ordered.values()), n=1) or [ordered[key] for key in reordered]
    begun = [other for other in ordered.values() if other.startswith(name)]
    return closest[0] if closest else begun[0] if len(begun) == 1 else None


def with_value(field: str, value: str) -> str:
    """Return an option and its value, as the errors about a file or a folder begin.

    Example:
        >>> with_value("path", "rows.csv")
        "`path` ('rows.csv')"
    """
    return f"`{field}` ({cut(value, 200)!r})"


def shorten(value: object, length: int = 80) -> str:
    """Return a value as Python writes it, cut after ``length`` characters.

    Example:
        >>> shorten("1+1="), shorten("1+" * 100, length=10)
        ("'1+1='", "'1+1+1+1+…")
    """
    written = repr(value)
    return written if len(written) <= length else written[: length - 1] + "…"


def cut(text: str, length: int) -> str:
    """Return a text, without its middle if it is longer than ``length``: beginning and end are the most informative.

    Example:
        >>> cut("abcdefgh", 8), cut("a" * 1000 + "b", 10)
        ('abcdefgh', 'aaaaa ... [991 characters] ... aaaab')
    """
    half = length // 2
    return text if len(text) <= length else f"{text[:half]} ... [{len(text) - 2 * half} characters] ... {text[-half:]}"


def _message(field: str, of: str, expected: str, value: object, remedy: str) -> str:
    shown = shorten(value, _MOST_SHOWN)
    return f"`{field}`{of and f' of {of}'}: expected {expected}, got {shown}{remedy and f'; {remedy}'}"


def _range(kind: str, least: float | None, above: float | None, most: float | None, below: float | None) -> str:
    low = f"of at least {least}" if least is not None else f"above {above}" if above is not None else ""
    high = f"at most {most}" if most is not None else f"below {below}" if below is not None else ""
    if least is not None and most is not None:
        return f"{kind} from {least} to {most}"
    bounds = " and ".join(filter(None, (low, high)))
    return bounds and f"{kind} {bounds}"


def _outside(number: Any, least: float | None, above: float | None, most: float | None, below: float | None) -> bool:
    return (
        (least is not None and number < least)
        or (above is not None and number <= above)
        or (most is not None and number > most)
        or (below is not None and number >= below)
    )


def _plain(value: Any) -> Any:
    """Return a scalar of numpy or torch as Python's own number, and any other value unchanged."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _is_finite(number: Real) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an int beyond the range of floats
        return False


def _type_remedy(value: object) -> str:
    if not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    return "write it without quotes"
