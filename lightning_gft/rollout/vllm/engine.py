"""Rollouts by a server: vLLM, or another one that speaks OpenAI's protocol and returns token ids."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from transformers import PreTrainedModel
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.distributed import on_first_rank
from lightning_gft.errors import GFTRuntimeError
from lightning_gft.lm.decoding.stopping import EndTokens
from lightning_gft.phases import phase
from lightning_gft.rollout.engine import EnginePolicy, RolloutEngine
from lightning_gft.rollout.transformers import TransformersEngine
from lightning_gft.rollout.vllm.completions import MalformedReplyError, completion_request, read_response
from lightning_gft.rollout.vllm.connection import Connection
from lightning_gft.rollout.vllm.probe import difference
from lightning_gft.rollout.vllm.sync import WeightSync
from lightning_gft.sampling import SamplingParams
from lightning_gft.types import Response


class VLLMEngine(RolloutEngine):
    """Draws by a server: a stock ``vllm serve`` that gets the policy's weights after each change, once, when it draws.

    The server either runs already (``url``), or is started, watched, started anew and ended by the run (``command``).
    It may have an environment of its own: nothing of vLLM is imported here. Where it is lost, hangs or fails, what is
    missing is asked for again; one of the run's own is started anew with the present weights. Several ranks share it.
    What a reference draws (:meth:`Policy.as_loaded`), a sample a prompt in an evaluation with ``kl``, is drawn in this
    process. docs/rollouts.md says how to lay this out on one GPU or several.

    ``requests``, ``retries``, ``restarts``, ``tokens``, ``syncs`` and the ``seconds`` and ``sync_seconds`` of all ranks
    are reported.

    Args:
        url: Address of a server that runs, such as ``http://localhost:8000``.
        command: Program and arguments that start one, such as ``/opt/vllm/bin/vllm serve --dtype bfloat16``: a text, or
            a list. Model, its name, what weights need and ``--port`` are added; ``{model}`` and ``{port}`` in it say
            where, if not at its end.
        env: Environment variables of the started server, besides those of this process.
        weights: How weights come to the server; by default :class:`AdapterSync` for adapters that vLLM serves, else
            :class:`ReloadSync`. :class:`NoSync` for a server that has the policy's weights already.
        model: What the server at ``url`` calls the policy's model; by default the first that it lists.
        api_key_env: Environment variable with the server's key; where it is not set, no key is sent.
        timeout: Seconds that one response may take, all those before it in the server's queue included.
        max_retries: How often missing responses are asked for again.
        concurrency: Most requests of a rank at once.
        start_timeout: Seconds until a started server is ready.
        log: File to which a started server's output is appended.
        max_logprob_difference: The first response after each change is scored by the policy too; a mean difference
            above this stops the run, as the server has other weights. Precision alone makes hundredths; ``None``
            compares nothing.

    Raises:
        ValueError: If not exactly one of ``url`` and ``command`` is given, or a setting is out of range; when the
            policy is made, if its weights cannot be sent so.
        TypeError: If a setting is of another type.
        RuntimeError: On drawing, if the server gives no responses, or has other weights.

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
    ) -> None:
        # Private, as no response follows from these; a card does not show them, nor a resumed run compare them.
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
        )
        self._max_difference = max_logprob_difference
        if max_logprob_difference is not None:
            self._max_difference = check_number(
                "max_logprob_difference", max_logprob_difference, above=0, of=type(self).__name__, otherwise="null"
            )
        self._in_place = TransformersEngine()
        self._version, self._prepared, self._compared = 0, -1, -1

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
        if self._prepared == self._version:
            return
        with phase("rollout"):
            served = on_first_rank(lambda: self._connection.bring(policy, self._version))
        self._connection.take(served)
        self._prepared = self._version

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
        return True

    @override
    def generate_ahead(
        self,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seeds: Sequence[int],
        end: EndTokens,
    ) -> list[list[Response]]:
        return self._draw(prompt_ids, num_generations, sampling, seeds, end)  # the policy, which trains, cannot compare

    def _draw(
        self,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seeds: Sequence[int],
        end: EndTokens,
        with_greedy: bool = False,
    ) -> list[list[Response]]:
        if self._prepared < 0:
            raise GFTRuntimeError("`prepare` of VLLMEngine: expected a call before generate, got none; call it first")
        greedy = [None] if with_greedy else []
        of_prompts = [
            [*greedy, *seeds[i * num_generations : (i + 1) * num_generations]] for i in range(len(prompt_ids))
        ]
        name = self._connection.served_as
        requests = [
            completion_request(name, ids, seed, sampling, end)
            for ids, of_one in zip(prompt_ids, of_prompts, strict=True)
            for seed in of_one
        ]
        replies = self._connection.draw(requests)
        try:
            drawn = [read_response(reply, end, self._prepared) for reply in replies]
        except MalformedReplyError as error:
            raise self._connection.faults.other_protocol(error) from None
        self._connection.counts["tokens"] += sum(len(response.token_ids) for response in drawn)
        one_by_one = iter(drawn)
        return [[next(one_by_one) for _ in of_one] for of_one in of_prompts]

    @override
    def close(self) -> None:
        self._connection.close()
        self._prepared = -1

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return {**self._connection.figures()}

    @override
    def reset(self) -> None:
        self._connection.counts.clear()

    def _compare(self, model: PreTrainedModel, prompt_ids: Sequence[int], response: Response) -> None:
        """Refuse weights that are not the policy's, once after each change."""
        if self._max_difference is None or self._compared == self._prepared:
            return
        apart = difference(model, prompt_ids, response)
        if not apart <= self._max_difference:
            raise self._connection.faults.other_weights(apart, self._max_difference)
        self._compared = self._prepared
