"""Where the server of an engine is: at an address, or started by the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.address import Address
from lightning_gft.checks import check_count, check_number
from lightning_gft.counts import Counts
from lightning_gft.errors import GFTValueError
from lightning_gft.rollout.engine import EnginePolicy
from lightning_gft.rollout.vllm.adapter import SERVED_AS
from lightning_gft.rollout.vllm.client import Client, ServerFault
from lightning_gft.rollout.vllm.development import MODE
from lightning_gft.rollout.vllm.faults import Faults
from lightning_gft.rollout.vllm.own_server import OwnServer
from lightning_gft.rollout.vllm.probe import tokenizes_alike
from lightning_gft.rollout.vllm.sleep import has_sleep_mode, is_asleep
from lightning_gft.rollout.vllm.sync import WeightSync, served_models

_OF = "VLLMEngine"


@dataclass(frozen=True)
class Served:
    """What the first rank sends to the other ranks.

    Args:
        model: Name of the policy's model at the server.
        version: Version of the weights that the server has.
        url_file: File with the address of the server that the first rank has started; ``None`` for one at ``url``.
    """

    model: str
    version: str
    url_file: Path | None


class Endpoint:
    """Finds, starts and restarts the server of an engine; the settings are those of the engine.

    Args:
        counts: Receives the number of restarts.

    Attributes:
        sleeps: Whether the server sleeps between two draws.
        faults: Builds the errors about this server.
    """

    def __init__(
        self,
        *,
        url: str | None,
        command: str | list[str] | None,
        env: Mapping[str, str],
        model: str | None,
        api_key_env: str,
        timeout: float,
        concurrency: int,
        max_retries: int,
        start_timeout: float,
        log: str,
        sleep: bool,
        counts: Counts,
    ) -> None:
        if (url is None) == (command is None):
            got = "neither" if url is None else "both"
            raise GFTValueError(
                f"`url` or `command` of {_OF}: expected one of them, got {got}; give the address of a running server, "
                "or the command that starts one"
            )
        self._timeout = check_number("timeout", timeout, above=0, of=_OF)
        self._concurrency = check_count("concurrency", concurrency, of=_OF)
        self._api_key_env, self._model, self._counts = api_key_env, model, counts
        self.sleeps = sleep
        self._address = None if url is None else self._at(_without_v1(url))
        self._own = None if command is None else OwnServer(command, env, log, start_timeout)
        self.faults = Faults(self._address, None if self._own is None else self._own.log, max_retries)

    def check(self) -> None:
        """Check that the run can start its own server, if it is to have one; only the first rank calls it.

        Raises:
            RuntimeError: If its program is missing, or its log cannot be written.
        """
        if self._own is not None:
            self._own.check()

    def connect(self, policy: EnginePolicy, version: str, known: Served | None, sync: WeightSync) -> Served:
        """Return the server of the policy: the run's own, which is started if necessary, or the one at ``url``.

        Args:
            policy: Policy that the server has, or is started with.
            version: Version that the server is about to receive.
            known: What the last call returned.
            sync: Names what the weights need of a server.
        """
        if self._own is not None:
            self.restart("it had ended between two draws")
            arguments, environment = [*sync.arguments()], {**sync.environment()}
            if self.sleeps:
                arguments, environment = [*arguments, "--enable-sleep-mode"], {**environment, **MODE}
            return Served(SERVED_AS, version, self._own.start(sync.model(policy), SERVED_AS, arguments, environment))
        if known is not None:
            return replace(known, version=version)
        assert self._address is not None  # noqa: S101 (one of the two was given)
        self._address.warn_of_open_key()
        client = self.client(None)
        model = self._find_model(client, policy)
        self._check_sleep(client)
        return Served(model, version, None)

    def client(self, served: Served | None) -> Client:
        """Return a client of the server.

        Raises:
            ServerFault: If the first rank has ended its server.
        """
        if served is not None and served.url_file is not None:
            try:
                address = self._at(served.url_file.read_text(encoding="utf-8"))
            except FileNotFoundError:
                raise ServerFault("no address: the first rank has ended the server", "lost") from None
        else:
            assert self._address is not None  # noqa: S101 (without a file the server is at an address)
            address = self._address
        return Client(address, self._timeout, self._concurrency)

    def restart(self, why: str, hung: bool = False) -> bool:
        """Restart the run's own server if it has ended or hangs, and return whether it was restarted.

        Args:
            why: What has happened, for a warning.
            hung: Whether the server runs without replying.
        """
        if self._own is None or not self._own.revive(hung):
            return False
        self._counts.totals["restarts"] += 1
        rank_zero_warn(f"{_OF}: the server was restarted after {why}; its log is {self._own.log}")
        return True

    def stop(self) -> None:
        """End the run's own server."""
        if self._own is not None:
            self._own.stop()

    def _find_model(self, client: Client, policy: EnginePolicy) -> str:
        models = served_models(client)
        name = self._model or (models[0] if models else "")
        if name not in models:
            raise GFTValueError(
                f"`model` of {_OF}: expected one that {client.address.base_url} serves ({', '.join(models)}), got "
                f"{name!r}; choose one of these"
            )
        if not tokenizes_alike(client, name, policy.tokenizer):
            raise self.faults.other_tokenizer()
        return name

    def _check_sleep(self, client: Client) -> None:
        """Check that a server at an address can sleep, or is awake if it never sleeps in this run."""
        if self.sleeps:
            if not has_sleep_mode(client):
                raise self.faults.sleepless()
            return
        try:
            asleep = is_asleep(client)
        except ServerFault as fault:
            if fault.kind == "refused":  # a server without this call never sleeps
                return
            raise
        if asleep:
            raise self.faults.asleep()

    def _at(self, url: str) -> Address:
        return Address(url, self._api_key_env, field="url", of=_OF)


def _without_v1(url: object) -> Any:
    return url.strip().rstrip("/").removesuffix("/v1") if isinstance(url, str) else url
