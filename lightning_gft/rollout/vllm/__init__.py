"""Rollouts by a server: vLLM, or another program with OpenAI's API."""

from lightning_gft.rollout.vllm.adapter import AdapterSync
from lightning_gft.rollout.vllm.engine import VLLMEngine
from lightning_gft.rollout.vllm.reload import ReloadSync
from lightning_gft.rollout.vllm.sync import NoSync, WeightSync
from lightning_gft.rollout.vllm.transfer import NCCLSync

__all__ = ["AdapterSync", "NCCLSync", "NoSync", "ReloadSync", "VLLMEngine", "WeightSync"]
