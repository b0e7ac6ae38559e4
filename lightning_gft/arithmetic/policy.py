"""The small policy that ships with the package."""

from __future__ import annotations

from importlib.resources import files

from lightning_gft.policy.adapters import LoRA
from lightning_gft.policy.pretrained import PretrainedPolicy
from lightning_gft.rollout import RolloutEngine


class ArithmeticPolicy(PretrainedPolicy):
    """A pretrained policy of 0.13 million parameters for :class:`~lightning_gft.ArithmeticDataModule`.

    It solves sums of three numbers, but makes a mistake in about three of ten sampled steps. It also reverses and
    sorts letters. ``configs/quickstart/base.yaml`` reproduces it.

    Args:
        lora: Adapters to train in place of the model's weights.
        rollout: Engine that draws responses; default :class:`~lightning_gft.TransformersEngine`.

    Example:
        >>> from lightning_gft import SamplingParams
        >>> policy = ArithmeticPolicy().load()
        >>> prompt = policy.tokenizer.encode("12+7-5=")
        >>> [[response]] = policy.generate([prompt], 1, SamplingParams(max_new_tokens=48, temperature=0.0), seed=0)
        >>> policy.decode(response.token_ids)
        '12+7=19,19-5=14,#14'
    """

    def __init__(self, lora: LoRA | None = None, rollout: RolloutEngine | None = None) -> None:
        folder = files("lightning_gft.arithmetic") / "assets/arithmetic"
        super().__init__(str(folder), torch_dtype="float32", lora=lora, rollout=rollout)
