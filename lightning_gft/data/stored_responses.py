"""Responses of stored groups, as token ids of this policy."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lightning_gft.data.columns import TextExample
from lightning_gft.data.errors import naming_rows
from lightning_gft.data.prompts import is_blank
from lightning_gft.data.responses import EncodedPrompt
from lightning_gft.data.tokenization import PromptEncoder
from lightning_gft.stored import StoredGroup, StoredResponse, tokenizer_fingerprint
from lightning_gft.types import Response, Source

StoredBySource = dict[str, list[Response]]


def encode_stored(
    encoder: PromptEncoder, prompts: Sequence[EncodedPrompt], texts: Sequence[TextExample]
) -> list[StoredBySource]:
    """Return the stored responses to each prompt by source; an empty dictionary for a row without a group.

    Token ids are used unchanged if this tokenizer maps them to the same tokens. Otherwise texts are encoded after their
    prompts like demonstrations, without log-probabilities, because these belong to other tokens. Unfinished or blank
    texts then count as missing, in ``left_out`` of the row.

    Args:
        encoder: Encoder with the policy's tokenizer.
        prompts: Encoded prompts of the rows.
        texts: Rows of one table: all of them are stored groups, or none.
    """
    rows = [text.stored for text in texts if text.stored is not None]
    if not rows:
        return [{} for _ in texts]
    groups = [row.group for row in rows]
    if rows[0].tokenizer != tokenizer_fingerprint(encoder.tokenizer):
        return _encode(encoder, prompts, texts, groups)
    _check_prompts(prompts, groups)
    return [_unchanged(group) for group in groups]


def _check_prompts(prompts: Sequence[EncodedPrompt], groups: Sequence[StoredGroup]) -> None:
    """Warn of prompts that differ from those that the responses were sampled for."""
    pairs = zip(prompts, groups, strict=True)
    if other := sum(prompt.token_ids != group.prompt_token_ids for prompt, group in pairs):
        rank_zero_warn(
            f"{other} of {len(groups)} prompts differ from those in their groups (another template, system prompt or "
            "column): the stored responses were sampled for other prompts"
        )


def _unchanged(group: StoredGroup) -> StoredBySource:
    given = _empty_sources()
    for response in group.responses:
        given[response.source].append(Response(response.token_ids, response.finished, response.logprobs))
    return given


def _encode(
    encoder: PromptEncoder,
    prompts: Sequence[EncodedPrompt],
    texts: Sequence[TextExample],
    groups: Sequence[StoredGroup],
) -> list[StoredBySource]:
    chosen: list[tuple[int, StoredResponse]] = []
    for i, group in enumerate(groups):
        for response in group.responses:
            if reason := _reason_to_leave_out(response):
                texts[i].left_out[f"{reason} stored {response.source} responses of another tokenizer"] += 1
            else:
                chosen.append((i, response))
    answers = [response.raw_completion for _, response in chosen]
    with naming_rows([(texts[i].row, "completion") for i, _ in chosen]):
        ids = encoder.encode_responses([prompts[i] for i, _ in chosen], answers)
    rank_zero_info(f"{len(chosen)} stored responses are of another tokenizer: their texts were encoded again")
    given = [_empty_sources() for _ in texts]
    for (i, response), token_ids in zip(chosen, ids, strict=True):
        given[i][response.source].append(Response(token_ids))
    return given


def _reason_to_leave_out(response: StoredResponse) -> str:
    return "truncated" if not response.finished else "blank" if is_blank(response.raw_completion) else ""


def _empty_sources() -> StoredBySource:
    return {source.name.lower(): [] for source in Source}
