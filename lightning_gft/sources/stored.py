"""Responses of an earlier run, from groups that were kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from lightning_gft.checks import check_choice
from lightning_gft.data import Example
from lightning_gft.errors import GFTValueError
from lightning_gft.sources.base import ResponseSource
from lightning_gft.sources.dataset import some_of_each, warn_of_few
from lightning_gft.stored import Origin
from lightning_gft.types import PromptBatch, Response, ResponseGenerator, Source


class StoredSource(ResponseSource):
    """Responses that ``lightning-gft predict`` has written; where a prompt has more than wanted, a random choice.

    Distillation is ``predict`` with the teacher as the policy, then training on that folder with
    ``StoredSource(stored="self", as_source="teacher")``. Training from stored groups alone generates nothing.

    Token ids are used as they are if the tokenizer is the same; otherwise texts are encoded anew. As demonstrations,
    unfinished responses and those that hold nothing but their end are left out, with a warning that counts them. As
    own samples all are kept, and count as drawn by the policy as it is now. Their log-probabilities at sampling time go
    into ``sampling/logprob_difference``, and by these an :class:`~lightning_gft.ImportanceCorrection` corrects for the
    policy that drew them, which no other loss does.

    Args:
        stored: What the responses were in the run that wrote them.
        as_source: What they count as here; null means the same.
        num_responses: Most responses a prompt; fewer where fewer are stored.

    Raises:
        ValueError: If an option has another value; before training, if the data hold no such responses.

    Example:
        >>> StoredSource(stored="self", as_source="teacher").source.name
        'TEACHER'
    """

    def __init__(self, stored: Origin = "self", as_source: Origin | None = None, num_responses: int = 4) -> None:
        super().__init__(num_responses)
        self.stored, self.as_source = stored, as_source
        for field, value in (("stored", stored), ("as_source", stored if as_source is None else as_source)):
            check_choice(field, value, get_args(Origin), of="StoredSource")
        self.source = Source[(as_source or stored).upper()]

    @override
    def draws(self) -> bool:
        return False

    @override
    def reads(self) -> frozenset[str]:
        return frozenset()

    @override
    def check_rows(self, rows: Sequence[Example]) -> None:
        given = [row.stored.get(self.stored, []) for row in rows]
        usable = [self._usable(responses) for responses in given]
        count, left = sum(map(len, given)), sum(map(len, usable))
        if not left:
            others = [origin for origin in get_args(Origin) if any(row.stored.get(origin) for row in rows)]
            found = f"{count} that are unfinished or empty" if count else " and ".join(others) or "none"
            raise GFTValueError(
                f"`stored` of StoredSource: expected {self.stored} responses in the data, got {found}; give as `path` "
                "a folder of groups that `lightning-gft predict` has written, and as `stored` what it holds"
            )
        if left < count:
            rank_zero_warn(
                f"{count - left} of {count} stored {self.stored} responses are unfinished or empty, and left out as "
                f"{self.source.name.lower()} demonstrations"
            )
        warn_of_few(self, f"stored {self.stored} responses", max(map(len, usable)))

    @override
    def respond(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[list[Response]]:
        if self.stored not in prompts.stored:
            raise GFTValueError(
                f"`stored` of StoredSource: expected {self.stored} responses in the data, got none; give as `path` a "
                "folder of groups that `lightning-gft predict` has written"
            )
        usable = [self._usable(responses) for responses in prompts.stored[self.stored]]
        chosen = some_of_each(usable, self.most_given(), prompts, seed)
        if self.source == Source.SELF:
            return chosen
        return [[_ended(response, policy) for response in responses] for responses in chosen]

    def _usable(self, responses: Sequence[Response]) -> list[Response]:
        """Return what may be given: a demonstration that is cut would teach to stop in the middle."""
        if self.source == Source.SELF:
            return list(responses)
        return [response for response in responses if response.finished and len(response.token_ids) > 1]


def _ended(response: Response, policy: ResponseGenerator) -> Response:
    """Return a demonstration with the token that ends a turn, which one that a stop string has ended lacks."""
    is_ended = not policy.decode(response.token_ids[-1:], skip_special_tokens=False)
    return Response([*response.token_ids, *([] if is_ended else policy.encode(""))])
