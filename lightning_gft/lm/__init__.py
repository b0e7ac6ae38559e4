"""Running a causal language model, and finding out what it supports."""
