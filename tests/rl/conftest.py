"""What several files of tests need."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from reference.served import Server


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[int, dict], tuple[int, Any]]], Server]]:
    """Start servers that answer a request by its number and its body."""
    servers: list[Server] = []

    def start(answer: Callable[[int, dict], tuple[int, Any]]) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
