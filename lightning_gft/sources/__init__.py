"""Where the responses of a group come from."""

from lightning_gft.sources.base import ResponseSource
from lightning_gft.sources.checks import check_given
from lightning_gft.sources.dataset import DatasetSource, ExpertSource, TeacherSource
from lightning_gft.sources.endpoint import EndpointSource
from lightning_gft.sources.policy import SelfSource

__all__ = [
    "DatasetSource",
    "EndpointSource",
    "ExpertSource",
    "ResponseSource",
    "SelfSource",
    "TeacherSource",
    "check_given",
]
