"""Sampled groups as a readable table: on the terminal, as Parquet beside the logs, and in what the loggers log to."""

from lightning_gft.callbacks.group_table.callback import GroupTable

__all__ = ["GroupTable"]
