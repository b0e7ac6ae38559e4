"""Settings that do not exist: what was probably meant."""

from __future__ import annotations

import pytest

from tests.cli.command import GFT, refused

UNKNOWN = {
    "model.optimiser": ("class_path: SGD", "`model`", "did you mean `model.optimizer`?"),
    "model.sampelr": ("sources: {self: {init_args: {top_k: 3}}}", "`model`", "did you mean `model.sampler`?"),
    "trainer.max_stps": ("3", "`trainer`", "did you mean `trainer.max_steps`?"),
    "trainer.callbakcs": ("Advice", "`trainer`", "did you mean `trainer.callbacks`?"),
    "seed_everithing": ("3", "the command", "did you mean `seed_everything`?"),
    "seed": ("3", "the command", "did you mean `seed_everything`?"),  # abbreviations are no settings
    "trainer.max_step": ("3", "`trainer`", "did you mean `trainer.max_steps`?"),
    "trainer.accel": ("cpu", "`trainer`", "did you mean `trainer.accelerator`?"),
    "max_steps": ("3", "the command", "did you mean `trainer.max_steps`?"),
    "xyz": (
        "3",
        "the command",
        "it has seed_everything, trainer, model, data, ckpt_path, weights_only",
    ),
    "model.xyz": (
        "3",
        "`model`",
        "it has policy, sampler, loss, optimizer, lr_scheduler, evaluation, updates_per_batch, micro_batch_tokens, "
        "gradient_clip_val, max_nonfinite_updates, max_uninformative_batches",
    ),
}


@pytest.mark.parametrize("key", UNKNOWN)
@pytest.mark.parametrize("written", ["on the command line", "in a file"])
def test_an_unknown_setting_is_compared_with_its_siblings(key, written, capsys, tmp_path):
    value, owner, remedy = UNKNOWN[key]
    value = f"{{{value}}}" if ": " in value else value
    if written == "in a file":
        path = tmp_path / "run.yaml"
        parts = key.split(".")
        path.write_text(
            "".join(f"{part}: {{" for part in parts[:-1]) + f"{parts[-1]}: {value}" + "}" * (len(parts) - 1)
        )
        arguments = [f"--config={path}"]
    else:
        arguments = [f"--{key}={value}"]
    shown = refused(capsys, "fit", "--config", GFT, *arguments)
    assert shown.splitlines()[-2:] == [
        "See: lightning-gft fit --help",
        f"error: `{key}`: expected a setting of {owner}, got an unknown one; {remedy}",
    ]


def test_each_unknown_setting_of_a_command_line_is_reported(capsys):
    shown = refused(
        capsys, "fit", "--config", GFT, "--max_stps=1", "--max_steps", "2", "--model.lss=x y", "--max_stps=3"
    )
    assert shown.splitlines()[-1] == (
        "error: `max_stps`: expected a setting of the command, got an unknown one; it has "
        "seed_everything, trainer, model, data, ckpt_path, weights_only; `max_steps`: expected a setting of the "
        "command, got an unknown one; did you mean `trainer.max_steps`? `model.lss`: expected a setting of `model`, "
        "got an unknown one; did you mean `model.loss`?"
    )


@pytest.mark.parametrize("written", ["--model.loss+=SFTLoss", "--model.sampler.sources+=x", "--data.batch_size+=3"])
def test_only_a_list_is_appended_to(written, capsys, tmp_path):
    path, _, value = written.removeprefix("--").partition("+=")
    expected = (
        f"error: `{path}`: expected a value in its place, got one to append, which only a list takes; remove the +"
    )
    assert refused(capsys, "fit", "--config", GFT, written).splitlines()[-1] == expected
    (tmp_path / "run.yaml").write_text(f"{path}+: {value}")
    assert refused(capsys, "fit", "--config", GFT, f"--config={tmp_path}/run.yaml").splitlines()[-1] == expected


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (
            "model: {loss: {init_arg: {rectify: all}}}",
            "model.loss.init_arg`: expected an argument of GFTLoss, got an un",
        ),
        (
            "model: {loss: {clas_path: SFTLoss}}",
            "model.loss.clas_path`: expected an argument of GFTLoss, got an unknown",
        ),
        (
            "trainer: {callbacks: [{class_path: ModelCheckpoint, init_arg: {mode: x}}]}",
            "trainer.callbacks[0].init_arg`: expected an argument of Callback, got an unknown one; ",
        ),
        (
            "model: {sampler: {init_args: {sources: {more: {clas_path: SelfSource}}}}}",
            "model.sampler.sources.more`: expected a class_path, got clas_path; ",
        ),
    ],
)
def test_a_misspelt_class_path_or_init_args_is_named(settings, fault, capsys, tmp_path):
    (tmp_path / "run.yaml").write_text(settings)
    shown = refused(capsys, "fit", "--config", GFT, f"--config={tmp_path}/run.yaml").splitlines()[-1]
    assert shown.startswith(f"error: `{fault}")
    assert shown.replace("`", "").endswith(f"did you mean {'init_args' if 'init_arg:' in settings else 'class_path'}?")
