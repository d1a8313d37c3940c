"""A real language model behind a real server: one that has learnt a judgement by heart, and `transformers serve`."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import torch

from rl import tiny
from rl.judge import Audit
from rl.judge.endpoint import messages_of


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
