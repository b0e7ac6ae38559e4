"""The errors about a rollout server, in one line with the remedy."""

from __future__ import annotations

from pathlib import Path

from lightning_gft.address import Address
from lightning_gft.errors import GFTRuntimeError
from lightning_gft.rollout.vllm.client import ServerFault


class Faults:
    """Builds the errors about one server.

    Args:
        address: Address of a server that runs already; ``None`` for a started one.
        log: Log of a started server.
        max_retries: Number of times that missing responses are requested again.
    """

    def __init__(self, address: Address | None, log: Path | None, max_retries: int) -> None:
        self._address, self._log, self._max_retries = address, log, max_retries
        self._where = f"`{'command' if address is None else 'url'}` of VLLMEngine"

    def no_replies(self, fault: ServerFault) -> GFTRuntimeError:
        """Return the error for a server that does not reply, or replies with an error."""
        if self._address is None:
            at, look = "the started server", f"look at its log, {self._log}"
        else:
            at, look = self._address.base_url, "look at the server's log, or correct the address"
        tried = "" if fault.kind == "refused" else f", with max_retries={self._max_retries}"
        return GFTRuntimeError(f"{self._where}: expected replies of {at}, got {fault}{tried}; {look}")

    def lost_weights(self) -> GFTRuntimeError:
        """Return the error for a server that was restarted while it drew ahead, with weights that no file holds."""
        return GFTRuntimeError(
            f"{self._where}: expected the weights that a draw ahead began with, got a server that was restarted, and "
            "NCCLSync keeps no copy of them; resume from the last checkpoint, or send weights by ReloadSync"
        )

    def sleepless(self) -> GFTRuntimeError:
        """Return the error for a server at an address whose memory cannot be freed."""
        return GFTRuntimeError(
            f"{self._where}: expected a server with --enable-sleep-mode, because of sleep=true, got one without; start "
            "it with that option, or leave sleep out"
        )

    def asleep(self) -> GFTRuntimeError:
        """Return the error for a server at an address that was left asleep."""
        return GFTRuntimeError(
            f"{self._where}: expected a server that is awake, because of sleep=false, got one that sleeps; set sleep "
            "to true, or restart it"
        )

    def other_machine(self) -> GFTRuntimeError:
        """Return the error for a rank that does not share the machine of a started server."""
        return GFTRuntimeError(
            f"{self._where}: expected all ranks on the machine of the first, which starts the server, got one on "
            "another; start the server yourself and give all ranks its `url`"
        )

    def other_protocol(self, error: Exception) -> GFTRuntimeError:
        """Return the error for replies that cannot be parsed."""
        return GFTRuntimeError(
            f"{self._where}: expected responses as token ids with log-probabilities, got {error}; use vLLM, or a "
            "server of OpenAI's API that supports return_token_ids and logprobs"
        )

    def other_weights(self, apart: float, limit: float) -> GFTRuntimeError:
        """Return the error for a server whose log-probabilities differ too much from the policy's."""
        return GFTRuntimeError(
            f"{self._where}: expected the policy's weights, got log-probabilities that are {apart:.3g} from the "
            f"policy's on average, above max_logprob_difference={limit:g}; serve the policy's model with "
            "--logprobs-mode raw_logprobs, and compare precision and quantisation"
        )

    def other_tokenizer(self) -> GFTRuntimeError:
        """Return the error for a server that tokenises a text differently."""
        return GFTRuntimeError(
            f"{self._where}: expected the policy's tokenizer, got one that splits a text differently; serve the "
            "policy's model with its own tokenizer"
        )
