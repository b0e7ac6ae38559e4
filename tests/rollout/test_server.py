"""A server of a run: it starts, or says why not, and leaves no process, however it or the run ends."""

import copy
import json
import os
import pickle
import signal
import sys
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from urllib.request import ProxyHandler, build_opener

import pytest

from lightning_gft.errors import GFTError
from lightning_gft.rollout.vllm import server as server_module
from lightning_gft.rollout.vllm.environment import ALLOCATOR, INTERPRETER, RANKS
from lightning_gft.rollout.vllm.server import ManagedServer
from lightning_gft.waiting import ending_waits
from tests.conftest import quick
from tests.distributed.jobs import MARK, marked, running, wait_for
from tests.rewards.processes import wait_until

SCRIPT = Path(__file__).with_name("little_server.py")
LITTLE = [sys.executable, str(SCRIPT)]
CHILDREN = ["in-group", "in-session"]
_opener = build_opener(ProxyHandler({}))


def tell(server):
    with _opener.open(server.url + "/tell", timeout=60) as answer:
        return json.load(answer)


@pytest.fixture
def pids(monkeypatch):
    """Return what returns the processes that this test's servers have started; none may be left."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    yield lambda: marked(mark)
    wait_until(lambda: not marked(mark), "processes are left")


@pytest.fixture
def make(tmp_path, pids, monkeypatch):
    monkeypatch.setattr("lightning_gft.rollout.vllm.server._STOP_SECONDS", 0.2)
    monkeypatch.setattr("lightning_gft.rollout.vllm.server._INTERVAL", 0.02)
    servers = []

    def make_server(*arguments, **settings):
        settings = {"log": tmp_path / "logs" / "server.log", **settings}
        servers.append(ManagedServer([*LITTLE, *arguments], **settings))
        return servers[-1]

    yield make_server
    for server in servers:
        server.stop()


def failure(server):
    with pytest.raises(GFTError) as raised:
        server.start()
    assert not server.alive()
    return str(raised.value)


def test_starts_and_stops(make, pids):
    server = make("--says", "loading")
    assert not server.alive()
    server.start()
    told = tell(server)
    server.start()
    assert tell(server)["pid"] == told["pid"], "a running server is not started again"
    assert server.alive()
    assert len(pids()) == 2, "a guard and the server"
    server.stop()
    assert not server.alive()
    assert not pids()
    server.stop()
    with pytest.raises(GFTError, match="call start"):
        server.url  # noqa: B018
    assert "loading" in server.log.read_text()


def test_a_restart_is_another_process_and_the_log_has_both(make, pids):
    server = make("--says", "loading")
    server.start()
    first = tell(server)["pid"]
    server.restart()
    assert first != tell(server)["pid"]
    assert first not in pids()
    assert server.log.read_text().count("loading") == 2
    assert server.tail().count("loading") == 1


@pytest.mark.parametrize("given", [(), ("--port", "{port}")])
def test_the_port_has_its_place_in_the_command(make, given):
    server = make(*given, "--config", '{"backend": {}}')
    server.start()
    arguments = tell(server)["arguments"]
    assert server.url == f"http://127.0.0.1:{arguments[arguments.index('--port') + 1]}"
    assert arguments.count("--port") == 1
    assert '{"backend": {}}' in arguments


def test_one_that_takes_its_port_late_is_waited_for(make):
    server = make("--late", "0.5")
    server.start()
    assert server.alive()


def test_one_that_ends_is_an_error_with_its_last_lines(make, pids):
    make("--says", "of an earlier start").start()
    server = make("--says", "loading", "--status", "3", "--child", "in-session")
    message = failure(server)
    assert "exit status 3" in message
    assert message.endswith("loading\nTraceback: no such model")
    assert str(server.log) in message
    assert "earlier" in server.log.read_text()


@pytest.mark.parametrize("child", quick(CHILDREN, "in-session"))
def test_one_that_does_not_get_ready_is_an_error(make, pids, child, monkeypatch):
    answers, ask = [], server_module._ask
    monkeypatch.setattr(server_module, "_ask", lambda *of: answers.append(ask(*of)) or answers[-1])
    # The time is over as soon as it has answered, by when its child has begun.
    clock = SimpleNamespace(**{**vars(time), "monotonic": lambda: 601.0 * (503 in answers)})
    monkeypatch.setattr(server_module, "time", clock)
    message = failure(make("--health", "503", "--says", "no GPU", "--child", child))
    assert "`start_timeout`" in message
    assert "got 503 after 600 s" in message
    assert message.endswith("no GPU")
    assert not pids()


def test_a_request_to_stop_ends_the_wait(make, pids):
    def stop():
        raise SystemExit(143)

    with ending_waits(stop), pytest.raises(SystemExit):
        make("--health", "503").start()
    assert not pids()


def test_a_program_that_is_missing_is_an_error(tmp_path):
    server = ManagedServer(["no-such-vllm", "serve"], log=tmp_path / "log")
    assert "'no-such-vllm'" in failure(server)


def test_a_program_that_cannot_be_run_is_an_error(tmp_path):
    program = tmp_path / "vllm"  # as that of an environment that was moved
    program.write_text("#!/no/such/python\n")
    program.chmod(0o755)
    message = failure(ManagedServer([str(program)], log=tmp_path / "log"))
    assert "exit status 127" in message
    assert message.endswith(f"{program}: cannot be run: No such file or directory")


def test_a_log_that_cannot_be_written_is_an_error(make, tmp_path):
    (tmp_path / "file").touch()
    assert "`log`" in failure(make(log=tmp_path / "file" / "log"))


def test_arguments_are_not_in_the_log(make):
    server = make("--says", "")
    server.command += ["--config", '"sk-secret"']
    server.start()
    assert "sk-secret" not in server.log.read_text()


@pytest.mark.parametrize("child", quick(CHILDREN, "in-session"))
def test_one_that_ignores_signals_is_killed_with_its_child(make, pids, child):
    server = make("--deaf", "--child", child)
    server.start()
    assert len(pids()) == 3
    server.stop()
    assert not pids()


@pytest.mark.parametrize("wrapper", [[], ["sh", "-c", '"$@" & wait', "sh"]])
def test_one_that_cleans_up_has_the_time(tmp_path, pids, monkeypatch, wrapper):
    monkeypatch.setattr("lightning_gft.rollout.vllm.server._STOP_SECONDS", 600.0)
    server = ManagedServer([*wrapper, *LITTLE, "--cleans-up"], log=tmp_path / "log")
    server.start()
    server.stop()
    assert not pids()
    assert server.tail().endswith("cleaned up")


@pytest.mark.parametrize("child", quick(CHILDREN, "in-session"))
def test_one_that_dies_later_is_noticed_and_can_be_started_again(make, pids, child):
    server = make("--child", child)
    server.start()
    with pytest.raises(OSError):
        _opener.open(server.url + "/end/5", timeout=60)
    wait_until(lambda: not server.alive(), "lives on")
    wait_until(lambda: not pids(), "its child is left")
    server.start()
    assert server.alive()


def test_neither_ranks_nor_packages_of_this_process_reach_it(make, monkeypatch):
    for name in (*RANKS, *INTERPRETER - {"PYTHONHOME"}, *ALLOCATOR, "TORCHELASTIC_RUN_ID", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # where no server is
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server = make(env={"RANK": "of its own"})
    server.start()
    environment = tell(server)["environment"]
    assert not environment.keys() & ((RANKS - {"RANK"}) | INTERPRETER | ALLOCATOR | {"TORCHELASTIC_RUN_ID"})
    assert environment["RANK"] == "of its own"
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert environment["HTTP_PROXY"] == "http://127.0.0.1:9"


def pickled(server):
    return pickle.loads(pickle.dumps(server))  # noqa: S301 (our own)


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_a_copy_has_a_server_of_its_own(make, copied):
    server = make()
    copied(server).start()
    server.start()
    other = copied(server)
    assert not other.alive()
    other.stop()
    del other
    assert server.alive()


def test_it_ends_with_its_object(tmp_path, pids):
    server = ManagedServer(LITTLE, log=tmp_path / "log")
    server.start()
    del server
    assert not pids()


def test_a_signal_to_all_processes_of_a_job_does_not_take_its_guard(make, pids):
    server = make("--deaf", "--child", "in-session")
    server.start()
    for pid in pids():
        os.kill(pid, signal.SIGTERM)
    assert tell(server)
    assert len(pids()) == 3


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"command": "vllm serve"}, "command"),
        ({"command": []}, "command"),
        ({"command": ["vllm", 1]}, "command"),
        ({"env": {"CUDA_VISIBLE_DEVICES": 1}}, "env"),
        ({"start_timeout": 0}, "start_timeout"),
    ],
)
def test_options_are_checked(tmp_path, settings, field):
    with pytest.raises(GFTError, match=f"^`{field}`: expected"):
        ManagedServer(**{"command": ["vllm"], "log": tmp_path / "log", **settings})


@pytest.mark.parametrize("end", quick(["kill", "ctrl-c", "exit"], "kill"))
def test_no_process_is_left_of_a_run(tmp_path, end):
    note, run = tmp_path / "note", str(SCRIPT.with_name("little_run.py"))
    command = [sys.executable, run, end, str(tmp_path), *LITTLE, "--deaf", "--child", "in-session"]
    with running(command, tmp_path / "log") as job:
        wait_for(note, job)
        left = []
        if end == "kill":
            left = [int(note.read_text())]
            job.process.send_signal(signal.SIGKILL)
        elif end == "ctrl-c":
            os.killpg(job.process.pid, signal.SIGINT)  # as a terminal does
        assert (job.wait() == 0) == (end != "kill"), job.written()
        wait_until(lambda: job.pids() == left, "the server has outlived its run")
        assert ("alive True" in job.written()) == (end == "ctrl-c")
