"""Stop strings and responses of a least length: where responses end, and that nothing else about them changes."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lightning_gft import Evaluation, ExactMatchReward, GroupSampler, Policy, Response, SamplingParams, SelfSource
from lightning_gft.evaluation import Evaluator
from lightning_gft.lm.decoding.shareable import shares_prompts
from lightning_gft.lm.decoding.stopping import StopStrings
from tests.tiny import prompt_batch, tiny_policy

PROMPTS = ["1+1=", "12-3+4=", "a", "b-7+c=3"]
KINDS = {"shared": "sdpa", "repeated": "eager"}
"""The attention implementations with which prompts are kept once, and once for each response."""


@pytest.fixture(scope="module", params=KINDS)
def policy(request: pytest.FixtureRequest) -> Policy:
    return policy_of(KINDS[request.param])


def policy_of(attention: str) -> Policy:
    policy = tiny_policy()
    policy.model.set_attn_implementation(attention)
    assert shares_prompts(policy.model).value == (attention == "sdpa")
    return policy


def drawn(policy: Policy, prompts: list[str] = PROMPTS, places: list[int] | None = None, **sampling) -> list[Response]:
    ids = [policy.tokenizer.encode(prompt) for prompt in prompts]
    return list(chain.from_iterable(policy.generate(ids, 12, SamplingParams(20, **sampling), seed=5, places=places)))


def text_of(policy: Policy, token_ids: list[int]) -> str:
    return policy.tokenizer.decode(token_ids, skip_special_tokens=False)


def cut(policy: Policy, response: Response, stops: tuple[str, ...]) -> Response:
    """Return a response up to the token that completes a stop string: the definition, token by token."""
    for length in range(1, len(response.token_ids) + 1):
        if any(stop in text_of(policy, response.token_ids[:length]) for stop in stops):
            return Response(response.token_ids[:length], True, response.logprobs[:length])
    return response


@pytest.mark.parametrize(
    "stops",
    [
        ("5",),
        ("ab", "c", "12"),
        ("<eos>",),
        (
            "<pad>",
            "=",
        ),
        ("not there",),
    ],
    ids=str,
)
def test_a_stop_string_ends_a_response_where_it_is_complete_and_changes_nothing_else(policy: Policy, stops):
    expected = [cut(policy, response, stops) for response in drawn(policy)]
    found = drawn(policy, stop_strings=list(stops))
    assert [(r.token_ids, r.finished) for r in found] == [(r.token_ids, r.finished) for r in expected]
    for response, whole in zip(found, expected, strict=True):
        assert response.logprobs == pytest.approx(whole.logprobs, abs=1e-4)
        assert len(response.logprobs) == len(response.token_ids)


def test_stop_strings_end_some_and_both_ways_of_decoding_agree():
    shared, repeated = (drawn(policy_of(attention), stop_strings=["5", "ab"]) for attention in KINDS.values())
    assert [r.token_ids for r in shared] == [r.token_ids for r in repeated]
    policy = tiny_policy()
    ended = [r for r in shared if policy.decode(r.token_ids).endswith(("5", "ab"))]
    assert 0 < len(ended) < len(shared)
    assert all(response.finished for response in ended)


def test_where_a_response_stops_does_not_depend_on_the_others(policy: Policy):
    together = drawn(policy, stop_strings="5", min_new_tokens=3)
    alone = [drawn(policy, [prompt], [n], stop_strings="5", min_new_tokens=3) for n, prompt in enumerate(PROMPTS)]
    assert [r.token_ids for r in together] == [r.token_ids for r in chain.from_iterable(alone)]


@pytest.mark.parametrize("temperature", [0.0, 1.0, 0.5])
def test_no_end_is_drawn_before_the_least_length(temperature: float):
    policy = tiny_policy()
    policy.model.lm_head.weight.data[policy.tokenizer.eos_token_id] *= 6  # ends are common
    free, held = (drawn(policy, temperature=temperature, min_new_tokens=least) for least in (0, 9))
    assert min(len(response.token_ids) for response in free) < 9
    for before, response in zip(free, held, strict=True):
        assert policy.tokenizer.eos_token_id not in response.token_ids[:9]
        assert len(response.token_ids) > 9
        if temperature == 0 and len(before.token_ids) > 9:
            assert response.token_ids == before.token_ids  # as no end was the likeliest that early


def test_logprobs_under_a_least_length_are_those_of_the_policy_itself():
    policy = tiny_policy()
    settings = Evaluation(3, 12, min_new_tokens=8, kl=False)
    prompts = prompt_batch(policy.tokenizer, PROMPTS, ["1"] * 4)
    sampler = GroupSampler({"self": SelfSource()}, {"accuracy": ExactMatchReward()})
    groups = Evaluator(settings).step(prompts, policy, sampler, seed=0, max_tokens=10_000).samples
    expected, _ = policy.token_logprobs(groups, 10_000)
    torch.testing.assert_close(groups.sampling_logprobs, expected, rtol=0, atol=1e-4)


def test_evaluation_and_source_pass_on_how_responses_end():
    policy = tiny_policy()
    prompts = prompt_batch(policy.tokenizer, PROMPTS, ["1"] * 4)
    source = SelfSource(12, 20, min_new_tokens=2, stop_strings="5")
    sampling = SamplingParams(20, min_new_tokens=2, stop_strings=("5",))
    assert source.sampling == sampling
    assert source.respond(prompts, policy, 5) == policy.generate(prompts.prompt_ids, 12, sampling, 5)
    evaluator = Evaluator(Evaluation(2, 20, min_new_tokens=2, stop_strings="5", kl=False))
    sampler = GroupSampler({"self": source}, {"accuracy": ExactMatchReward()})
    evaluated = evaluator.step(prompts, policy, sampler, seed=0, max_tokens=10_000)
    for groups in (evaluated.greedy, evaluated.samples):
        assert (groups.response_lengths >= 3).all() or any(text.endswith("5") for text in groups.responses)
        assert all("5" not in text[:-1] for text in groups.responses)


def byte_tokenizer() -> PreTrainedTokenizerBase:
    """Return a tokenizer of single bytes, of which a character takes up to four."""
    vocabulary = {character: n for n, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def fallback_tokenizer() -> PreTrainedTokenizerBase:
    """Return a tokenizer that breaks a whole run of bytes where one of them is no character, as Llama 2's does."""
    vocabulary = {"<unk>": 0, "▁": 1, **{f"<0x{byte:02X}>": byte + 2 for byte in range(256)}, "a": 258, "b": 259}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True, unk_token="<unk>"))  # noqa: S106
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize("make", [byte_tokenizer, fallback_tokenizer])
@pytest.mark.parametrize("stop", ["\n\n", "。", " a", "é\n", "🙂"], ids=ascii)
@pytest.mark.parametrize("text", ["a🙂🙂\n\nb", "x。é。", "aé\n\n a b", "🙂é🙂🙂\n", "ab ab\n a"], ids=ascii)
def test_text_is_found_at_the_token_that_completes_it(make, stop: str, text: str):
    tokenizer = make()
    ids = tokenizer.encode(text.replace(" ", "▁") if make is fallback_tokenizer else text, add_special_tokens=False)
    finder = StopStrings(tokenizer, [stop])
    first = next((n for n in range(1, len(ids) + 1) if stop in tokenizer.decode(ids[:n])), None)
    for length in range(1, (first or len(ids)) + 1):
        found = finder.completed(torch.tensor([[0] * length, ids[:length]]), torch.tensor([1]), [ids[length - 1]])
        assert found.tolist() == [length == first]


def test_nothing_is_read_from_the_device_where_no_stop_string_can_be_complete() -> None:
    tokenizer = tiny_policy().tokenizer
    tokens = torch.empty(2, 5, dtype=torch.long, device="meta")  # which has no values to read
    rows = torch.arange(2, device="meta")
    assert StopStrings(tokenizer, ["1="]).completed(tokens, rows, tokenizer.encode("12")).tolist() == [False, False]
