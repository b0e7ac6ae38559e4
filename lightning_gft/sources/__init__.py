"""Where the responses of a group come from."""

from lightning_gft.sources.base import ResponseSource
from lightning_gft.sources.checks import check_given
from lightning_gft.sources.dataset import DatasetSource, ExpertSource, TeacherSource
from lightning_gft.sources.policy import SelfSource
from lightning_gft.sources.stored import StoredSource

__all__ = [
    "DatasetSource",
    "ExpertSource",
    "ResponseSource",
    "SelfSource",
    "StoredSource",
    "TeacherSource",
    "check_given",
]
