"""A dead process ends the others: each holds a connection to the main one, which the kernel closes when either dies.

Collective calls do not notice a dead peer, or only after their own time limit; a closed connection is noticed at once,
by a thread that needs neither the training's thread nor its GPU, and a lost machine within LOST_SECONDS.
"""

import contextlib
import json
import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Self

from rl.processes.group import Group, MeetingError

LOST_SECONDS = 20  # until a machine that answers no more is given up
CONNECT_SECONDS = 60.0
HELLO_SECONDS = 5.0  # that one who has connected may take to say who it is
NEWS_SECONDS = 2.0


class Liveness:
    """Watch the other processes from a thread, and call `on_loss` with the reason once one has gone without a word."""

    on_loss: Callable[[str], None]

    def __init__(self, group: Group) -> None:
        self.group = group
        self.lost: str | None = None
        self._peers: dict[socket.socket, int] = {}
        self._lock = threading.Lock()
        self._lost, self._leaving = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        """Connect: every process calls this at the same time."""
        if self.group.place.world > 1:
            self._connect()
            for peer in self._peers:
                _keep_alive(peer)
            threading.Thread(target=self._watch, name="liveness", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave with a word, so that nobody takes this end for a death."""
        if not self._leaving.is_set():  # else it has said why it fails
            self._leaving.set()
            self._send({"bye": True})
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_WR)

    def fail(self, reason: str) -> None:
        """Tell the others why this process ends: the first reason is the one that they hear."""
        if not self._leaving.is_set():
            self._leaving.set()
            self._send({"failed": reason})

    def wait_for_loss(self) -> str | None:
        """Return why a process was lost; an error that its loss causes may be here before the news of it."""
        if self.group.place.world > 1:
            self._lost.wait(NEWS_SECONDS)
        return self.lost

    def _connect(self) -> None:
        place = self.group.place
        with socket.socket() as listener:
            if place.is_main:
                listener.bind(("", 0))
                listener.listen(place.world)
            port, token = self.group.broadcast(
                (listener.getsockname()[1], secrets.token_hex(16)) if place.is_main else (0, "")
            )
            if place.is_main:
                self._accept_all(listener, token)
            else:
                address = (os.environ["MASTER_ADDR"], port)
                try:
                    peer = socket.create_connection(address, CONNECT_SECONDS)
                except OSError as error:
                    raise MeetingError(f"process {place.rank} cannot reach {address[0]}:{port}: {error}") from None
                peer.sendall(f"{token} {place.rank:08d}\n".encode())
                self._peers[peer] = 0

    def _accept_all(self, listener: socket.socket, token: str) -> None:
        """Wait for every other process. Raises MeetingError."""
        deadline = time.monotonic() + CONNECT_SECONDS
        while absent := set(range(1, self.group.place.world)) - set(self._peers.values()):
            listener.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                self._accept(listener.accept()[0], token)
            except TimeoutError:
                raise MeetingError(f"processes {sorted(absent)} did not connect in {CONNECT_SECONDS:g} s") from None

    def _accept(self, peer: socket.socket, token: str) -> None:
        """Take a connection of one of ours; whoever else knocks is sent away."""
        peer.settimeout(HELLO_SECONDS)
        said = b""
        with contextlib.suppress(OSError):
            while len(said) < len(token) + 10 and (more := peer.recv(len(token) + 10 - len(said))):
                said += more
        word, _, rank = said.decode("ascii", "replace").strip().partition(" ")
        if secrets.compare_digest(word.encode(), token.encode()) and rank.isdigit():
            self._peers[peer] = int(rank)
        else:
            peer.close()

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for peer, rank in self._peers.items():
                peer.settimeout(None)
                selector.register(peer, selectors.EVENT_READ, rank)
            while selector.get_map():
                for key, _ in selector.select():
                    heard = self._hear(key.fileobj)  # pyright: ignore
                    selector.unregister(key.fileobj)
                    reason = heard or f"process {key.data} has died"
                    if heard != "bye" and not self._leaving.is_set():
                        self._lose(reason if heard is None else f"process {key.data} failed: {heard}")

    def _lose(self, reason: str) -> None:
        if self.lost is None:
            self.lost = reason
            self._lost.set()
            if self.group.place.is_main:
                self._send({"failed": reason})
            self.on_loss(reason)

    @staticmethod
    def _hear(peer: socket.socket) -> str | None:
        """Return a peer's last words: bye, or why it failed; None where it died without any."""
        said = b""
        with contextlib.suppress(OSError):
            while b"\n" not in said and (more := peer.recv(4096)):
                said += more
        with contextlib.suppress(ValueError, AttributeError):
            words = json.loads(said.partition(b"\n")[0])
            return "bye" if "bye" in words else str(words.get("failed"))
        return None

    def _send(self, words: dict[str, object]) -> None:
        with self._lock:
            for peer in self._peers:
                with contextlib.suppress(OSError):
                    peer.sendall(json.dumps(words).encode() + b"\n")


def _keep_alive(peer: socket.socket) -> None:
    """Have the kernel ask after a silent peer, and give it up after LOST_SECONDS."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": LOST_SECONDS // 2, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": LOST_SECONDS // 4}
    for option, value in options.items():
        if hasattr(socket, option):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
