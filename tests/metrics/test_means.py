from __future__ import annotations

import pytest

from lightning_gft.metrics import NamedMeans


def computed(means: NamedMeans) -> dict[str, float]:
    return {name: value.item() for name, value in means.compute().items()}


def test_each_name_has_its_own_number():
    means = NamedMeans(["a", "b", "c", "sum", "late"], always=["c"], sums=["sum"])
    assert computed(means) == {"c": 0.0}
    means.update({"a": (1.0, 2.0), "sum": (5.0, 1.0)})
    means.update({"a": (4.0, 3.0), "b": (0.0, 2.0), "sum": (7.0, 1.0), "late": (0.0, 0.0)})
    assert computed(means) == {"a": 1.0, "b": 0.0, "c": 0.0, "sum": 12.0}
    means.reset()
    assert computed(means) == {"c": 0.0}


def test_a_name_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="`totals`: expected names among a, b, got misspelt"):
        NamedMeans(["a", "b"]).update({"a": (1.0, 1.0), "misspelt": (1.0, 1.0)})
