"""Optimizers, and whether their updates move weights."""
