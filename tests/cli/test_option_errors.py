"""What an error of Lightning about an option of the Trainer begins with."""

from __future__ import annotations

from types import FunctionType

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lightning_gft.cli.checks import naming_options
from lightning_gft.errors import GFTValueError


def raise_within(module: str, error: Exception) -> None:
    """Raise an error as a function of some module would."""

    def fail() -> None:
        raise error

    FunctionType(fail.__code__, {"__name__": module}, closure=fail.__closure__)()


@pytest.mark.parametrize("kind", [MisconfigurationException, TypeError, ValueError])
def test_an_error_of_a_plugin_keeps_its_class_and_traceback(kind):
    error = kind("max_steps is 3 in the plugin of a user")
    with pytest.raises(kind) as caught, naming_options("trainer", {"max_steps": 3}):
        raise_within("my_project.plugins", error)
    assert caught.value is error


@pytest.mark.parametrize(
    ("message", "setting"),
    [
        ("`max_steps` must be a non-negative integer or -1", "trainer.max_steps"),
        ("invalid value -3 for limit_val_batches, it has to be in [0.0, 1.0]", "trainer.limit_val_batches"),
        ("`Timer(duration='abc')` is not a valid duration", "trainer.max_time"),  # by its value
        ("`Trainer(max_time='abc', max_steps=100)` has two ends", "trainer.max_time"),  # by its value, of two names
        ("set max_time or max_steps", "trainer"),
        ("You requested gpu: [5]\n But your machine only has: [0]", "trainer"),  # two values
        ("the devices [5] are not there", "trainer.devices"),
        ("there are only 5 of -50", "trainer"),  # parts of values
        ("something else is wrong", "trainer"),
    ],
)
@pytest.mark.parametrize("kind", [MisconfigurationException, TypeError, ValueError])
def test_an_error_of_the_trainer_names_the_option(message, setting, kind):
    options = {"max_steps": -5, "limit_val_batches": -3, "max_time": "abc", "accelerator": "gpu", "devices": [5]}
    options |= {"strategy": "auto", "logger": True, "profiler": None, "plugins": ""}
    with pytest.raises(GFTValueError) as caught, naming_options("trainer", options):
        raise_within("lightning.pytorch.trainer", kind(message))
    assert str(caught.value) == f"`{setting}`: {' '.join(message.split())}"
