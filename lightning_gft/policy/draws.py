"""The draws of a policy: immediate ones, and those ahead, while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lightning_gft.distributed import wait_for_ranks
from lightning_gft.errors import GFTValueError
from lightning_gft.lm.capabilities import evaluating
from lightning_gft.lm.decoding.stopping import EndTokens, StopStrings
from lightning_gft.phases import DrawCounts, counting, phase
from lightning_gft.policy.ahead import AheadDraw
from lightning_gft.policy.checks import check_draw, check_responses
from lightning_gft.rollout import RolloutEngine
from lightning_gft.sampling import SamplingParams
from lightning_gft.seeds import response_seeds
from lightning_gft.types import Response
from lightning_gft.waiting import abandonable

if TYPE_CHECKING:
    from lightning_gft.policy.policy import Policy


class Draws:
    """Makes a policy's engine draw responses, one draw at a time, and take over weights between two draws.

    Only the training thread begins draws. Therefore only that thread makes an engine take over weights, after the
    previous draw has ended on all ranks and before the next one begins.

    Args:
        policy: Policy whose weights are drawn from.

    Attributes:
        steps: Number of optimizer steps of the run so far, which the run sets; responses are marked with it.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.steps = 0
        self._changed = True
        self._ahead: AheadDraw | None = None
        self._was_ahead = False
        self._stops: dict[tuple[str, ...], StopStrings] = {}

    def weights_changed(self) -> None:
        """Make the engine take over the weights before the next draw."""
        self._changed = True

    def prepare(self, engine: RolloutEngine) -> None:
        """Make an engine take over changed weights; see :meth:`RolloutEngine.prepare`."""
        if self._changed and engine is self._policy.engine:
            if self._was_ahead:
                with abandonable():
                    self.settle()
                wait_for_ranks()  # others may still draw from the old weights
            self._was_ahead = self._changed = False
        engine.prepare(self._policy)

    def settle(self) -> None:
        """Wait until the draw that was begun ahead, if any, has ended."""
        if self._ahead is not None:
            with phase("rollout"):
                self._ahead.settle()
            self._ahead = None

    def give_up(self) -> None:
        """End the draw that was begun ahead, if any; call it before the engine is closed."""
        if self._ahead is not None:
            self._ahead.give_up()
            self._ahead = None

    def now(
        self,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seed: int,
        places: Sequence[int] | None,
        with_greedy: bool,
    ) -> list[list[Response]]:
        """Return responses; see :meth:`Policy.generate`."""
        policy = self._policy
        check_draw(policy.tokenizer, prompt_ids, num_generations, sampling.max_new_tokens, seed)
        seeds = response_seeds(seed, places or range(len(prompt_ids)), num_generations)
        end, model, engine = self._end(sampling), policy.references.acting_model, policy.references.engine()
        count = num_generations + with_greedy
        # With dropout, each token would come from a different policy.
        with policy.sharding.whole(model), evaluating(model):
            self.prepare(engine)
            self.settle()
            with counting(DrawCounts(len(prompt_ids) * count)):
                drawn = engine.generate(model, prompt_ids, num_generations, sampling, seeds, end, with_greedy)
        version = self.steps if policy.references.is_trained else None
        return _marked(check_responses(drawn, len(prompt_ids), count), version)

    def ahead(
        self,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seed: int,
        places: Sequence[int] | None,
    ) -> AheadDraw:
        """Begin a draw; see :meth:`Policy.generate_ahead`."""
        policy, engine = self._policy, self._policy.engine
        check_draws_ahead(engine)
        check_draw(policy.tokenizer, prompt_ids, num_generations, sampling.max_new_tokens, seed)
        seeds = response_seeds(seed, places or range(len(prompt_ids)), num_generations)
        end, version = self._end(sampling), self.steps
        with policy.drawing(), evaluating(policy.model):
            self.settle()
            engine.check_drawn_ahead(policy.model)

        def draw() -> list[list[Response]]:
            drawn = engine.generate_ahead(prompt_ids, num_generations, sampling, seeds, end)
            return _marked(check_responses(drawn, len(prompt_ids), num_generations), version)

        self._ahead, self._was_ahead = AheadDraw(draw, DrawCounts(len(seeds))), True
        return self._ahead

    def _end(self, sampling: SamplingParams) -> EndTokens:
        strings = tuple(sampling.stop_strings)
        if strings and strings not in self._stops:  # kept, because they cache which tokens may complete a stop string
            self._stops[strings] = StopStrings(self._policy.tokenizer, strings)
        return replace(self._policy.end, stop=self._stops.get(strings))


def check_draws_ahead(engine: RolloutEngine) -> None:
    """Check that an engine can draw while the policy trains.

    Raises:
        ValueError: If it cannot.
    """
    if not engine.can_draw_ahead():
        raise GFTValueError(
            f"`ahead` of SelfSource: expected 0 with {type(engine).__name__}, which cannot sample while the policy "
            "trains, got 1; leave it out, or use an engine with weights of its own that does not sleep"
        )


def _marked(drawn: list[list[Response]], version: int | None) -> list[list[Response]]:
    return [[replace(response, weights_version=version) for response in of_prompt] for of_prompt in drawn]
