"""Groups that a run keeps of training and validation for display; reading and writing them needs no torch."""

from lightning_gft.samples.reading import read_samples
from lightning_gft.samples.schema import Kind, SampledGroup, SampledResponse, TokenFigures
from lightning_gft.samples.tables import from_table, to_table

__all__ = ["Kind", "SampledGroup", "SampledResponse", "TokenFigures", "from_table", "read_samples", "to_table"]
