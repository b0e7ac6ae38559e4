"""Responses of a teacher behind an HTTP server of chat completions."""

import json
from typing import ClassVar
from urllib.request import Request, urlopen

from lightning_gft import PromptBatch, Response, ResponseSource, Source
from lightning_gft.types import ResponseGenerator


class ServerSource(ResponseSource):
    """Asks a server for one response a prompt, by the prompt's messages; `EndpointSource` is this for a real run.

    Args:
        url: Address of the server's chat completions.
        seconds: Longest time for a response.
    """

    source: ClassVar[Source] = Source.TEACHER

    def __init__(self, url: str, seconds: float = 60.0) -> None:
        super().__init__(num_responses=1)
        self.url, self.seconds = url, seconds
        self.requests = 0

    def draws(self) -> bool:
        return False

    def respond(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[list[Response]]:
        texts = [self.ask(messages, seed) for messages in prompts.messages]
        return [[Response(policy.encode(text))] for text in texts]

    def ask(self, messages: list[dict[str, str]], seed: int) -> str:
        self.requests += 1
        body = json.dumps({"messages": messages, "seed": seed % 2**31}).encode()
        request = Request(self.url, body, {"Content-Type": "application/json"})  # noqa: S310
        with urlopen(request, timeout=self.seconds) as answer:  # noqa: S310
            return json.load(answer)["choices"][0]["message"]["content"]

    def compute(self) -> dict[str, float]:
        return {"requests": self.requests}

    def reset(self) -> None:
        self.requests = 0
