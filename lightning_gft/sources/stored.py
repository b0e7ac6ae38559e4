"""The source of stored responses, from the groups of an earlier run."""

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
    """Responses that ``lightning-gft predict`` has written, or a random choice of them where a prompt has more.

    For distillation, run ``predict`` with the teacher as the policy, then train on its folder with
    ``StoredSource(stored="self", as_source="teacher")``. Training from stored groups only does not generate responses.

    Token ids are used unchanged if the tokenizer is the same; otherwise texts are encoded again. As demonstrations,
    truncated and empty responses are left out, with a warning that counts them. As own samples, all responses are kept
    and are treated as samples of the current policy. Their log-probabilities at sampling time are compared in
    ``sampling/logprob_difference``. Only an :class:`~lightning_gft.ImportanceCorrection` corrects for the policy that
    sampled them; ``GFTLoss(DynamicCoefficientRectifier(0.7), rectify="all")`` bounds their token weights. With neither,
    GFT may destroy the policy.

    Args:
        stored: Source of the responses in the run that wrote them.
        as_source: Source that they count as in this run; null keeps the source.
        num_responses: Largest number of responses per prompt; a prompt with fewer gets all of them.

    Raises:
        ValueError: If ``stored`` or ``as_source`` is unknown; before training, if the data hold no such responses.

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
            found = f"{count} that are truncated or blank" if count else " and ".join(others) or "none"
            raise GFTValueError(
                f"`stored` of StoredSource: expected {self.stored} responses in the data, got {found}; give as "
                "data.path a folder of groups that `lightning-gft predict` has written, and as `stored` what it holds"
            )
        if left < count:
            rank_zero_warn(
                f"`stored` of StoredSource: expected finished {self.stored} responses, got {count - left} of {count} "
                f"that are truncated or blank; they are left out as {self.source.name.lower()} demonstrations"
            )
        warn_of_few(self, f"stored {self.stored} responses", max(map(len, usable)))

    @override
    def respond(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[list[Response]]:
        if self.stored not in prompts.stored:
            raise GFTValueError(
                f"`stored` of StoredSource: expected {self.stored} responses in the data, got none; give as "
                "data.path a folder of groups that `lightning-gft predict` has written"
            )
        usable = [self._usable(responses) for responses in prompts.stored[self.stored]]
        chosen = some_of_each(usable, self.most_given(), prompts, seed)
        if self.source == Source.SELF:
            return chosen
        return [[_ended(response, policy) for response in responses] for responses in chosen]

    def _usable(self, responses: Sequence[Response]) -> list[Response]:
        """Return the responses to use; a truncated demonstration would teach the policy to stop early."""
        if self.source == Source.SELF:
            return list(responses)
        return [response for response in responses if response.finished and len(response.token_ids) > 1]


def _ended(response: Response, policy: ResponseGenerator) -> Response:
    """Return a demonstration with an end token, which is missing after a stop string."""
    is_ended = not policy.decode(response.token_ids[-1:], skip_special_tokens=False)
    return Response([*response.token_ids, *([] if is_ended else policy.encode(""))])
