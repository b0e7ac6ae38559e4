"""What the measurement says where a wall is missing."""

from __future__ import annotations

import pytest

from lightning_gft.rewards import CodeExecutionReward, RewardError
from lightning_gft.sandbox import measure as measuring
from lightning_gft.sandbox import process
from lightning_gft.sandbox.measure import measure
from lightning_gft.sandbox.process import Limits, SandboxedProcess, SandboxError

WITHOUT = {
    "namespaces": "walls._leave_namespaces = lambda *_: False",
    "landlock": "walls._restrict_files = lambda *_: False",
    "seccomp": "walls.refuse_calls = lambda _: False",
}


@pytest.fixture
def without(monkeypatch):
    """Return a function that leaves walls out, as machines do that do not have them."""

    def leave_out(*names: str) -> None:
        out = "; ".join(["from lightning_gft.sandbox import walls", *(WITHOUT[name] for name in names)])
        program = process._PROGRAM.replace("main(sys.argv[1])", f"{out}; main(sys.argv[1])")
        assert program != process._PROGRAM
        monkeypatch.setattr(process, "_PROGRAM", program)
        measure.cache_clear()

    yield leave_out
    measure.cache_clear()


@pytest.mark.parametrize(
    ("missing", "reached"),
    [
        (["namespaces"], set()),  # as in most containers
        (["landlock"], {"files"}),
        (["namespaces", "seccomp"], {"network", "files", "processes"}),
        (["namespaces", "landlock", "seccomp"], {"network", "files", "processes"}),
    ],
)
def test_a_missing_wall_is_noticed(missing: list[str], reached: set[str], without):
    before = measure()
    if before.open:
        pytest.skip("no whole sandbox on this machine")
    without(*missing)
    assert measure().open == reached
    assert measure().walls == before.walls - {*missing}


def reward(**options: object) -> CodeExecutionReward:
    return CodeExecutionReward(runs_model_code=True, seconds=60, **options)


BATCH = {"prompts": ["p"], "responses": ["x = 3"], "references": ["assert x == 3"]}


def test_a_machine_that_does_not_contain_programs_is_an_error_before_training(without):
    without("landlock")
    with pytest.raises(
        RewardError, match=r"keeps programs from files, got one that does not .its walls: namesp.*allow"
    ):
        reward().setup()
    with pytest.raises(RewardError, match="expected a machine that keeps programs from files"):
        reward()(**BATCH)
    allowing = reward(allow=["files"])
    with pytest.warns(UserWarning, match="them from network, processes, but not from files"):
        allowing.setup()
    assert allowing(**BATCH) == [1.0]


def test_a_wall_that_falls_later_stops_the_run(without):
    known = measure()
    without("seccomp")
    measuring.measure.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_gft.rewards.code.testing.measure", lambda: known)
        patch.setattr("lightning_gft.rewards.code.reward.measure", lambda: known)
        with pytest.raises(SandboxError, match=r'"seccomp".* did not stand'):
            reward()(**BATCH)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import sys; sys.exit(3)", "ended at its start, with exit status 3"),
        (
            process._PROGRAM.replace("main(sys", "from lightning_gft.sandbox import walls; walls.os = None; main(sys"),
            "its walls could not be put up: AttributeError",
        ),
    ],
)
def test_a_sandbox_that_does_not_start_says_so(program: str, message: str, monkeypatch):
    monkeypatch.setattr(process, "_PROGRAM", program)
    with pytest.raises(SandboxError, match=message):
        SandboxedProcess(Limits())
    measure.cache_clear()
    with pytest.raises(RewardError, match=f"expected a machine with a working sandbox, got an error: .*{message}"):
        reward().setup()
    measure.cache_clear()


def test_only_linux_has_one(monkeypatch):
    measure.cache_clear()
    monkeypatch.setattr(measuring.sys, "platform", "darwin")
    with pytest.raises(
        RewardError, match="expected a machine with a working sandbox, got an error: expected Linux, got darwin"
    ):
        reward().setup()
    measure.cache_clear()
