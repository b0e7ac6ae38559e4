"""Plain data that crosses, and what does not."""

from __future__ import annotations

import enum
import json
import math
from collections import Counter, OrderedDict, defaultdict, namedtuple
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from lightning_gft.sandbox.values import UnreadableError, decode, encode


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -5, 2**64, -(3**5000), 1.5, math.inf, "", 'é"\ud800\0', b"\x00\xff", 1 + 2j),
        *([], [1, [2]], (1,), {}, {"a": 1, 2: [3]}, {(1, 2): {3}}, {"tuple": [1]}, set(), frozenset({1}), {1, "a"}),
        *(Fraction(1, 3), Decimal("1.10")),
    ],
)
def test_plain_data_comes_back(value):
    again = decode(encode(value))
    assert again == value
    assert type(again) is type(value)


def test_what_is_equal_to_plain_data_is_plain_data():
    color = enum.IntEnum("Color", ["RED"])
    point = namedtuple("point", "x y")
    pairs = [
        *((color.RED, 1), (point(1, 2), (1, 2)), (Counter("aa"), {"a": 2}), (OrderedDict(a=1), {"a": 1})),
        *((defaultdict(list, a=[1]), {"a": [1]}), ({"a": 1}.keys(), {"a"}), (np.int64(3), 3), (np.float32(0.5), 0.5)),
    ]
    for value, plain in pairs:
        assert decode(encode(value)) == plain


class AlwaysEqual:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [AlwaysEqual(), [AlwaysEqual()], {1: AlwaysEqual()}, object, print, range(3)])
def test_other_objects_do_not_cross(value):
    with pytest.raises(UnreadableError):
        encode(value)


def test_a_deep_value_does_not_cross():
    with pytest.raises(UnreadableError):
        encode(nested(100_000))


@pytest.mark.parametrize(
    "text",
    [
        *("", "nonsense", "{}", '{"object": 1}', '{"int": 5}', '{"int": "z"}', '{"bytes": 5}', '{"bytes": "€"}'),
        *('{"dict": [[1]]}', '{"dict": [[[1], 2]]}', '{"set": [[1]]}', '{"complex": [1, 2, 3]}', '{"decimal": "x"}'),
        *('{"fraction": ["1", "0"]}', '{"fraction": 3}', '{"tuple": 3}', '{"a": 1, "b": 2}', "9" * 5000),
        "[" * 100_000 + "]" * 100_000,
        json.dumps({"set": list(range(20_000))}),
    ],
)
def test_what_a_program_makes_up_is_refused(text: str):
    with pytest.raises(UnreadableError):
        decode(text)
