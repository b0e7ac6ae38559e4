"""What the command line says to bad input: one line that names the setting, the value and a remedy."""

from __future__ import annotations

import warnings

import pytest

from lightning_gft.cli import GFTCLI
from lightning_gft.cli.errors import one_line_warnings
from lightning_gft.errors import GFTUsageError
from tests.cli.command import GFT, SMALL, refused

ALIKE: list[tuple[list[str], str]] = [
    (
        ["--data.init_args.bath_size=3"],
        "error: `data.bath_size`: expected an argument of ArithmeticDataModule, got an unknown one; did you mean "
        "`batch_size`?",
    ),
    (
        ["--trainer.default_root_dir=" + "n" * 300],
        "`trainer.default_root_dir`: expected a folder that can be written",
    ),
    (
        ["--trainer.callbacks=ModelCheckpoint", "--trainer.callbacks.every_n_train_steps=-3"],
        "error: `trainer.callbacks[0]` (lightning.pytorch.callbacks.ModelCheckpoint): Invalid value for every_n_train_",
    ),
    (["--trainer.limit_val_batches=-3"], "error: `trainer.limit_val_batches`: You have passed invalid value -3 "),
    (
        ["--model.lr_scheduler=WarmupSchedule", "--model.lr_scheduler.warmup_steps=-1"],
        "error: `model.lr_scheduler.warmup_steps`: expected a whole number of at least 0, got -1",
    ),
    (["--model.loss=lightning_gft.LoRA"], "error: `model.loss`: expected a GroupLoss, got 'lightning_gft.LoRA'"),
    (
        ["--model.loss=nowhere.Loss"],
        "error: `model.loss`: expected a class_path that can be imported, got nowhere.Loss (",
    ),
    (
        ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=/proc/run"],
        "`CSVLogger.save_dir`: expected a folder that can be written to, got /proc/run/lightning_logs/version_0 (",
    ),
    (
        ["--trainer.precision=bf17"],
        "error: `trainer.precision`: expected 64, 32, 16, 'transformer-engine', ",
    ),
    (["--trainer.max_steps=abc"], "error: `trainer.max_steps`: expected a whole number, got 'abc'"),
    (
        ["--trainer.callbacks=Foo"],
        "error: `trainer.callbacks`: expected a list of Callback, a Callback or null, got 'Foo'",
    ),
    (["--model.policy.lora=None"], "error: `model.policy.lora`: expected a LoRA or null, got 'None'; write null\n"),
    (
        ["--model.lr_scheduler=LinearLR", "--model.lr_scheduler.start_factor=7"],
        "error: `model.lr_scheduler`: Starting multiplicative factor expected to be greater than 0",
    ),
    (["--model.policy.lora=abc"], "error: `model.policy.lora`: expected a LoRA or null, got 'abc'"),
    (["--model.sampler.rewards=" + "[" * 5000], "expected at most 100 nested levels of YAML"),
    (["--trainer.strategy=FSDPStrategy"], "FSDPStrategy; use lightning_gft.FSDP2Strategy, which shards weights"),
    (
        ["--model.loss.rectifier.threshold=a"],
        "error: `model.loss.rectifier.threshold`: expected a number or an Annealing, got 'a'",
    ),
    (
        ["--model.loss.rectifier.threshold={start: 0.7, end: 0.1, num_steps: x}"],
        "error: `model.loss.rectifier.threshold.num_steps`: expected a whole number, got 'x'",
    ),
    (
        ["--model.loss.rectifier.threshold={start: 0.7, end: -1, num_steps: 9}"],
        "error: `model.loss.rectifier.threshold.end`: expected a number of at least 0, got -1.0; 0",
    ),
    (
        ["--model.loss.rectify=positve"],
        "error: `model.loss.rectify`: expected 'all', 'positive', 'negative', 'demonstrations', ",
    ),
    (
        ["--model.loss.rectifier.threshold=-7"],
        "error: `model.loss.rectifier.threshold`: expected a number of at least 0",
    ),
]
"""Further mistakes; a case of the test below runs the same code for each."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model.sampler.surces.self.top_k=3"],
            "error: `model.sampler.surces`: expected an argument of GroupSampler, got an unknown one; did you mean "
            "`sources`?",
        ),
        (
            ["--model.loss=lightning_gft.GTFLoss"],
            "error: `model.loss`: expected a class_path, got lightning_gft.GTFLoss, which does not exist; did you mean "
            "GFTLoss?",
        ),
        (
            ["--model.loss=GFTLos"],
            "error: `model.loss`: expected a class_path, got 'GFTLos'; did you mean GFTLoss?",
        ),
        (
            ["--model.loss.foo=3"],
            "error: `model.loss.foo`: expected an argument of GFTLoss, got an unknown one; it has rectifier, "
            "reduction, rectify, otherwise, max_completion_length",
        ),
        (["--model.loss="], "error: `model.loss`: expected a class_path, got ''"),
        (
            ["--model.loss.help=GFTLos"],
            "error: `model.loss.help`: expected a class_path, got 'GFTLos'; did you mean GFTLoss?",
        ),
        (["--model.optimizer=null"], "error: `model.optimizer`: expected a class_path, got null"),
        (["--trainer.callbacks+=json.dumps"], "error: `trainer.callbacks`: expected a Callback, got 'json.dumps'"),
        (["--ckpt_path="], "`best` or `hpc`, got an empty text; give its path, or remove the option"),
        (
            ["--model.policy=lightning_gft.PretrainedPolicy", "--model.policy.model_name_or_path="],
            "error: `model.policy.model_name_or_path` (''): expected a folder or a hub name, got an empty text; ",
        ),
        (["--trainer.callbacks=ModelCheckpont"], "got 'ModelCheckpont'; did you mean ModelCheckpoint?"),
        (["--model.loss=null"], "error: `model.loss`: expected a GroupLoss, got null"),
        (["--trainer.devices=0"], "is not a valid input using cpu accelerator"),
        (
            ["--trainer.gradient_clip_algorithm=value"],
            "`trainer.gradient_clip_algorithm`: expected 'norm', got 'value'",
        ),
        (["--trainer.default_root_dir=/dev/null/run"], "got /dev/null/run (Not a directory); choose another"),
        (
            ["--trainer.callbacks=ModelCheckpoint", "--trainer.callbacks.dirpath=/proc/run"],
            "`ModelCheckpoint.dirpath`: expected a folder that can be written to, got /proc/run (",
        ),
        (["--trainer.devices=100"], "`trainer.devices`: expected at most "),
        (["--model.optimizer.lr=abc"], "error: `model.optimizer.lr`: expected a number or a Tensor, got 'abc'"),
        (["--model.sampler.rewards={a: &a [*a]}"], "expected no alias within its own anchor, got *a; write it out"),
        (["--ckpt_path=" + "n" * 300], "n: File name too long"),
        (["--trainer.strategy=fsdp_cpu_offload"], "got fsdp_cpu_offload; use lightning_gft.FSDP2Strategy"),
        (
            ["--model.loss.rectifier.threshold={start: 0.7, ned: 0.1, num_steps: 200}"],
            "error: `model.loss.rectifier.threshold.ned`: expected an argument of Annealing, got an unknown one; did "
            "you mean `end`?",
        ),
        (
            ["--model.loss.rectifier.threshold={start: 0.7, end: 0.1}"],
            "error: `model.loss.rectifier.threshold`: expected all arguments that Annealing requires, got none for "
            "num_steps",
        ),
        (
            ["--model.loss.rectifier.threshold={start: 0.7, end: 0.1, num_steps: 0}"],
            "error: `model.loss.rectifier.threshold.num_steps`: expected a whole number of at least 1, got 0",
        ),
        (
            ["--model.loss.rectify=all", "--model.loss.otherwise=IdentityRectifier"],
            "error: `model.loss.otherwise`: expected null with rectify='all', got IdentityRectifier; let `rectify` ",
        ),
        (
            ["--model.sampler.sources.sefl.top_k=3"],
            "error: `model.sampler.sources.sefl`: expected a class_path, got none; did you mean self?",
        ),
        (
            ["--model.optimizer.lr=-7"],
            "error: `model.optimizer`: Invalid learning rate: -7.0",
        ),
        (
            ["--data.batch_size=0"],
            "error: `data.batch_size`: expected a whole number of at least 1, got 0",
        ),
        (
            ["--model.policy.lora.r=0"],
            "error: `model.policy.lora.r`: expected a whole number of at least 1, got 0",
        ),
        (
            ["--model.sampler.sources.self.temperature=-1"],
            "error: `model.sampler.sources.self.temperature`: expected a number of at least 0, got -1.0; 0 is greedy",
        ),
        (
            ["--model.sampler.sources.self.num_generations=x"],
            "error: `model.sampler.sources.self.num_generations`: expected a whole number, got 'x'",
        ),
        (["--trainer.strategy=warp"], "`trainer.strategy`: expected auto, ddp or fsdp2, got warp"),
        (["--trainer.precision=16-true"], "`trainer.precision`: expected 32-true or bf16-mixed, got '16-true'"),
        (["--ckpt_path=nowhere.ckpt"], "nowhere.ckpt"),
        (
            ["--model.policy=lightning_gft.PretrainedPolicy", "--model.policy.model_name_or_path=/no"],
            "error: `model.policy.model_name_or_path` ('/no'): expected a folder that exists, or a hub name; there is",
        ),
        (
            ["--data=lightning_gft.GroupDataModule", "--data.path=no.csv"],
            "error: `data.path` ('no.csv'): expected a path that exists",
        ),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ALIKE),
    ],
)
def test_mistake_is_told_in_a_line(arguments, message, capsys, tmp_path):
    shown = refused(capsys, "fit", "--config", GFT, f"--trainer.default_root_dir={tmp_path}", *SMALL, *arguments)
    (line,) = [line for line in shown.splitlines() if line.startswith("error: ")]
    assert message in f"{line}\n"
    assert "Traceback" not in shown
    assert "usage" not in shown


def test_a_constructor_in_a_file_is_named_by_its_full_setting(capsys, tmp_path):
    (tmp_path / "own.yaml").write_text(
        "model: {sampler: {init_args: {sources: {more: {class_path: SelfSource, init_args: {top_p: 0.5}}, "
        "self: {class_path: SelfSource, init_args: {top_p: 1.5}}}}}}"
    )
    shown = refused(capsys, "fit", "--config", GFT, "--config", str(tmp_path / "own.yaml"))
    assert "error: `model.sampler.sources.self.top_p`: expected a number above 0 and at most 1, got 1.5" in shown
    (tmp_path / "own.yaml").write_text("trainer: {callbacks: [{class_path: ModelCheckpoint, init_args: {mode: [x]}}]}")
    shown = refused(capsys, "fit", "--config", GFT, "--config", str(tmp_path / "own.yaml"))
    assert "error: `trainer.callbacks[0].mode`: expected a text, got ['x']" in shown


def test_a_name_with_dots_among_those_of_a_set_is_an_error_with_its_remedy(capsys, tmp_path):
    (tmp_path / "own.yaml").write_text("model: {sampler: {sources.self.max_new_tokens: 3}}")
    assert refused(capsys, "fit", "--config", GFT, "--config", str(tmp_path / "own.yaml")).endswith(
        "error: `model.sampler.sources`: expected names with their settings, got a name with dots; write nested "
        "settings in its place\n"
    )


@pytest.mark.parametrize(
    ("path", "fault"),
    [("", "`path`: expected a folder, got an empty text"), ("/proc/x", "`path` ('/proc/x'): expected a")],
)
def test_the_folder_of_an_export_is_named_by_its_setting(path, fault, capsys):
    assert f"error: {fault}" in refused(capsys, "export", "--config", GFT, f"--path={path}")


def test_settings_that_are_missing_are_named(capsys):
    shown = refused(capsys, "rescore", "--config", GFT, "--groups=groups")
    assert shown == (
        "See: lightning-gft rescore --help\nerror: `output`: expected a setting that rescore "
        "requires, got none; give it, as in --output=...\n"
    )


@pytest.mark.parametrize("name", ["lightning_gft.advantage", "lightning_gft.Advantages"])
def test_no_module_is_proposed_as_a_part(name, capsys, tmp_path):
    shown = refused(capsys, "fit", "--config", GFT, *SMALL, f"--model.sampler.advantage={name}")
    assert "did you mean advantages?" not in shown
    assert "error: `model.sampler.advantage`: " in shown


def test_template_on_the_command_line_stays_a_text(capsys, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"question": "1", "answer": "1"}')
    shown = refused(
        capsys,
        *("fit", "--config", GFT, f"--trainer.default_root_dir={tmp_path}", "--data=lightning_gft.GroupDataModule"),
        *(f"--data.path={tmp_path}/rows.jsonl", "--data.prompt_template=Q: {prompt}"),
    )
    assert "`data.prompt_column`: expected one of the columns" in shown


@pytest.mark.parametrize("setting", ["model.updates_per_batch", "modle"])
def test_traceback_is_shown_when_asked_for(setting, monkeypatch, capsys):
    monkeypatch.setenv("LIGHTNING_GFT_TRACEBACK", "1")
    shown = refused(capsys, "fit", "--config", GFT, f"--{setting}=0")
    assert "Traceback (most recent call last)" in shown
    assert shown.splitlines()[-1].startswith(f"error: `{setting}`: expected ")


def test_a_command_line_with_a_hook_of_its_own_checks_the_trainer(monkeypatch):
    class Own(GFTCLI):
        def before_instantiate_classes(self) -> None:
            self.called = True

    with pytest.raises(GFTUsageError, match=r"^`trainer.strategy`: expected auto, ddp or fsdp2, got warp"):
        Own(["fit", "--config", GFT, "--trainer.strategy=warp"])


@pytest.mark.parametrize("traced", [False, True])
def test_a_warning_is_shown_as_an_error_is(traced, monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", lambda *_: "as before")
    monkeypatch.setenv("LIGHTNING_GFT_TRACEBACK", "1" if traced else "")
    with one_line_warnings():
        shown = warnings.formatwarning("`data`: expected more", UserWarning, "/site-packages/tokens.py", 3)
    assert shown == ("as before" if traced else "warning: `data`: expected more\n")
    assert warnings.formatwarning("", UserWarning, "", 3) == "as before"


def test_traceback_of_an_error_of_parsing_is_shown_when_asked_for(monkeypatch, capsys):
    args = ("fit", "--config", GFT, "--trainer.max_steps=x")
    assert "Traceback" not in refused(capsys, *args)
    monkeypatch.setenv("LIGHTNING_GFT_TRACEBACK", "1")
    shown = refused(capsys, *args)
    assert "Traceback (most recent call last)" in shown
    assert "error: `trainer.max_steps`: expected a whole number, got 'x'\n" in shown
