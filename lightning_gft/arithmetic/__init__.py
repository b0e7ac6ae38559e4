"""An embedded task, arithmetic in small steps, with its data and a small pretrained policy."""

from lightning_gft.arithmetic.datamodule import ArithmeticDataModule, ArithmeticPretrainingDataModule
from lightning_gft.arithmetic.policy import ArithmeticPolicy
from lightning_gft.arithmetic.problems import ARITHMETIC_ALPHABET, ArithmeticProblem, LetterProblem

__all__ = [
    "ARITHMETIC_ALPHABET",
    "ArithmeticDataModule",
    "ArithmeticPolicy",
    "ArithmeticPretrainingDataModule",
    "ArithmeticProblem",
    "LetterProblem",
]
