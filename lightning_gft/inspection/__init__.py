"""Reports on the data before training."""

from lightning_gft.inspection.inspecting import inspect_data
from lightning_gft.inspection.report import DataReport

__all__ = ["DataReport", "inspect_data"]
