"""The source of responses from a teacher on a server."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from torch import Tensor
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from lightning_gft.checks import check_choice, check_count, check_seed, shorten
from lightning_gft.data import Example
from lightning_gft.data.errors import row_name
from lightning_gft.errors import GFTRuntimeError, GFTTypeError, GFTValueError
from lightning_gft.extras import require
from lightning_gft.phases import phase
from lightning_gft.sampling import SamplingParams
from lightning_gft.sources.base import ResponseSource
from lightning_gft.sources.endpoint.cache import ReplyCache
from lightning_gft.sources.endpoint.figures import Figures
from lightning_gft.sources.endpoint.questions import ChatParams, Question
from lightning_gft.sources.endpoint.replies import KEY_ECHOED, Reply
from lightning_gft.sources.endpoint.server import Server
from lightning_gft.types import EncodedText, PromptBatch, Response, ResponseGenerator, Source

if TYPE_CHECKING:
    from lightning_gft.sources.endpoint.asker import Asker

Reasoning = Literal["drop", "keep"]

_STARTING = threading.Lock()
"""Held while a source starts its thread. It is not an attribute, so that a source can be copied."""
_OWN_FIELDS = ("model", "messages", "n", "stream")


class EndpointSource(ResponseSource):
    """Responses of a teacher on a server with OpenAI's chat completions API, such as vLLM or ``transformers serve``.

    Each response is a separate request with its own seed, which every server supports. Each request is sent once, and
    its reply is stored on disk before it is used. A run requests responses for later batches while it trains on the
    current one.

    A complete reply becomes a demonstration, encoded like a demonstration of the data. A reply is left out of its group
    if it is truncated, filtered, a refusal, a tool call, blank, or longer than the data's demonstrations may be.

    The figures under ``train/sources/<name>/`` are summed over ranks. ``replies`` counts the replies of a step. Among
    them are those ``cached`` on disk, ``cut`` by ``max_new_tokens``, ``dropped`` for another reason, and
    ``not_rerendered``: the policy's chat template omits a part of the reply, so that its text is encoded unchanged, or
    the text contains special tokens of the policy. ``requests`` counts the requests sent, ``retries`` those that were
    sent again, and ``tokens`` the tokens that the teacher generated. ``seconds`` is the time that the step has waited.

    Args:
        model: Name of the teacher on the server.
        base_url: Address of the server, up to ``/v1``.
        num_responses: Number of responses per prompt.
        max_new_tokens: Length limit of a reply, in the teacher's tokens.
        temperature: Divisor of the logits: 1 samples from the teacher itself, 0 is greedy decoding.
        top_p: Sample from the smallest set of tokens whose probabilities sum to at least ``top_p``; 1 keeps all tokens.
        seed: Seed that the seeds of all requests are derived from; null sends no seeds. A new seed gives new replies.
        system_prompt: Replacement for the data's system message; an empty text keeps the original.
        reasoning: ``"drop"`` discards reasoning that the server sends apart from the answer; ``"keep"`` puts it before
            the answer, between ``<think>`` and ``</think>``.
        concurrency: Largest number of concurrent requests of a rank.
        timeout: Time limit of one request, in seconds.
        max_retries: Largest number of times that a request is sent again after a failed connection, a timeout, a status
            of 408, 409, 429 or 5xx, or an unreadable reply. Waits follow the server's ``Retry-After``, or double from
            0.5 to 8 seconds.
        api_key_env: Name of the environment variable that holds the API key; if it is not set, no key is sent.
        cache: Folder of the replies, which all ranks and later runs share. The key of a reply depends on messages,
            model, settings and the reply's number, but not on the address.
        ahead: Number of later batches whose responses are requested while the current batch trains.
        extra_body: Additional fields of a request, such as ``{top_k: 20}`` for vLLM; null as a value removes a field.

    Raises:
        ValueError: If a setting is out of range, or the address contains a user, a password or a query.
        TypeError: If a setting has another type.
        ModuleNotFoundError: If the ``openai`` library is not installed.

    Example:
        >>> source = EndpointSource("Qwen/Qwen2.5-7B-Instruct", "http://localhost:8000/v1", num_responses=3)
        >>> source.draws(), source.looks_ahead()
        (False, 2)
    """

    source = Source.TEACHER

    def __init__(
        self,
        model: str,
        base_url: str,
        num_responses: int = 3,
        max_new_tokens: int = 1024,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = 0,
        system_prompt: str = "",
        reasoning: Reasoning = "drop",
        concurrency: int = 16,
        timeout: float = 600.0,
        max_retries: int = 8,
        api_key_env: str = "OPENAI_API_KEY",
        cache: str = "runs/endpoint",
        ahead: int = 2,
        extra_body: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_responses)
        name = type(self).__name__
        require("openai", setting=name, extra="endpoint")
        sampling = SamplingParams(max_new_tokens, temperature, top_p, of=name)
        sampling.check_several("num_responses", self.num_responses, of=name)
        for field, text, least in (("model", model, 1), ("system_prompt", system_prompt, 0), ("cache", cache, 1)):
            if not isinstance(text, str) or len(text.strip()) < least:
                raise GFTTypeError(f"`{field}` of {name}: expected a text, got {shorten(text)}; write one")
        check_choice("reasoning", reasoning, get_args(Reasoning), of=name)
        seed = None if seed is None else check_seed("seed", seed, of=name)
        self.params = ChatParams(model, sampling, seed, system_prompt, _checked_body(extra_body))
        self.reasoning = reasoning
        # Not shown in cards, nor compared when a prediction resumes: replies do not depend on these settings.
        self._concurrency = check_count("concurrency", concurrency, of=name)
        self._ahead = check_count("ahead", ahead, least=0, of=name)
        self._server = Server(base_url, api_key_env, timeout, max_retries)
        self._cache = ReplyCache(cache)
        self._asker: Asker | None = None
        self._figures = Figures()

    def __getstate__(self) -> dict[str, Any]:
        """Return a state without connections, which belong to one process, and without counts of another thread."""
        return {**self.__dict__, "_asker": None, "_figures": Figures()}

    @override
    def draws(self) -> bool:
        return False

    @override
    def reads(self) -> frozenset[str]:
        return frozenset()

    @override
    def looks_ahead(self) -> int:
        return self._ahead

    @override
    def check_prompts(self, rows: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> None:
        for row in rows:
            try:
                self.params.question(row.messages, number=0)
            except TypeError as error:
                raise GFTValueError(f"train data, {row_name(row.row)}: {error}") from error

    @override
    def setup(self) -> None:
        self._cache.open()
        self._server.key()
        self._asking()

    @override
    def close(self) -> None:
        if self._asker is not None:
            self._asker.close()
        self._asker = None

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return {**self._figures.compute()}

    @override
    def reset(self) -> None:
        self._figures.reset()

    @override
    def prepare(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> None:
        self._asking().ask([question for of_prompt in self._questions(prompts) for question in of_prompt])

    @override
    def respond(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[list[Response]]:
        with phase("teacher") as waiting:
            self.prepare(prompts, policy, seed)
            replies = [self._replies(prompts, index, asked) for index, asked in enumerate(self._questions(prompts))]
        self._figures.add("seconds", waiting.seconds)
        texts = [[text for reply in given if (text := self._demonstration(reply)) is not None] for given in replies]
        self._figures.warn_of_equal(texts)
        if prompts.encoder is None:
            return [[Response(policy.encode(text)) for text in given] for given in texts]
        encoded = prompts.encoder.encode(prompts, texts)
        return [self._kept(*of_prompt) for of_prompt in zip(texts, encoded, strict=True)]

    def _asking(self) -> Asker:
        with _STARTING:
            if self._asker is None or self._asker.process != os.getpid():
                from lightning_gft.sources.endpoint.asker import Asker  # loads the openai library

                self._asker = Asker(self._server, self._cache, self._concurrency, self._figures.totals)
            return self._asker

    def _questions(self, prompts: PromptBatch) -> list[list[Question]]:
        messages = prompts.messages or [[{"role": "user", "content": prompt}] for prompt in prompts.prompts]
        return [[self.params.question(one, number) for number in range(self.num_responses)] for one in messages]

    def _replies(self, prompts: PromptBatch, index: int, questions: Sequence[Question]) -> list[Reply]:
        from lightning_gft.sources.endpoint.faults import EndpointFault

        try:
            replies = self._asking().replies(questions)
        except EndpointFault as fault:
            where = f" of {row_name(prompts.rows[index])}" if fault.of_prompt and prompts.rows else ""
            raise GFTRuntimeError(f"{fault}{where}. Replies received so far are in {self._cache.path}") from None
        self._figures.add("replies", len(replies))
        self._figures.add("cached", sum(cached for _, cached in replies))
        return [reply for reply, _ in replies]

    def _demonstration(self, reply: Reply) -> str | None:
        if reply.finish_reason == "length":
            self._figures.left_out("cut", "was truncated (raise max_new_tokens)", reply.text)
            return None
        if reply.finish_reason == KEY_ECHOED:
            self._figures.left_out("dropped", "contains the API key, so its text is not stored", reply.text)
            return None
        if reply.finish_reason != "stop":
            self._figures.left_out("dropped", f"ended by {reply.finish_reason!r}", reply.text)
            return None
        if not reply.text.strip():
            self._figures.left_out("dropped", "is blank", reply.reasoning or reply.text)
            return None
        if self.reasoning == "keep" and reply.reasoning:
            return f"<think>\n{reply.reasoning.strip()}\n</think>\n\n{reply.text.lstrip()}"
        return reply.text

    def _kept(self, texts: Sequence[str], encoded: Sequence[EncodedText]) -> list[Response]:
        for text, one in zip(texts, encoded, strict=True):
            self._figures.add("not_rerendered", not one.rendered)
            if one.response is None:
                self._figures.left_out("dropped", f"cannot be a demonstration ({one.fault})", text)
        return [one.response for one in encoded if one.response is not None]


def _checked_body(extra_body: object) -> dict[str, Any]:
    body = {} if extra_body is None else extra_body
    if not isinstance(body, dict) or not all(isinstance(name, str) for name in body):
        raise GFTTypeError(
            f"`extra_body` of EndpointSource: expected fields by name, got {shorten(body)}; write a dict"
        )
    for name in _OWN_FIELDS:
        if name in body:
            raise GFTValueError(
                f"`extra_body` of EndpointSource: expected fields other than {', '.join(_OWN_FIELDS)}, got {name!r}; "
                "leave it out"
            )
    return dict(body)
