"""How often tokens are drawn, against their probabilities worked out one by one."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from transformers import TemperatureLogitsWarper

from lightning_gft import SamplingParams, TransformersEngine
from lightning_gft.lm.decoding.sampling import Temperature, draw, logits_warpers, uniform_noise
from lightning_gft.lm.decoding.stopping import EndTokens
from lightning_gft.seeds import combine_seeds, spawn_seeds
from tests.tiny import tiny_policy

NUMBER = 4000
SETTINGS = {
    "as-is": {},
    "hot": {"temperature": 1.5},
    "cold": {"temperature": 0.5},
    "top_k": {"top_k": 4},
    "top_k-1": {"top_k": 1},
    "top_p": {"top_p": 0.6},
    "min_p": {"min_p": 0.3},
    "cold-top_k-top_p": {"temperature": 2.0, "top_k": 10, "top_p": 0.7},
    "cold-min_p": {"temperature": 0.5, "min_p": 0.1},
    "no-end": {"min_new_tokens": 1},
    "no-end-top_k": {"min_new_tokens": 1, "top_k": 20},
}


def probabilities(logits: list[float], sampling: SamplingParams, end: int) -> dict[int, float]:
    """Return the probabilities of the tokens that may be drawn first, by the definitions."""

    def normalized(weights: dict[int, float]) -> dict[int, float]:
        total = math.fsum(weights.values())
        return {token: weight / total for token, weight in weights.items()}

    allowed = {token: logit for token, logit in enumerate(logits) if token != end or not sampling.min_new_tokens}
    kept = normalized({token: math.exp(logit / sampling.temperature) for token, logit in allowed.items()})
    ranked = sorted(kept, key=lambda token: -kept[token])
    if sampling.top_k:
        ranked = ranked[: sampling.top_k]
        kept = normalized({token: kept[token] for token in ranked})
    if sampling.top_p < 1:
        nucleus, reached = [], 0.0
        for token in ranked:
            if reached >= sampling.top_p:
                break
            nucleus.append(token)
            reached += kept[token]
        kept = normalized({token: kept[token] for token in nucleus})
    if sampling.min_p:
        highest = max(kept.values())
        kept = normalized({token: prob for token, prob in kept.items() if prob >= sampling.min_p * highest})
    return kept


@pytest.mark.parametrize("settings", SETTINGS)
def test_first_tokens_are_drawn_as_often_as_they_are_probable(settings: str):
    policy = tiny_policy(initializer_range=0.15).eval()
    sampling = SamplingParams(max_new_tokens=1, **SETTINGS[settings])
    ids = policy.tokenizer.encode("12+3=")
    [responses] = policy.generate([ids], NUMBER, sampling, seed=0)
    counts = Counter(response.token_ids[0] for response in responses)
    logits = policy.model(torch.tensor([ids])).logits[0, -1].tolist()
    expected = probabilities(logits, sampling, policy.tokenizer.eos_token_id)
    assert set(counts) <= set(expected)
    if len(expected) == 1:
        return
    # Tokens too rare for the normal approximation count as one.
    common = [token for token, prob in expected.items() if prob * NUMBER >= 5]
    cells = [(counts[token], expected[token] * NUMBER) for token in common]
    cells.append((NUMBER - sum(seen for seen, _ in cells), max(NUMBER - sum(wanted for _, wanted in cells), 1.0)))
    statistic = math.fsum((seen - wanted) ** 2 / wanted for seen, wanted in cells)
    assert len(common) > 1
    assert statistic < len(common) + 4 * math.sqrt(2 * len(common))


def test_draw_never_takes_what_is_ruled_out():
    logits = torch.full((6, 8), -torch.inf)
    logits[:, [2, 5]] = torch.tensor([0.0, 1.0])
    noise = torch.tensor([0.0, 1e-18, 0.268, 0.27, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert draw(logits, noise).tolist() == [2, 2, 2, 5, 5, 5]


def test_noise_is_each_rows_own():
    seeds = spawn_seeds(0, 20)
    noise = uniform_noise(seeds, 40)
    torch.testing.assert_close(uniform_noise(seeds[7:9], 40), noise[7:9], rtol=0, atol=0)
    for length in (1, 5, 16, 17):
        torch.testing.assert_close(uniform_noise(seeds, length), noise[:, :length], rtol=0, atol=0)
    assert len(noise.unique()) == noise.numel()
    assert uniform_noise([], 3).shape == (0, 3)


def test_seeds():
    assert len({*spawn_seeds(0, 1000), *spawn_seeds(1, 1000)}) == 2000
    assert spawn_seeds(5, 3) == spawn_seeds(5, 10)[:3]
    assert len({combine_seeds(*parts) for parts in ((0,), (0, 1), (1, 0), (1, 1), (0, 0, 1), (2**63,))}) == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_new_tokens": 0}, "expected a whole number of at least 1, got 0"),
        ({"temperature": -0.1}, r"expected a number of at least 0, got -0\.1; 0 is greedy decoding"),
        ({"temperature": math.nan}, "expected a number of at least 0, got nan"),
        ({"temperature": math.inf}, "expected a number of at least 0, got inf"),
        ({"temperature": "0.5"}, "expected a number of at least 0, got '0.5'; write it without quotes"),
        ({"temperature": True}, "expected a number of at least 0, got True"),
        ({"top_p": 0.0}, r"expected a number above 0 and at most 1, got 0\.0"),
        ({"top_p": 1.1}, r"expected a number above 0 and at most 1, got 1\.1"),
        ({"top_k": -1}, "expected a whole number of at least 0, got -1"),
        ({"top_k": 1.5}, r"expected a whole number of at least 0, got 1\.5"),
        ({"min_p": 1.5}, r"expected a number from 0 to 1, or null, got 1\.5"),
        ({"min_new_tokens": 257}, "expected a whole number from 0 to 256, got 257; it can be no more than max_new_to"),
        ({"stop_strings": 3}, "expected a text or a list of texts, got 3"),
        ({"stop_strings": ["a", ""]}, r"expected texts of at least one character, got \['a', ''\]"),
    ],
)
def test_sampling_params_are_checked(settings: dict, message: str):
    [field] = settings
    with pytest.raises((ValueError, TypeError), match=f"^`{field}` of SamplingParams: {message}"):
        SamplingParams(**settings)


LOGITS = torch.tensor([[0.2, 5.0, 0.3, -9.0], [-700.0, -800.0, -699.5, -torch.inf], [0.0, 2e30, -3e37, 3e37]])
LIKELIEST = LOGITS.argmax(dim=-1).tolist()


@pytest.mark.parametrize("temperature", [1e-300, 1e-45, 1e-38, 1e-20, 1e-6])
@pytest.mark.parametrize("filters", [{}, {"top_p": 0.9}, {"top_k": 2}, {"min_p": 0.5}, {"top_p": 1e-12}], ids=str)
def test_a_temperature_near_0_takes_the_likeliest_token(temperature: float, filters: dict):
    warped = logits_warpers(SamplingParams(temperature=temperature, **filters))(None, LOGITS.clone())
    for noise in (0.0, 0.5, 1 - 2**-53):
        assert draw(warped, torch.full((3,), noise, dtype=torch.float64)).tolist() == LIKELIEST


@pytest.mark.parametrize("temperature", [1e-38, 1e-6])
def test_a_policy_near_temperature_0_draws_what_it_draws_greedily(temperature: float):
    policy = tiny_policy()
    prompts = [policy.tokenizer.encode(prompt) for prompt in ("1+1=", "a", "b-7+c=3")]
    near, greedy = (policy.generate(prompts, 1, SamplingParams(12, t), seed=3) for t in (temperature, 0.0))
    assert near == greedy  # log-probabilities too: those of the policy itself


@pytest.mark.parametrize("temperature", [1e30, 1e300])
def test_a_huge_temperature_draws_evenly_from_what_is_allowed(temperature: float):
    warped = Temperature(temperature)(None, torch.tensor([[1.0, 9.0, -torch.inf]]))
    assert warped.softmax(dim=-1).tolist() == [[0.5, 0.5, 0.0]]


@pytest.mark.parametrize("temperature", [0.3, 0.7, 2])
def test_temperature_is_that_of_transformers(temperature: float):
    logits = torch.randn(5, 30, generator=torch.Generator().manual_seed(0))
    expected = TemperatureLogitsWarper(float(temperature))(None, logits).log_softmax(dim=-1)
    torch.testing.assert_close(Temperature(temperature)(None, logits).log_softmax(dim=-1), expected)


def test_filters_at_the_ends_of_their_ranges():
    logits, noise = LOGITS[:2], torch.tensor([0.3, 0.9], dtype=torch.float64)
    for filters in ({"top_p": 1e-12}, {"min_p": 1.0}, {"top_k": 1}):
        assert draw(logits_warpers(SamplingParams(**filters))(None, logits), noise).tolist() == LIKELIEST[:2]
    everything = draw(logits, noise)
    for filters in ({"top_k": 10**6}, {"min_p": 0.0}):
        assert (draw(logits_warpers(SamplingParams(**filters))(None, logits), noise) == everything).all()


def test_top_p_keeps_at_least_the_likeliest_token():
    policy = tiny_policy().eval()
    ids, end = policy.tokenizer.encode("1+1="), EndTokens((1,), 0)
    tiny, greedy = (
        TransformersEngine().generate(policy.model, [ids], 1, sampling, [0], end)
        for sampling in (SamplingParams(6, top_p=1e-9), SamplingParams(6, temperature=0.0))
    )
    assert tiny[0][0].token_ids == greedy[0][0].token_ids


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_policy_whose_logits_are_no_numbers_is_told_of(temperature: float):
    policy = tiny_policy()
    torch.nn.init.constant_(policy.model.base_model.norm.weight, torch.nan)
    with pytest.raises(RuntimeError, match=r"logits: expected numbers, got NaN; its weights have diverged"):
        policy.generate([[5, 6]], 2, SamplingParams(max_new_tokens=3, temperature=temperature), seed=0)
