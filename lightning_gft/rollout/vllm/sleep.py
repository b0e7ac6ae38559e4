"""vLLM's sleep mode: a server gives the memory of its GPU back while it does not draw."""

from __future__ import annotations

from typing import Literal

from lightning_gft.rollout.vllm.client import Client, ServerFault
from lightning_gft.rollout.vllm.development import dev_call, set_version

_ASLEEP = "asleep"


def is_asleep(client: Client) -> bool:
    """Return whether a server sleeps.

    Raises:
        ServerFault: If the server does not reply, or has no calls of the development mode.
    """
    reply = dev_call(client, "/is_sleeping", method="GET")
    return isinstance(reply, dict) and bool(reply.get("is_sleeping"))


def has_sleep_mode(client: Client) -> bool:
    """Return whether a server was started with sleep mode; without it, vLLM's calls succeed and free no memory.

    Raises:
        ServerFault: As in :func:`is_asleep`.
    """
    reply = dev_call(client, "/server_info?config_format=json", method="GET")
    try:
        return bool(reply["vllm_config"]["model_config"]["enable_sleep_mode"])
    except (LookupError, TypeError):
        raise ServerFault("malformed settings of a server at /server_info", "refused") from None


def put_to_sleep(client: Client, level: Literal[1, 2]) -> None:
    """Make a server give its memory back.

    Args:
        client: Client of a server that draws nothing now.
        level: 1 to keep the weights in the CPU's memory, 2 to drop them, and the version with them.

    Raises:
        ServerFault: If the server does not reply, or has no sleep mode.
    """
    if level == 2:
        set_version(client, _ASLEEP)  # first: a server must never return a version whose weights it has dropped
    dev_call(client, f"/sleep?level={level}")


def wake(client: Client, memory: Literal["weights", "kv_cache"]) -> None:
    """Make a server take one kind of its memory again, unless it is awake, as a restarted one is.

    Raises:
        ServerFault: If the server does not reply.
    """
    if is_asleep(client):
        dev_call(client, f"/wake_up?tags={memory}")
