"""Calls of vLLM's development mode, which control a server and the version of its weights."""

from __future__ import annotations

from typing import Any, Literal

from lightning_gft.rollout.vllm.client import Client, ServerFault

MODE = {"VLLM_SERVER_DEV_MODE": "1"}
"""Environment variable with which a server has these calls."""


def dev_call(client: Client, path: str, body: Any = None, method: Literal["GET", "POST"] = "POST") -> Any:
    """Return the reply to a call of the development mode.

    Raises:
        ServerFault: If the server does not reply, or replies with an error.
    """
    try:
        return client.call(method, path, body)
    except ServerFault as fault:
        needs = f"{path} (vLLM 0.32 has it with VLLM_SERVER_DEV_MODE=1)" if fault.status in (404, 405) else ""
        raise needing(fault, needs) from None


def served_version(client: Client) -> str:
    """Return the version that was sent with a server's weights."""
    told = dev_call(client, "/weight_info", method="GET")
    return str(told.get("weight_version", "")) if isinstance(told, dict) else ""


def set_version(client: Client, version: str) -> None:
    """Make a server return another version for its weights."""
    dev_call(client, "/update_weight_version", {"new_version": version})


def complete_update(client: Client, version: str) -> None:
    """Make a server that has just loaded weights drop what it cached of the previous ones, and return their version."""
    reset = dev_call(client, "/reset_prefix_cache")
    if isinstance(reset, dict) and reset.get("success") is False:
        raise ServerFault("the prefix cache could not be reset, as requests are running", "failed")
    set_version(client, version)


def needing(fault: ServerFault, needs: str) -> ServerFault:
    """Return a fault that names the requirements of a call that the server lacks; the same fault without any."""
    return ServerFault(f"{fault}; it needs {needs}", fault.kind, fault.status) if needs else fault
