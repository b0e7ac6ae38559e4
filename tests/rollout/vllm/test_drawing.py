"""The requests to a server, and the responses that follow from its replies."""

from __future__ import annotations

import pytest
import torch

from lightning_gft import Policy, SamplingParams, VLLMEngine
from lightning_gft.errors import GFTRuntimeError
from lightning_gft.lm.decoding.stopping import EndTokens, StopStrings
from lightning_gft.rollout.vllm.completions import MalformedReplyError, read_response
from lightning_gft.seeds import response_seeds
from tests.rollout.vllm.conftest import Make
from tests.rollout.vllm.stand_in import StandIn, completion, tokens_of
from tests.tiny import tiny_loader

PROMPTS = [[5, 6, 7], [8, 9]]


def test_each_response_is_asked_for_with_a_seed_of_its_own(server: StandIn, make: Make):
    policy = make()
    sampling = SamplingParams(max_new_tokens=12, temperature=0.7, top_p=0.9, top_k=5, min_p=0.1, min_new_tokens=2)
    drawn = policy.generate(PROMPTS, 3, sampling, seed=1, with_greedy=True)

    bodies = server.bodies("/v1/completions")
    seeds = response_seeds(1, range(2), 3)
    asked = {(tuple(body["prompt"]), body.get("seed")): body for body in bodies}
    wanted = [(ids, seed) for ids, own in zip(PROMPTS, (seeds[:3], seeds[3:]), strict=True) for seed in [None, *own]]
    assert len(bodies) == 8
    assert asked.keys() == {(tuple(ids), seed and seed % 2**63) for ids, seed in wanted}
    sampled, greedy = (next(body for body in bodies if ("seed" in body) is has) for has in (True, False))
    assert [sampled[name] for name in ("temperature", "top_p", "top_k", "min_p")] == [0.7, 0.9, 5, 0.1]
    assert [greedy[name] for name in ("temperature", "top_p", "top_k", "min_p")] == [0, 1, 0, 0]
    for body in bodies:
        assert (body["max_tokens"], body["min_tokens"], body["ignore_eos"]) == (12, 2, True)
        assert body["stop_token_ids"] == list(policy.end.eos_token_ids)
        assert body["repetition_penalty"] == 1  # not what generation_config.json says
    expected = [tokens_of(asked[tuple(ids), seed and seed % 2**63]) for ids, seed in wanted]
    responses = [response for own in drawn for response in own]
    assert [(one.token_ids, one.logprobs) for one in responses] == [(ids, values) for ids, values, _ in expected]
    assert [one.finished for one in responses] == [reason == "stop" for *_, reason in expected]


def test_the_same_seed_draws_the_same_whatever_else_is_drawn(make: Make):
    policy, sampling = make(), SamplingParams(max_new_tokens=12)
    both = policy.generate(PROMPTS, 2, sampling, seed=4)
    assert policy.generate(PROMPTS[1:], 2, sampling, seed=4, places=[1]) == both[1:]


def test_figures(server: StandIn, make: Make):
    policy = make()
    drawn = policy.generate(PROMPTS, 2, SamplingParams(max_new_tokens=12), seed=1)
    figures = policy.engine.compute()
    assert {name: figures[name] for name in ("requests", "retries", "restarts", "syncs")} == {
        "requests": 4,
        "retries": 0,
        "restarts": 0,
        "syncs": 1,
    }
    assert figures["tokens"] == sum(len(one.token_ids) for own in drawn for one in own)
    assert figures["seconds"] > 0
    policy.engine.reset()
    assert not any(policy.engine.compute().values())


def test_a_response_ends_where_the_policy_ends_it():
    tokenizer = tiny_loader().tokenizer
    ids = tokenizer.encode("abcdef")
    stop = EndTokens((tokenizer.eos_token_id,), 0, StopStrings(tokenizer, ["cd"]))
    plain = EndTokens((tokenizer.eos_token_id,), 0)

    def read(token_ids: list[int], end: EndTokens, reason: str) -> tuple[str, bool]:
        response = read_response(completion(token_ids, [-1.0] * len(token_ids), reason), end)
        assert len(response.logprobs or []) == len(response.token_ids)
        return tokenizer.decode(response.token_ids, skip_special_tokens=True), response.finished

    assert read(ids, stop, "length") == ("abcd", True)  # a server with other rules for stop strings
    assert read(ids, plain, "length") == ("abcdef", False)
    assert read([*ids[:2], tokenizer.eos_token_id, *ids], plain, "length") == ("ab", True)
    assert read(ids, plain, "stop") == ("abcdef", True)


