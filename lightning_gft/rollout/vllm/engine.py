"""Rollouts by a server: vLLM, or another one with OpenAI's API that returns token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.distributed import on_first_rank, wait_for_ranks
from lightning_gft.errors import GFTRuntimeError
from lightning_gft.lm.decoding.stopping import EndTokens
from lightning_gft.phases import phase
from lightning_gft.rollout.engine import EnginePolicy, RolloutEngine, seeds_of_prompts
from lightning_gft.rollout.transformers import TransformersEngine
from lightning_gft.rollout.vllm.completions import MalformedReplyError, completion_request, read_response
from lightning_gft.rollout.vllm.connection import Connection
from lightning_gft.rollout.vllm.probe import difference
from lightning_gft.rollout.vllm.sync import WeightSync
from lightning_gft.sampling import SamplingParams
from lightning_gft.types import Response


class VLLMEngine(RolloutEngine):
    """Gets responses from a server: a stock ``vllm serve`` that receives the policy's weights after each change.

    The server either runs already (``url``), or the run starts, watches, restarts and ends it (``command``). It may
    have an environment of its own, because nothing of vLLM is imported here. If the server is lost, hangs or fails,
    missing responses are requested again, and the run's own server is restarted with the current weights. Several ranks
    share one server. References (:meth:`Policy.as_loaded`) are sampled in this process; an evaluation with ``kl``
    needs one sample per prompt of them. docs/rollouts.md describes layouts for one GPU and for several.

    It reports ``requests``, ``retries``, ``restarts``, ``tokens``, ``syncs``, ``seconds`` and ``sync_seconds``, summed
    over all ranks.

    Args:
        url: Address of a running server, such as ``http://localhost:8000``.
        command: Program and arguments that start a server, such as ``/opt/vllm/bin/vllm serve --dtype bfloat16``, as a
            text or a list of texts. The model is inserted after ``serve``; its name, ``--host``, ``--port`` and the
            options that weights need are appended. ``{model}`` and ``{port}`` mark another place for these two.
        env: Environment variables of the started server, in addition to those of this process.
        weights: How the server receives weights; default :class:`AdapterSync` for adapters that vLLM supports, and
            otherwise :class:`ReloadSync`. Use :class:`NoSync` for a server that already has the policy's weights.
        model: Name of the policy's model at the server at ``url``; default the first that it lists.
        api_key_env: Environment variable with the server's key; if it is not set, no key is sent.
        timeout: Time limit of one response in seconds, including its time in the server's queue.
        max_retries: Number of times that missing responses are requested again.
        concurrency: Largest number of simultaneous requests per rank.
        start_timeout: Time limit in seconds until a started server is ready.
        log: File to which a started server's output is appended.
        max_logprob_difference: Largest mean difference between the log-probabilities of the server and of the policy,
            on the first response after each change that is not sampled ahead; a larger one stops the run. Different
            precisions alone cause hundredths; ``None`` disables the comparison.
        sleep: Whether the server gives the memory of its GPU back while the policy trains, so that both can use the
            same one. A server at ``url`` needs ``--enable-sleep-mode``.

    Raises:
        ValueError: If not exactly one of ``url`` and ``command`` is given, or a setting is out of range; when the
            policy is loaded, if its weights cannot be sent by ``weights``.
        TypeError: If a setting is of another type.
        RuntimeError: When the policy is loaded, if the program of ``command`` is missing or ``log`` cannot be written;
            while sampling, if the server returns no responses or has other weights.

    Example:
        >>> VLLMEngine(url="http://localhost:8000").for_references()
        <lightning_gft.rollout.transformers.TransformersEngine ...>
    """

    def __init__(
        self,
        url: str | None = None,
        command: str | list[str] | None = None,
        env: dict[str, str] | None = None,
        weights: WeightSync | None = None,
        model: str | None = None,
        api_key_env: str = "VLLM_API_KEY",
        timeout: float = 600.0,
        max_retries: int = 5,
        concurrency: int = 256,
        start_timeout: float = 900.0,
        log: str = "runs/vllm.log",
        max_logprob_difference: float | None = 0.5,
        sleep: bool = False,
    ) -> None:
        # Private, so that cards do not show them and resumed runs do not compare them: no response depends on them.
        self._connection = Connection(
            url=url,
            command=command,
            env=env or {},
            weights=weights,
            model=model,
            api_key_env=api_key_env,
            timeout=timeout,
            max_retries=max_retries,
            concurrency=concurrency,
            start_timeout=start_timeout,
            log=log,
            sleep=sleep,
        )
        self._sleeps, self._asleep = sleep, False
        self._max_difference = max_logprob_difference
        if max_logprob_difference is not None:
            self._max_difference = check_number(
                "max_logprob_difference", max_logprob_difference, above=0, of=type(self).__name__, otherwise="null"
            )
        self._in_place = TransformersEngine()
        self._version, self._prepared, self._compared = 0, -1, -1
        self._uncompared: tuple[int, Sequence[int], Response] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prepared": -1, "_compared": -1, "_asleep": False, "_uncompared": None}

    @override
    def attach(self, policy: EnginePolicy) -> None:
        self._connection.check(policy)

    @override
    def weights_changed(self) -> None:
        self._version += 1

    @override
    def for_references(self) -> RolloutEngine:
        return self._in_place

    @override
    def prepare(self, policy: EnginePolicy) -> None:
        if self._prepared == self._version and not self._asleep:
            return
        with phase("rollout"):
            if self._sleeps and torch.cuda.is_available():
                torch.cuda.empty_cache()  # what the allocator keeps of the last step
                wait_for_ranks()
            served = on_first_rank(lambda: self._connection.bring(policy, self._version))
        self._connection.take(served)
        self._prepared, self._asleep = self._version, False

    @override
    def rest(self) -> None:
        if not self._sleeps or self._prepared < 0 or self._asleep:
            return
        with phase("rollout"):
            wait_for_ranks()  # others may still draw
            on_first_rank(self._connection.rest)
        self._asleep = True

    @override
    def generate(
        self,
        model: PreTrainedModel,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seeds: Sequence[int],
        end: EndTokens,
        with_greedy: bool = False,
    ) -> list[list[Response]]:
        drawn = self._draw(prompt_ids, num_generations, sampling, seeds, end, with_greedy)
        if drawn:
            self._compare(model, prompt_ids[0], drawn[0][0])
        return drawn

    @override
    def can_draw_ahead(self) -> bool:
        return not self._sleeps

    @override
    def generate_ahead(
        self,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seeds: Sequence[int],
        end: EndTokens,
    ) -> list[list[Response]]:
        drawn = self._draw(prompt_ids, num_generations, sampling, seeds, end, ahead=True)
        self._uncompared = (self._prepared, prompt_ids[0], drawn[0][0]) if drawn else None
        return drawn

    @override
    def check_drawn_ahead(self, model: PreTrainedModel) -> None:
        if self._uncompared is not None:
            version, prompt_ids, response = self._uncompared
            self._uncompared = None
            if version == self._version:
                self._compare(model, prompt_ids, response)

    def _draw(
        self,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seeds: Sequence[int],
        end: EndTokens,
        with_greedy: bool = False,
        ahead: bool = False,
    ) -> list[list[Response]]:
        if self._prepared < 0:
            raise GFTRuntimeError("`prepare` of VLLMEngine: expected a call before generate, got none; call it first")
        of_prompts = seeds_of_prompts(seeds, len(prompt_ids), num_generations, with_greedy)
        name = self._connection.served_as
        requests = [
            completion_request(name, ids, seed, sampling, end)
            for ids, of_one in zip(prompt_ids, of_prompts, strict=True)
            for seed in of_one
        ]
        replies = self._connection.draw(requests, ahead)
        try:
            drawn = [read_response(reply, end) for reply in replies]
        except MalformedReplyError as error:
            raise self._connection.faults.other_protocol(error) from None
        self._connection.counts.totals["tokens"] += sum(len(response.token_ids) for response in drawn)
        one_by_one = iter(drawn)
        return [[next(one_by_one) for _ in of_one] for of_one in of_prompts]

    @override
    def close(self) -> None:
        self._connection.close()
        self._prepared, self._asleep = -1, False

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return {**self._connection.counts.compute()}

    @override
    def reset(self) -> None:
        self._connection.counts.reset()

    def _compare(self, model: PreTrainedModel, prompt_ids: Sequence[int], response: Response) -> None:
        """Check once after each change that the server has the policy's weights."""
        if self._max_difference is None or self._compared == self._prepared:
            return
        apart = difference(model, prompt_ids, response)
        if not apart <= self._max_difference:
            raise self._connection.faults.other_weights(apart, self._max_difference)
        self._compared = self._prepared
