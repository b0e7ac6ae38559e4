"""The policy as its own teacher, with a demonstration in its prompt."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterable, Sequence

from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from lightning_gft.checks import check_choice, shorten
from lightning_gft.data import Example
from lightning_gft.data.errors import no_column, row_name
from lightning_gft.errors import GFTValueError
from lightning_gft.policy import check_window
from lightning_gft.seeds import response_seeds
from lightning_gft.teachers.base import Teacher
from lightning_gft.teachers.rewriting import PromptRewriter, last_text
from lightning_gft.types import PromptBatch, Response, ResponseGenerator

_TEMPLATE = (
    "{prompt}\n\nThis is an example for a response to the question:\n{demonstration}\n\n"
    "Now answer with a response of your own, including the thinking process."
)
_PLACES = re.compile(r"\{(prompt|demonstration)\}")


class DemonstrationTeacher(Teacher):
    r"""The current policy with a demonstration in its prompt: self-distillation (SDFT, arXiv 2601.19897).

    The demonstration is added to the user's last message; the rest of the prompt stays, and the policy's responses
    follow it token for token. The paper's teacher averages the policy's weights over the run; this one uses the current
    weights, which takes no memory.

    Args:
        template: The user message that the teacher reads, with ``{prompt}`` and ``{demonstration}``; the default is
            that of the paper's code.
        role: ``"expert"`` or ``"teacher"``, the role of the demonstrations. If a prompt has several, one is drawn at
            random; responses to a prompt without any get no log-probabilities.
        micro_batch_tokens: Most tokens of one forward pass of the policy.

    Raises:
        ValueError: If the template lacks one of its two fields, or the role is unknown.

    Example:
        >>> DemonstrationTeacher(template="{prompt}\n\nA good answer:\n{demonstration}\n\nYours:").role
        'expert'
    """

    def __init__(self, template: str = _TEMPLATE, role: str = "expert", micro_batch_tokens: int = 16384) -> None:
        super().__init__(micro_batch_tokens)
        if not isinstance(template, str) or {*_PLACES.findall(template)} != {"prompt", "demonstration"}:
            raise GFTValueError(
                f"`template` of DemonstrationTeacher: expected a text with {{prompt}} and {{demonstration}}, got "
                f"{shorten(template)}; add what is missing"
            )
        check_choice("role", role, ("expert", "teacher"), of="DemonstrationTeacher")
        self.template = template
        self.role = role

    @override
    def reads(self) -> frozenset[str]:
        return frozenset({self.role})

    @override
    def check_prompts(self, rows: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_new_tokens: int) -> None:
        self._check_role(rows[0].demonstrations, rows[0].columns)
        pairs = [(row, answer) for row in rows for answer in row.demonstrations[self.role]]
        index = 0
        try:
            prompt_ids = self._show(
                PromptRewriter(tokenizer),
                [row.prompt_ids for row, _ in pairs],
                [last_text(row.prompt, row.messages) for row, _ in pairs],
                [str(tokenizer.decode(answer.token_ids, skip_special_tokens=True)) for _, answer in pairs],
            )
            index = max(range(len(prompt_ids)), key=lambda i: len(prompt_ids[i]))
            check_window(tokenizer, len(prompt_ids[index]), max_new_tokens)
        except ValueError as error:
            where = row_name(pairs[getattr(error, "index", index)][0].row)
            raise GFTValueError(
                f"train data, {where}: `DemonstrationTeacher`: the prompt with the demonstration: {error}"
            ) from error

    @override
    def logprobs(
        self, prompts: PromptBatch, responses: Sequence[Sequence[Response]], policy: ResponseGenerator, seed: int
    ) -> list[list[list[float]] | None]:
        self._check_role(prompts.demonstrations, prompts.columns)
        given = prompts.demonstrations[self.role]
        seeds = response_seeds(seed, prompts.places or range(len(prompts)), num_generations=1)
        known = [i for i, answers in enumerate(given) if answers]
        messages = prompts.messages or [[]] * len(prompts)
        prompt_ids = self._show(
            PromptRewriter(policy.tokenizer),
            [prompts.prompt_ids[i] for i in known],
            [last_text(prompts.prompts[i], messages[i]) for i in known],
            [policy.decode(random.Random(seeds[i]).choice(given[i]).token_ids) for i in known],
        )
        scored: list[list[list[float]] | None] = [None] * len(prompts)
        for i, values in zip(known, self.score(policy, prompt_ids, [responses[i] for i in known]), strict=True):
            scored[i] = values
        return scored

    def _show(
        self,
        rewriter: PromptRewriter,
        prompt_ids: Sequence[Sequence[int]],
        texts: Sequence[str],
        demonstrations: Sequence[str],
    ) -> list[list[int]]:
        """Return the token ids of prompts that contain their demonstrations."""
        shown = [self._fill(prompt=one, demonstration=other) for one, other in zip(texts, demonstrations, strict=True)]
        return rewriter.rewrite(prompt_ids, texts, shown)

    def _fill(self, **texts: str) -> str:
        return _PLACES.sub(lambda place: texts[place[1]], self.template)

    def _check_role(self, roles: Collection[str], columns: Iterable[str]) -> None:
        if self.role not in roles:
            raise no_column(self, self.role, columns)
