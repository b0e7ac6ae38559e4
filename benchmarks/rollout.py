"""Seconds to draw groups of responses, ours beside transformers' own ``generate``.

python -m benchmarks.rollout --prompts 16 --prompt-length 512 --response-length 128 --output rollout.json

All draw from the same weights in the same process, in turn. Before that their greedy responses are compared token by
token, and our log-probabilities with those of one pass over the whole responses.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from benchmarks import harness
from benchmarks.harness import StepLog
from benchmarks.job import ARITHMETIC, write_model
from lightning_gft import PretrainedPolicy, Response, SamplingParams

TOLERANCE = 1e-3
"""How far apart log-probabilities may be in float32: as much as the order of summation makes of them."""


def main(args: Sequence[str] | None = None) -> int:
    """Compare, time, print a table and write the record."""
    options = harness.command_line(
        *(__doc__, "rollout", args),
        **{
            "size": ("tiny", "arithmetic"),
            "prompts": 16,
            "group_size": 8,
            "prompt_length": 512,
            "response_length": 128,
        },
        **{"ragged": False, "rounds": 3},
    )
    with TemporaryDirectory() as folder:
        work = Work(options, Path(folder))
    runnable, did_not_run = check(work)
    draws = {name: partial(_timed, work, name) for name in runnable}
    turns = harness.take_turns(draws, options.rounds, options.device, warmup_rounds=1)
    results, seconds = harness.compare_times(turns), harness.steps_of(turns)
    for name, tokens in harness.steps_of(turns, "drawn").items():
        per_second = round(sum(tokens) / sum(seconds[name]))
        results[name] |= {"tokens": round(sum(tokens) / len(tokens)), "tokens_per_s": per_second}
    harness.print_table(f"rollout, {options.size}, {options.device}", results)
    for name, why in did_not_run.items():
        print(f"{name} did not run: {why}")
    harness.write_record(options, results=results, did_not_run=did_not_run, seconds=seconds)
    return 0


class Work:
    """Prompts, how responses end, and a model twice: as transformers loads it, and as our policy."""

    def __init__(self, options: Namespace, folder: Path) -> None:
        self.options = options
        folder = ARITHMETIC if options.size == "arithmetic" else folder
        if options.size != "arithmetic":
            write_model(folder, options.size, options.seed)
        dtype: Any = "bfloat16" if options.device == "cuda" else "float32"  # a CPU is slow in another
        self.dtype = getattr(torch, dtype)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=self.dtype).to(options.device).eval()
        self.policy = PretrainedPolicy(str(folder), torch_dtype=dtype).load().to(options.device)
        self.pad, words = self.policy.pad_token_id, self.model.config.vocab_size
        random, longest = Random(options.seed), options.prompt_length
        lengths = ((longest + 1) // 2 if options.ragged else longest), longest
        # A word that there is not; or as many as end half of the responses early, as random weights draw all alike.
        share = round(2 * words / options.response_length) if options.ragged else 0
        self.prompt_ids = [random.choices(range(3, words), k=random.randint(*lengths)) for _ in range(options.prompts)]
        self.ends = tuple(range(3, 3 + share)) or (words,)
        self.policy.end = replace(self.policy.end, eos_token_ids=self.ends)

    def convert(self, dtype: torch.dtype) -> None:
        """Take the weights in another data type."""
        self.model.to(dtype)
        self.policy.to(dtype)

    def responses(self, greedy: bool) -> list[list[Response]]:
        """Draw with our policy; greedily one to each prompt."""
        sampling = SamplingParams(self.options.response_length, temperature=0.0 if greedy else 1.0)
        return self.policy.generate(self.prompt_ids, 1 if greedy else self.options.group_size, sampling, seed=0)

    def settings(self, greedy: bool, **more: Any) -> GenerationConfig:
        """Return the same for transformers."""
        sampled = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "num_return_sequences": self.options.group_size}
        return GenerationConfig(
            do_sample=not greedy,
            max_new_tokens=self.options.response_length,
            eos_token_id=list(self.ends),
            pad_token_id=self.pad,
            **({} if greedy else sampled),
            **more,
        )


def check(work: Work) -> tuple[list[str], dict[str, str]]:
    """Return the contestants that give the same greedy responses as ``generate``, and why the others do not take part.

    Raises:
        RuntimeError: If it is ours that differs, or if our log-probabilities are not those of the model.
    """
    runnable: dict[str, list[list[int]]] = {}
    excuses: dict[str, str] = {}
    work.convert(torch.float32)  # in which there are next to no ties
    for name, draw in CONTESTANTS.items():
        try:
            drawn = draw(work, greedy=True)
        except Exception as error:  # noqa: BLE001 (whatever it is, the others are still to be timed)
            excuses[name] = f"{type(error).__name__}: {error}"[:200]
            continue
        if drawn == next(iter(runnable.values()), drawn):
            runnable[name] = drawn
        else:
            excuses[name] = "its greedy responses are not those of the others"
    if "ours" in excuses:
        raise RuntimeError(f"ours did not run: {excuses['ours']}")
    if (apart := farthest(work, work.responses(greedy=False))) > TOLERANCE:
        raise RuntimeError(f"our log-probabilities are up to {apart} from those of the model")
    work.convert(work.dtype)
    return list(runnable), excuses


@torch.no_grad()
def farthest(work: Work, drawn: list[list[Response]]) -> float:
    """Return the largest difference of our log-probabilities from those of one pass over a prompt and its response."""
    largest = 0.0
    for ids, [response, *_] in zip(work.prompt_ids, drawn, strict=True):
        row = torch.tensor([[*ids, *response.token_ids]], device=work.options.device)
        logits = work.model(input_ids=row, use_cache=False).logits[0, len(ids) - 1 : -1].float()
        expected = logits.log_softmax(-1).gather(1, row[0, len(ids) :, None]).squeeze(1)
        difference = torch.tensor(response.logprobs, device=row.device) - expected
        largest = max(largest, difference.abs().max().item())
    return largest


def _ours(work: Work, greedy: bool) -> list[list[int]]:
    return [response.token_ids for response in chain.from_iterable(work.responses(greedy))]


def _generate(work: Work, greedy: bool, **more: Any) -> list[list[int]]:
    width = max(map(len, work.prompt_ids))
    padded = [[work.pad] * (width - len(ids)) + ids for ids in work.prompt_ids]
    mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in work.prompt_ids]
    rows = work.model.generate(
        torch.tensor(padded, device=work.options.device),
        attention_mask=torch.tensor(mask, device=work.options.device),
        generation_config=work.settings(greedy, **more),
    )[:, width:].tolist()
    return [row[: next((n for n, token in enumerate(row, 1) if token in work.ends), len(row))] for row in rows]


def _continuous(work: Work, greedy: bool) -> list[list[int]]:
    """Without left padding, responses that have ended making way for others, prompts shared in pages."""
    if work.options.device == "cpu":
        raise RuntimeError("on a CPU two prompts of eight tokens did not come back within a minute")
    drawn = work.model.generate_batch(inputs=work.prompt_ids, generation_config=work.settings(greedy))
    if failed := [output.error for output in drawn.values() if output.error]:
        raise RuntimeError(failed[0])
    return [output.generated_tokens for output in drawn.values()]


CONTESTANTS: dict[str, Callable[..., list[list[int]]]] = {
    "generate": _generate,
    "ours": _ours,
    # With memory for keys and values taken in advance, which on a GPU compiles the model too.
    "generate, static cache": partial(_generate, cache_implementation="static"),
    "continuous batching": _continuous,
}
"""By name what draws; the first is what the others have to agree with."""


def _timed(work: Work, name: str, log: StepLog) -> None:
    with log.step():
        drawn = CONTESTANTS[name](work, greedy=False)
    log.steps[-1]["drawn"] = sum(map(len, drawn))


if __name__ == "__main__":
    sys.exit(main())
