"""Models behind real servers: one that answers as a test wants, and a language model under `transformers serve`."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import torch

from rl import tiny
from rl.judge import Audit
from rl.judge.endpoint import messages_of


class Server:
    """Answer every request with what `answer` makes of its number and body: a status, and JSON or a page of text.

    Bytes are half of what is promised, behind which the line is cut.
    """

    def __init__(self, answer: Callable[[int, dict], tuple[int, Any]]) -> None:
        self.requests: list[dict] = []
        self.keys: list[str | None] = []
        self.at_once = self.most_at_once = 0
        self.cut = False
        lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    server.requests.append(body)
                    server.keys.append(self.headers.get("Authorization"))
                    number = len(server.requests)
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                status, reply = answer(number, body)
                with lock:
                    server.at_once -= 1
                half = reply if isinstance(reply, bytes) else None
                text = reply if isinstance(reply, str) else "" if half else json.dumps(reply)
                payload = half or text.encode()[: 9 if server.cut else None]
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if isinstance(reply, str) else "application/json")
                self.send_header("Content-Length", str(len(payload) * (2 if half else 1)))
                self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(payload)
                self.close_connection = half is not None

            def do_GET(self) -> None:
                """List no models."""
                payload = b'{"object": "list", "data": []}'
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Stay silent."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()


def said(text: str, finish: str = "stop") -> dict:
    """Return a chat completion that says a text."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": finish, "message": message}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "judge", "choices": [choice]}


@contextmanager
def judge_server(folder: Path, reply: str, audits: Sequence[Audit]) -> Iterator[tuple[str, str]]:
    """Serve a judge that answers what is asked about audits, and about others like them, with reply; URL and name."""
    _learn(folder, reply, audits)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", folder, "--port", str(port), "--device", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"http://localhost:{port}/health", process)
        yield f"http://localhost:{port}/v1", str(folder)
    finally:
        process.kill()
        process.wait()


def _wait_for(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            httpx.get(url, timeout=5).raise_for_status()
            return
        except httpx.HTTPError:
            assert process.poll() is None and time.monotonic() < deadline, "the server did not start"


def _learn(folder: Path, reply: str, audits: Sequence[Audit]) -> None:
    tokenizer, model = tiny.build_tokenizer(), tiny.build_model(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    asked = [
        tokenizer.apply_chat_template(messages_of(audit), add_generation_prompt=True, return_dict=False)
        for audit in audits
    ]
    written = tokenizer(reply)["input_ids"] + [tokenizer.eos_token_id]
    for step in range(120):
        ids = asked[step % len(asked)]
        row, labels = torch.tensor([ids + written]), torch.tensor([[-100] * len(ids) + written])
        model(input_ids=row, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
