"""Sources of the responses in a group."""

from lightning_gft.sources.base import ResponseSource
from lightning_gft.sources.checks import check_given
from lightning_gft.sources.choices import ByLength, Choice, HighestReward, MostDifferent, OnlyCorrect
from lightning_gft.sources.chosen import ChosenSource
from lightning_gft.sources.dataset import DatasetSource, ExpertSource, TeacherSource
from lightning_gft.sources.endpoint import EndpointSource
from lightning_gft.sources.policy import SelfSource
from lightning_gft.sources.stored import StoredSource
from lightning_gft.sources.wrapper import SourceWrapper

__all__ = [
    "ByLength",
    "Choice",
    "ChosenSource",
    "DatasetSource",
    "EndpointSource",
    "ExpertSource",
    "HighestReward",
    "MostDifferent",
    "OnlyCorrect",
    "ResponseSource",
    "SelfSource",
    "SourceWrapper",
    "StoredSource",
    "TeacherSource",
    "check_given",
]
