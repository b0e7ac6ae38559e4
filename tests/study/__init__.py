"""The study: plans, choice, processes and the Parquet file."""
