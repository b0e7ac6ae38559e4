"""Which strategies there are, by name and as objects."""

from __future__ import annotations

import pytest
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, Strategy, StrategyRegistry

from lightning_gft import FSDP2Strategy
from lightning_gft.distributed import check_strategy, check_strategy_name
from lightning_gft.distributed.strategy import register
from lightning_gft.errors import GFTValueError
from tests.module.runs import make_trainer


class OwnFSDP1(FSDPStrategy):
    """Somebody's subclass of Lightning's strategy."""


@pytest.mark.parametrize("name", ["fsdp", "fsdp2"])
def test_both_names_are_fsdp2_on_cpus_too(name: str):
    assert type(make_trainer(strategy=name, devices=2).strategy) is FSDP2Strategy


def test_names_are_taken_from_lightning_where_it_has_registered_its_own():
    StrategyRegistry.register("fsdp", FSDPStrategy, override=True)
    FSDPStrategy.get_registered_strategies().append("fsdp")
    register()
    assert type(make_trainer(strategy="fsdp", devices=2).strategy) is FSDP2Strategy


@pytest.mark.parametrize("kind", [FSDPStrategy, OwnFSDP1])
def test_fsdp1_is_refused_with_the_name_of_ours(kind: type[Strategy]):
    with pytest.raises(
        ValueError, match=rf"^`trainer\.strategy`: .* got {kind.__name__}; use lightning_gft\.FSDP2Strategy"
    ):
        check_strategy(kind(), "32-true")


@pytest.mark.parametrize(
    "name", ["fsdp_cpu_offload", "deepspeed_stage_2", "lightning.pytorch.strategies.FSDPStrategy", "DeepSpeedStrategy"]
)
def test_names_of_what_is_not_supported_are_refused(name: str):
    with pytest.raises(GFTValueError, match=rf"got {name}; use lightning_gft\.FSDP2Strategy"):
        check_strategy_name(name)


@pytest.mark.parametrize("name", ["auto", "ddp", "fsdp", "fsdp2", "lightning_gft.FSDP2Strategy", "my.own.Strategy"])
def test_other_names_pass(name: str):
    check_strategy_name(name)


def test_other_strategies_pass():
    check_strategy(DDPStrategy(), "64-true")
