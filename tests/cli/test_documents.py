"""Files and values that are no YAML or no configuration: the file, the place and what is wrong."""

from __future__ import annotations

import pytest

from tests.cli.command import GFT, refused

ALIASES_OF_ALIASES = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", ", line 3, column 1: expected each setting once, got 'a' twice; remove one"),
        (
            "a: {marker: #}\n",
            ", line 2, column 1: expected a value, got the end; quote a text that begins with a special ",
        ),
        ("a: {marker: #}\n", "quote a value that begins with #\n"),
        ("a: [1\n", ", line 2, column 1: expected a comma or ] in the list that begins on line 1, got the end; close"),
        ("", ": expected settings, got nothing; write some, such as `seed_everything: 1`"),
        ("- 1\n", ": expected settings, got a list; write some"),
        (b"a: \xff\n", ": expected a text in UTF-8, got the byte 0xff; save it as UTF-8"),
        ("seed_everything: 1\x00\n", ", line 1, column 19: expected a text, got the character U+0000; remove it"),
        (
            "# äöü\nseed_everything: 1\x00\n",
            ", line 2, column 19: expected a text, got the character U+0000; remove it",
        ),
        ("trainer:\n\tmax_steps: 1\n", ", line 2, column 1: expected spaces, got a tab; indent by spaces\n"),
        ("a: @x\n", ", line 1, column 4: expected a value, got one that begins with `@`; quote it"),
        ("a: b: c\n", ", line 1, column 5: expected one `name: value` on the line, got another colon; "),
        ("a: 1\n---\nb: 2\n", ", line 2, column 1: expected one document, got another after `---`; "),
        (
            "- a\nb: 1\n",
            ", line 2, column 1: expected `- value` with the indentation of the list that begins on line 1, ",
        ),
        ("a:\n  b: 1\n c: 2\n", ", line 3, column 2: expected `name: value` with the indentation of the settings"),
        ("a: *x\n", ", line 1, column 4: expected the name of an anchor after *, got one without an anchor; "),
        ("a: !x 1\n", ", line 1, column 4: expected a plain value, got the tag '!x'; quote a text that begins with "),
        ("a: 'x\n", ", line 2, column 1: expected the end of the text that is quoted on line 1, got none; close"),
        ("a: &a [*a]\n", ": expected no alias within its own anchor, got *a"),
        ("a: " + "[" * 100_000, ": expected at most 100 nested levels of YAML, got more"),
        (ALIASES_OF_ALIASES, ": expected at most 100000 values in YAML, aliases expanded"),
        ("a: b\n" * 300_000, ": expected at most 1048576 characters of YAML, got more"),
    ],
)
def test_file_that_is_no_configuration_is_named(content, message, capsys, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for arguments in ([f"--config={path}"], ["-c", str(path)]):
        shown = refused(capsys, "fit", *arguments)
        assert f"error: `--config={path}`{message}" in shown or message.startswith("quote")
        assert message in shown
        what, got, remedy = shown.rpartition("expected ")[2].partition(", got ")
        assert got, shown
        assert "; " in remedy or "at most" in what, shown


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "nowhere.yaml",
            "`--config=nowhere.yaml`: expected a YAML file, got No such file or directory",
        ),
        ("/tmp", "`--config=/tmp`: expected a YAML file, got Is a directory"),  # noqa: S108
        ("/dev/zero", "`--config=/dev/zero`: expected at most 1048576 characters of YAML, got more"),
        ("n" * 300, "`--config=" + "n" * 100 + " ... [100 characters] ... "),
    ],
)
def test_path_that_is_no_configuration_is_named(path, message, capsys):
    assert f"error: {message}" in refused(capsys, "fit", "--config", path)


@pytest.mark.parametrize("args", [["--config"], ["-c"], ["--config="], ["--config", GFT, "--config"]])
def test_a_missing_path_of_a_configuration_is_named(args, capsys):
    assert "error: `--config`: expected a YAML file, got none; give its path" in refused(capsys, "fit", *args)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("--model.loss={a: [1", "`model.loss`, column 6: expected a comma or ] in the list that begins in column 5"),
        (
            "--model.sampler.init_args.sources=[1}",
            "`model.sampler.sources`, column 3: expected a comma or ] in the list that begins in ",
        ),
        ("--model={policy", "`model`, column 7: expected a comma or } in the settings that begin in column 1"),
    ],
)
def test_a_value_that_begins_as_yaml_and_is_none_says_where(typed, message, capsys):
    assert f"error: {message}" in refused(capsys, "fit", "--config", GFT, typed)
