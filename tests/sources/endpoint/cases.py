"""Sources, batches and a policy for the tests of teachers behind a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_gft import EndpointSource, PromptBatch
from tests.sources.endpoint.servers import FakeServer

KEY = "sk-secret-0123456789"


class Characters:
    """A policy whose tokens are characters; all that a source asks of it here."""

    def encode(self, response: str) -> list[int]:
        return [ord(character) for character in response]


POLICY: Any = Characters()


def batch(*prompts: str) -> PromptBatch:
    """Return prompts of a dataloader of others, which has no messages and no encoder."""
    return PromptBatch(
        prompt_ids=[[1]] * len(prompts),
        prompts=list(prompts),
        references=[None] * len(prompts),
        rows=list(range(10, 10 + len(prompts))),
    )


def source_of(server: FakeServer | str, cache: Path, **settings: Any) -> EndpointSource:
    url = server.url if isinstance(server, FakeServer) else server
    quick = {
        "model": "teacher",
        "base_url": url,
        "num_responses": 1,
        "max_retries": 1,
        "api_key_env": "TEACHER_KEY",
        "cache": str(cache),
    }
    return EndpointSource(**{**quick, **settings})


def texts(source: EndpointSource, *prompts: str) -> list[list[str]]:
    """Return the texts of the responses to prompts."""
    given = source.respond(batch(*prompts), POLICY, seed=0)
    return [["".join(map(chr, response.token_ids)) for response in responses] for responses in given]
