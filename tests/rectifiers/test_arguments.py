from __future__ import annotations

import math

import pytest
from jsonargparse import ArgumentError, ArgumentParser

from lightning_gft.rectifiers import (
    AdaptiveCoefficientRectifier,
    CoefficientRectifier,
    ContinuousCoefficientRectifier,
    DynamicCoefficientRectifier,
)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DynamicCoefficientRectifier(threshold=-0.1), "threshold`.* at least 0, got -0.1"),
        (
            lambda: DynamicCoefficientRectifier(threshold=math.nan),
            "threshold`.* at least 0, got nan",
        ),
        (lambda: ContinuousCoefficientRectifier(threshold=-1), "threshold`.* at least 0, got -1"),
        (
            lambda: AdaptiveCoefficientRectifier(rectified_fraction=0.0),
            "`rectified_fraction`.* above 0 and below 1, got 0.0.*IdentityRectifier",
        ),
        (
            lambda: AdaptiveCoefficientRectifier(rectified_fraction=1.0),
            "`rectified_fraction`.* above 0 and below 1, got 1.0.*IdentityRectifier",
        ),
        (
            lambda: AdaptiveCoefficientRectifier(rectified_fraction=math.nan),
            "`rectified_fraction`.* above 0 and below 1, got nan.*IdentityRectifier",
        ),
        (
            lambda: AdaptiveCoefficientRectifier(momentum=1.0),
            "`momentum`.* at least 0 and below 1, got 1.0",
        ),
        (
            lambda: AdaptiveCoefficientRectifier(momentum=-0.1),
            "`momentum`.* at least 0 and below 1, got -0.1",
        ),
        (
            lambda: AdaptiveCoefficientRectifier(initial_threshold=-0.5),
            "threshold`.* at least 0, got -0.5",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_arguments_are_named(make, words: str):
    with pytest.raises(ValueError, match=words):
        make()


def test_abstract_rectifier_cannot_be_made():
    with pytest.raises(TypeError, match="rectify"):
        CoefficientRectifier()  # type: ignore[abstract]


class TestYaml:
    def parse(self, **config) -> CoefficientRectifier:
        parser = ArgumentParser(exit_on_error=False)
        parser.add_argument("--rectifier", type=CoefficientRectifier)
        return parser.instantiate(parser.parse_object({"rectifier": config})).rectifier

    @pytest.mark.parametrize(
        ("name", "init_args"),
        [
            ("IdentityRectifier", {}),
            ("DynamicCoefficientRectifier", {"threshold": 0.3}),
            ("ContinuousCoefficientRectifier", {"threshold": 0.3}),
            (
                "AdaptiveCoefficientRectifier",
                {"rectified_fraction": 0.4, "momentum": 0.5, "initial_threshold": 0.3},
            ),
        ],
    )
    def test_class_path_and_init_args(self, name: str, init_args):
        rectifier = self.parse(class_path=f"lightning_gft.rectifiers.{name}", init_args=init_args)
        assert type(rectifier).__name__ == name
        for key, value in init_args.items():
            assert getattr(rectifier, key.removeprefix("initial_")) == value

    def test_arguments_of_torchmetrics_are_passed_on(self):
        rectifier = self.parse(
            class_path="lightning_gft.rectifiers.DynamicCoefficientRectifier", init_args={"sync_on_compute": False}
        )
        assert rectifier.sync_on_compute is False

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            ({"class_path": "lightning_gft.rectifiers.DynamicCoefficientRectifier", "init_args": {"tau": 1}}, "tau"),
            (
                {"class_path": "lightning_gft.rectifiers.DynamicCoefficientRectifier", "init_args": {"threshold": "x"}},
                "x",
            ),
            ({"class_path": "lightning_gft.losses.GFTLoss"}, "GFTLoss"),
            (
                {"class_path": "lightning_gft.rectifiers.CoefficientRectifier"},
                "abstract|not.*subclass|CoefficientRectifier",
            ),
        ],
        ids=["misspelt", "no-number", "other-class", "abstract"],
    )
    def test_mistakes_are_named(self, config, words: str):
        with pytest.raises((ArgumentError, TypeError), match=words):
            self.parse(**config)
