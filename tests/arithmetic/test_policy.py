"""The policy that comes with the package is what the README says it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lightning_gft
from lightning_gft import ArithmeticDataModule, ArithmeticPolicy, Evaluation, ExactMatchReward, GroupSampler, SelfSource
from lightning_gft.arithmetic import ARITHMETIC_ALPHABET
from lightning_gft.evaluation import Evaluator

ASSETS = Path(lightning_gft.__file__).parent / "arithmetic/assets/arithmetic"


@pytest.fixture(scope="module")
def figures() -> dict[str, dict[str, float]]:
    policy = ArithmeticPolicy().load()
    data = ArithmeticDataModule(num_val=128, num_second_skill=64)
    data.tokenizer = policy.tokenizer
    data.setup("validate")
    evaluator = Evaluator(Evaluation(max_new_tokens=48, kl=False))
    sampler = GroupSampler({"self": SelfSource()}, {"accuracy": ExactMatchReward(marker="#")})
    evaluator.start(policy)
    for loader in data.val_dataloader():
        for batch in loader:
            evaluator.step(batch, policy, sampler, seed=0, max_tokens=16384)
    figures = evaluator.finish()
    return {dataset: {name: value.item() for name, value in of.items()} for dataset, of in figures.items()}


def test_it_knows_sums_but_is_blunt(figures):
    assert figures[""]["greedy_accuracy"] == pytest.approx(0.98, abs=0.03)
    assert figures[""]["mean@8"] == pytest.approx(0.40, abs=0.06)
    assert figures[""]["pass@8"] == pytest.approx(1.00, abs=0.03)


def test_it_has_a_second_skill(figures):
    assert figures["second_skill"]["greedy_accuracy"] == pytest.approx(0.97, abs=0.04)


def test_it_is_small_and_holds_no_code():
    files = {path.name: path.stat().st_size for path in ASSETS.iterdir()}
    assert files["model.safetensors"] < 2_000_000
    assert all(name.endswith((".json", ".safetensors")) for name in files)


def test_its_tokenizer_knows_the_data():
    tokenizer = ArithmeticPolicy().tokenizer
    ids = tokenizer.encode(ARITHMETIC_ALPHABET)
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == ARITHMETIC_ALPHABET


def test_it_trains_in_single_precision():
    assert ArithmeticPolicy().load().model.dtype == torch.float32
