"""The study: objectives x learning rates x seeds, in parallel processes, into one Parquet file."""
