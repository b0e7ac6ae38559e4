"""Compiled kernels give what the plain ones give, and a machine that cannot compile them uses those."""

from __future__ import annotations

import logging
import shutil

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed

from lightning_gft.functional import linear_logprob_loss
from lightning_gft.functional.head import kernels
from tests.functional.head.linear_inputs import COEFFICIENTS, HEADS, every_head, inputs, leaves

needs_a_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat a CPU as a GPU is treated."""
    monkeypatch.setattr(kernels, "_is_compiled_for", lambda device: True)
    monkeypatch.setattr(kernels, "_FAILED", [])


def evaluate(dtype: torch.dtype, **options) -> list[Tensor]:
    given = inputs(dtype=dtype)
    loss, logprobs, entropies = linear_logprob_loss(
        **given, coefficients=COEFFICIENTS["constant"], entropy=True, **options
    )
    return [loss, logprobs, entropies, *torch.autograd.grad(loss, leaves(given))]


@pytest.mark.parametrize("block_elements", [1, 40])
@every_head
def test_blocks_do_not_change_a_value(head, block_elements: int, monkeypatch: pytest.MonkeyPatch):
    expected = evaluate(torch.float64, chunk_size=6, **head)
    monkeypatch.setattr(kernels, "_BLOCK_ELEMENTS", block_elements)
    for a, b in zip(evaluate(torch.float64, chunk_size=6, **head), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-14)


@needs_a_compiler
@pytest.mark.slow
@pytest.mark.parametrize("head", [HEADS["plain"], HEADS["all"]], ids=["plain", "all"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_compiled_equals_plain(head, dtype: torch.dtype, request: pytest.FixtureRequest):
    expected = evaluate(dtype, chunk_size=5, **head)  # chunks of 5, 5 and 3 rows
    request.getfixturevalue("compiled")
    actual = evaluate(dtype, chunk_size=5, **head)
    assert not kernels._FAILED
    for a, b in zip(actual, expected, strict=True):
        tolerance = 1e-5 if a.dtype == torch.float32 else 0.01
        assert (a - b).norm() <= tolerance * b.norm()


@needs_a_compiler
@pytest.mark.slow
def test_other_numbers_of_rows_compile_nothing_again(compiled: None):
    kernels._compiled.cache_clear()
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for chunk_size in (5, 7, 13):  # and the rest of 13 tokens; a single row alone is compiled for apart
        evaluate(torch.float32, chunk_size=chunk_size)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # one of each kernel


@needs_a_compiler
@pytest.mark.slow
def test_where_dynamo_compiles_no_further_all_run_plainly(compiled: None, caplog: pytest.LogCaptureFixture):
    expected = evaluate(torch.float64, chunk_size=5, temperature=2.0)
    kernels._compiled.cache_clear()
    torch._dynamo.reset()
    # `monkeypatch` would delete the limit afterwards, for this and all later tests of the process.
    with torch._dynamo.config.patch(recompile_limit=1), caplog.at_level(logging.WARNING, logger=kernels.__name__):
        evaluate(torch.float64, chunk_size=5, softcap=2.0)
        actual = evaluate(torch.float64, chunk_size=5, temperature=2.0)
    assert caplog.text.count("cannot be compiled") == 1
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_what_cannot_be_compiled_runs_plainly_after_one_warning(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    expected = evaluate(torch.float64)

    def compile_nothing(kernel, tensors, *settings):
        raise BackendCompilerFailed(compile_nothing, RuntimeError("Failed to find C compiler"), None)

    request.getfixturevalue("compiled")
    monkeypatch.setattr(kernels, "_run_compiled", compile_nothing)
    with caplog.at_level(logging.WARNING):
        actual = evaluate(torch.float64, chunk_size=4)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Failed to find C compiler" in caplog.text
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
