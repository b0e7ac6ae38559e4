"""Runs inside the process of a program: puts up the walls, then runs the program."""

from __future__ import annotations

import json
import os
import sys
import types
from typing import IO, Any

from lightning_gft.sandbox.values import UnreadableError, encode
from lightning_gft.sandbox.walls import put_up


def main(settings: str) -> None:
    """Put up the walls, report them, and serve requests: run a whole program, or evaluate what one has defined.

    Args:
        settings: JSON with the settings of :func:`lightning_gft.sandbox.walls.put_up`, folders of installed
            ``packages``, and the file descriptors of two pipes: ``requests`` to read and ``answers`` to write.
    """
    given = json.loads(settings)
    requests, answers = os.fdopen(given["requests"]), os.fdopen(given["answers"], "w")
    try:
        walls = put_up(given)
    except Exception as error:  # noqa: BLE001 (reported to the parent, which raises it)
        return _write(answers, {"failed": f"{type(error).__name__}: {error}"})
    _write(answers, {"walls": walls})
    request = json.loads(requests.readline())
    sys.path += given["packages"]
    sys.argv[:] = ["solution.py"]
    if request["kind"] == "program":
        requests.close()
        return _run_program(request["code"], answers)
    return _answer(request, requests, answers)


def _run_program(code: str, answers: IO[str]) -> None:
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    try:
        exec(_compiled(code, "exec"), vars(module))  # noqa: S102 (behind the walls)
    except MemoryError:
        _write(answers, {"kind": "memory"})
        raise


def _answer(request: dict[str, Any], requests: IO[str], answers: IO[str]) -> None:
    """Serve the requests in one namespace. Names that the program may have replaced by then are not used here."""
    namespace: dict[str, Any] = {"__name__": "solution"}
    kinds = {"run": _run, "value": _value, "truth": _truth}
    load, dump, memory = json.loads, json.dumps, MemoryError
    while request:
        answer: dict[str, Any] = {"id": request["id"]}
        try:
            answer |= kinds[request["kind"]](request["code"], namespace)
        except memory:
            answer["kind"] = "memory"
        except BaseException as error:  # noqa: BLE001 (SystemExit too: the program has not done what was asked)
            answer |= {"kind": "raised", "message": type(error).__name__}
        answers.write(dump(answer) + "\n")
        answers.flush()
        line = requests.readline()
        request = load(line) if line else {}
    os._exit(0)  # skips handlers that the program has registered for the exit


def _run(code: str, namespace: dict[str, Any]) -> dict[str, Any]:
    exec(_compiled(code, "exec"), namespace)  # noqa: S102
    return {"kind": "done"}


def _value(code: str, namespace: dict[str, Any]) -> dict[str, Any]:
    value = eval(_compiled(code, "eval"), namespace)  # noqa: S307
    try:
        return {"kind": "value", "value": encode(value)}
    except UnreadableError as error:
        return {"kind": "unreadable", "message": str(error)}


def _truth(code: str, namespace: dict[str, Any]) -> dict[str, Any]:
    value = eval(_compiled(code, "eval"), namespace)  # noqa: S307
    return {"kind": "value", "value": encode(not not value)}  # noqa: SIM208 (the program may have replaced bool)


def _compiled(code: str, mode: str) -> types.CodeType:
    return compile(code, "solution.py", mode, dont_inherit=True)


def _write(answers: IO[str], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
