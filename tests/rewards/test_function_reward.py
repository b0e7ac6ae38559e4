import math
import pickle

import numpy as np
import pytest
import torch

from lightning_gft.rewards import FunctionReward, Reward

BATCH = {"prompts": ["p", "q"], "responses": ["a", "bcd"], "references": ["x", None]}
NOT_A_FUNCTION = 3


def everything(*, prompts, responses, references, **columns):
    assert (prompts, references) == (BATCH["prompts"], BATCH["references"])
    return torch.tensor([len(r) for r in responses]) * torch.tensor(columns["level"])


def only_named(responses, level=(0, 0)):
    return [len(response) + extra for response, extra in zip(responses, level, strict=True)]


def array(responses):
    return np.array([len(response) for response in responses], dtype=np.float64)


def words(responses):
    return list(responses)


@pytest.mark.parametrize("separator", [".", ":"])
def test_everything_is_passed_to_a_function_that_takes_it(separator):
    scores = FunctionReward(f"{__name__}{separator}everything")(**BATCH, level=[2, 3])
    torch.testing.assert_close(scores, torch.tensor([2.0, 9.0]))


def test_only_what_the_function_names_is_passed():
    reward = FunctionReward(f"{__name__}.only_named")
    assert reward(**BATCH, unknown=[1, 1]).tolist() == [1.0, 3.0]
    assert reward(**BATCH, unknown=[1, 1], level=[5, 6]).tolist() == [6.0, 9.0]


@pytest.mark.parametrize("function", ["array", "only_named"])
def test_lists_and_arrays_become_float32(function):
    scores = FunctionReward(f"{__name__}.{function}")(**BATCH)
    assert scores.dtype == torch.float32
    assert scores.tolist() == [1.0, 3.0]


def test_what_is_no_numbers_is_named_on_return():
    with pytest.raises(TypeError, match=r"words returned \['a', 'bcd'\], a list; return one number"):
        FunctionReward(f"{__name__}.words")(**BATCH)


def test_a_column_that_the_data_lacks_is_named():
    with pytest.raises(ValueError, match=r"everything_needed has parameters \['level'\] that the data lacks"):
        FunctionReward(f"{__name__}.everything_needed")(**BATCH)


def everything_needed(responses, level):
    raise AssertionError("must not be called without its column")


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("no_such_package_here.f", ImportError, "module 'no_such_package_here' cannot be imported.*PYTHONPATH"),
        (f"{__name__}.missing", ImportError, "has no 'missing'"),
        (f"{__name__}.NOT_A_FUNCTION", TypeError, "is a int, not a function"),
        ("alone", ValueError, "must read package.module.function"),
        ("package.module.f(1)", ValueError, "must read package.module.function"),
        (".relative.f", ValueError, "must read package.module.function"),
        ("", ValueError, "must read package.module.function"),
    ],
)
def test_a_wrong_path_is_an_error_at_construction(path, error, message):
    with pytest.raises(error, match=message):
        FunctionReward(path)


def test_an_import_error_inside_the_module_keeps_its_cause(tmp_path, monkeypatch):
    (tmp_path / "broken_rewards_module.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="no_such_dependency"):
        FunctionReward("broken_rewards_module.f")


def test_pickles():
    reward = pickle.loads(pickle.dumps(FunctionReward(f"{__name__}.array", weight=0.5)))  # noqa: S301
    assert reward.weight == 0.5
    assert reward(**BATCH).tolist() == [1.0, 3.0]


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_is_refused(weight):
    with pytest.raises(ValueError, match="`weight` of FunctionReward: expected a finite number"):
        FunctionReward(f"{__name__}.array", weight=weight)


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Reward()
