"""Runs side by side, read from their logs."""
