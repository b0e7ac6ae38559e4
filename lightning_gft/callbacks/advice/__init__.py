"""Advice on a run, derived from the figures that it logs."""

from lightning_gft.callbacks.advice.advice import Advice
from lightning_gft.callbacks.advice.history import History
from lightning_gft.callbacks.advice.rule import Finding, Rule
from lightning_gft.callbacks.advice.rules import RULES

__all__ = ["RULES", "Advice", "Finding", "History", "Rule"]
