"""Shows sampled groups as readable tables: on the terminal, as Parquet beside the logs, and in the loggers."""

from lightning_gft.callbacks.group_table.callback import GroupTable

__all__ = ["GroupTable"]
