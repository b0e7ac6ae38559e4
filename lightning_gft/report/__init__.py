"""Reports that compare runs by their logs."""
