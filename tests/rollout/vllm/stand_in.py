"""A stand-in server with the calls of vLLM that rollouts need, which misbehaves on request.

It imports only the standard library, so that it starts quickly: as a thread of a test, or as a process by
``python stand_in.py serve MODEL --port N``. Seed and prompt determine its responses.
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

Body = dict[str, Any]
EOS = 2


class Handler(http.server.BaseHTTPRequestHandler):
    server: StandIn
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.respond(None)

    def do_POST(self) -> None:
        self.respond(json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "null"))

    def respond(self, body: Body | None) -> None:
        with self.server.lock:
            self.server.asked.append((self.path, body))
        try:
            status, answer = self.server.answer(self.path, body)
        except ConnectionResetError:
            self.close_connection = True
            return
        except KeyError as error:
            status, answer = 404, {"error": {"message": f"the model {error} does not exist"}}
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


class StandIn(http.server.ThreadingHTTPServer):
    """Serves a model, whose weights have a version, and adapters.

    Attributes:
        asked: Paths and bodies of all requests in their order.
        misbehave: Called with the number of each completion, from 1; returns the reply to send instead, or ``None``.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int = 0, model: str = "served") -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.lock = threading.RLock()
        self.asked: list[tuple[str, Body | None]] = []
        self.completions = 0
        self.misbehave: Any = lambda number: None
        self.model = model
        self.sleep_mode = True
        self.start_anew()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def start_anew(self) -> None:
        """Forget all weights, as a restarted server does."""
        self.version, self.weights, self.adapters = "default", "", dict[str, str]()
        self.asleep: set[str] = set()

    def bodies(self, path: str) -> list[Body]:
        return [body or {} for asked, body in self.asked if asked.startswith(path)]

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked if path not in ("/v1/completions", "/health")]

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        if path == "/v1/completions":
            assert not self.asleep, "a sleeping server draws nothing"
            with self.lock:
                self.completions += 1
                number = self.completions
            wrong = self.misbehave(number)
            return wrong or (200, self.complete(body))
        if path == "/health":
            return 200, {}
        if path == "/v1/models":
            return 200, {"data": [{"id": name} for name in (self.model, *self.adapters)]}
        if path == "/weight_info":
            return 200, {"weight_version": self.version}
        if path == "/update_weight_version":
            self.version = body["new_version"]
            return 200, {"success": True}
        if path == "/collective_rpc":
            assert body["method"] == "reload_weights"
            assert "weights" not in self.asleep, "no memory for weights"
            self.weights = str(Path(body["kwargs"]["weights_path"]).resolve(strict=True))
            return 200, {"results": [None]}
        if path == "/reset_prefix_cache":
            return 200, {"success": True}
        if path.startswith("/sleep?level="):
            self.asleep = {"weights", "kv_cache"}
            self.weights = "" if path.endswith("2") else self.weights
            return 200, {"status": "sleeping"}
        if path == "/server_info?config_format=json":
            return 200, {"vllm_config": {"model_config": {"enable_sleep_mode": self.sleep_mode}}}
        if path == "/is_sleeping":
            return 200, {"is_sleeping": bool(self.asleep)}
        if path.startswith("/wake_up?tags="):
            self.asleep.discard(path.split("=")[1])
            return 200, {"status": "awake"}
        if path == "/v1/load_lora_adapter":
            if not Path(body["lora_path"], "adapter_model.safetensors").is_file():
                return 400, {"error": {"message": "no adapter there"}}
            self.adapters[body["lora_name"]] = body["lora_path"]
            return 200, b"Success"
        if path == "/v1/unload_lora_adapter":
            del self.adapters[body["lora_name"]]
            return 200, b"Success"
        return 404, {"detail": "Not Found"}

    def complete(self, body: Body) -> Body:
        """Return a completion whose length and tokens follow from seed and prompt."""
        if body["model"] != self.model:
            self.adapters[body["model"]]
        return completion(*tokens_of(body))


def tokens_of(body: Body) -> tuple[list[int], list[float], str]:
    """Return the response to a request, which depends on nothing else."""
    dice = random.Random(f"{body.get('seed')}{body['prompt']}")
    count = dice.randrange(1, body["max_tokens"] + 1)
    tokens = [dice.randrange(3, 20) for _ in range(count)]
    logprobs = [-dice.random() for _ in range(count)]
    if dice.random() < 0.5:
        tokens[-1] = body["stop_token_ids"][0]
        return tokens, logprobs, "stop"
    return tokens, logprobs, "length"


def completion(tokens: list[int], logprobs: list[float], reason: str) -> Body:
    choice = {"index": 0, "text": "", "token_ids": tokens, "logprobs": {"token_logprobs": logprobs}}
    return {"choices": [{**choice, "finish_reason": reason}]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("serve")
    parser.add_argument("model")
    parser.add_argument("--port", type=int)
    parser.add_argument("--served-model-name")
    parser.add_argument("--logprobs-mode")
    parser.add_argument("--host")
    parser.add_argument("--notes", type=Path, help="a folder: one file for each start, and one for each completion")
    parser.add_argument("--ends-at", type=int, help="the completion at which the first start ends, or hangs")
    parser.add_argument("--hangs", action="store_true")
    parser.add_argument("--enable-sleep-mode", action="store_true")
    assert not sys.argv[2].startswith("-"), "vLLM takes its model before any option"
    options = parser.parse_args()
    assert Path(options.model, "config.json").is_file(), "started without a model"
    assert options.logprobs_mode == "raw_logprobs"
    assert options.host == "127.0.0.1", "other machines may not reach the calls that send weights"
    assert os.environ["VLLM_SERVER_DEV_MODE"] == "1"
    first = not list(options.notes.glob("start-*"))
    (options.notes / f"start-{os.getpid()}").touch()
    server = StandIn(options.port, options.served_model_name)

    def misbehave(number: int) -> None:
        if first and number == options.ends_at:
            if not options.hangs:
                os._exit(1)
            time.sleep(3600)

    server.misbehave = misbehave
    server.serve_forever()


if __name__ == "__main__":
    main()