@pytest.mark.parametrize(
    "reply",
    [
        None,
        {"choices": []},
        {"choices": [{"text": "12", "finish_reason": "stop", "logprobs": None}]},
        completion([3, 4], [-1.0], "stop"),
        completion([3], [float("nan")], "stop"),
        completion([], [], "stop"),
        completion([3], [-1.0], "abort"),
    ],
)
def test_replies_without_tokens_and_their_logprobs_are_refused(reply: object):
    with pytest.raises(MalformedReplyError):
        read_response(reply, EndTokens((2,), 0))


def test_a_server_without_token_ids_is_refused_in_one_line(server: StandIn, make: Make):
    server.misbehave = lambda _: (200, {"choices": [{"text": "12", "finish_reason": "stop", "logprobs": None}]})
    with pytest.raises(
        GFTRuntimeError, match=r"`url` of VLLMEngine: expected responses as token ids .* return_token_ids"
    ):
        make().generate(PROMPTS, 1, SamplingParams(max_new_tokens=4), seed=1)


def test_another_model_is_noticed(server: StandIn, make: Make):
    with pytest.raises(GFTRuntimeError, match="expected the policy's weights, got log-probabilities that are"):
        make(max_logprob_difference=0.5).generate(PROMPTS, 1, SamplingParams(max_new_tokens=8), seed=1)


def test_another_model_is_noticed_by_the_first_draw_ahead(server: StandIn, make: Make):
    policy, sampling = make(max_logprob_difference=0.5), SamplingParams(max_new_tokens=8)
    policy.generate_ahead(PROMPTS, 1, sampling, seed=1).settle()
    with pytest.raises(GFTRuntimeError, match="expected the policy's weights, got log-probabilities that are"):
        policy.generate_ahead(PROMPTS, 1, sampling, seed=2)


def test_draws_ahead_are_not_compared_with_later_weights(server: StandIn, make: Make):
    policy, sampling = make(max_logprob_difference=0.5), SamplingParams(max_new_tokens=8)
    policy.generate_ahead(PROMPTS, 1, sampling, seed=1).settle()
    policy.weights_changed()
    policy.generate_ahead(PROMPTS, 1, sampling, seed=2).settle()


def test_the_policys_own_logprobs_are_accepted(server: StandIn):
    loader = tiny_loader()
    reference: Policy = loader.load()

    def complete(body: dict) -> dict:
        sampling = SamplingParams(max_new_tokens=body["max_tokens"])
        [[one]] = reference.generate([body["prompt"]], 1, sampling, body["seed"])
        return completion(one.token_ids, one.logprobs, "stop" if one.finished else "length")

    server.complete = complete  # type: ignore[method-assign]
    torch.manual_seed(0)
    loader.rollout = VLLMEngine(url=server.url, max_logprob_difference=1e-4)
    policy = loader.load()
    policy.load_state_dict(reference.state_dict())
    assert policy.generate(PROMPTS, 2, SamplingParams(max_new_tokens=8), seed=1)
    loader.rollout.close()


def test_another_tokenizer_is_noticed(server: StandIn, make: Make):
    answer = server.answer
    server.answer = lambda path, body: (200, {"tokens": [1]}) if path == "/tokenize" else answer(path, body)
    with pytest.raises(GFTRuntimeError, match="expected the policy's tokenizer"):
        make().generate(PROMPTS, 1, SamplingParams(max_new_tokens=8), seed=1)


def test_another_name_of_the_model_is_noticed(make: Make):
    with pytest.raises(ValueError, match=r"`model` of VLLMEngine: expected one that .* serves \(served\), got 'mine'"):
        make(model="mine").generate(PROMPTS, 1, SamplingParams(max_new_tokens=8), seed=1)


def test_a_key_is_sent_and_never_shown(server: StandIn, make: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_API_KEY", "sk-very-secret")
    server.misbehave = lambda _: (400, {"error": {"message": "no such thing, Bearer sk-very-secret"}})
    with pytest.raises(GFTRuntimeError, match=r"status 400: no such thing") as error:
        make().generate(PROMPTS, 1, SamplingParams(max_new_tokens=8), seed=1)
    assert "sk-very-secret" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "expected one of them, got neither"),
        ({"url": "http://a", "command": "b"}, "expected one of them, got both"),
        ({"url": "localhost"}, "begin it with http://"),
        ({"command": []}, "`command` of VLLMEngine"),
        (
            {"command": 'vllm serve "--dtype'},
            r"`command` of VLLMEngine: .* \(No closing quotation\); correct",
        ),
        ({"url": "http://a", "timeout": 0}, "`timeout` of VLLMEngine"),
        ({"url": "http://a", "max_logprob_difference": -1}, "`max_logprob_difference` of VLLMEngine"),
    ],
)
def test_options_are_checked(settings: dict, message: str):
    with pytest.raises((ValueError, TypeError), match=message):
        VLLMEngine(**settings)
