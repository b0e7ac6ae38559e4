"""A small server that misbehaves on request; it imports nothing of this project."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/end/"):
            os._exit(int(self.path.removeprefix("/end/")))
        told = {"pid": os.getpid(), "environment": dict(os.environ), "arguments": sys.argv[1:]}
        self.send_response(200 if self.path == "/tell" else self.server.health)
        self.end_headers()
        self.wfile.write(json.dumps(told).encode())


def clean_up(number, frame):
    time.sleep(0.2)
    print("cleaned up", flush=True)
    sys.exit()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--says")
    parser.add_argument("--status", type=int)
    parser.add_argument("--late", type=float, default=0)
    parser.add_argument("--health", type=int, default=200)
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--cleans-up", action="store_true")
    parser.add_argument("--child", choices=("in-group", "in-session"))
    parser.add_argument("--config", type=json.loads)
    options = parser.parse_args()
    if options.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.cleans_up:
        signal.signal(signal.SIGTERM, clean_up)
    if options.says:
        print(options.says)  # is in the log without a flush
    if options.child:
        own = options.child == "in-session"
        child = subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, start_new_session=own)
        child.stdout.readline()
    if options.status is not None:
        print("Traceback: no such model", file=sys.stderr)
        sys.exit(options.status)
    time.sleep(options.late)
    server = HTTPServer(("127.0.0.1", options.port), Handler)
    server.health = options.health
    server.serve_forever()
