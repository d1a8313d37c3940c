"""Compare two expressions by computer algebra, in a process of its own that is killed when it takes too long.

Model text makes sympy hang in places where no signal reaches it, and eat memory; neither may stop a training step.
"""

import atexit
import functools
import json
import os
import re
import selectors
import subprocess
import sys
from pathlib import Path

MAX_CHARACTERS = 200
MAX_DEPTH = 20
MEMORY_BYTES = 4 << 30
START_SECONDS = 120.0
SERIES = re.compile(r"\\(?:sum|prod|int|lim)(?![A-Za-z])")
POWER = r"(?:\^|\*\*)[\s{(]*"
HOPELESS = re.compile(
    "|".join(
        (
            POWER + r"[^-+*/^{}()\s]*[\s})]*(?:\^|\*\*)",  # a power of a power
            POWER + r"\d{6}",
            r"\)\s*" + POWER + r"\d{3}",  # a sum to a power that is too high to be multiplied out
            r"\d{41}",
            r"\d{4}\s*!|!\s*!",  # factorials of great numbers
        )
    )
)
MATHEMATICAL = re.compile(r"[\d\\^*/=<>+]|(?<![A-Za-z])[A-Za-z](?![A-Za-z])")
WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{4,}")  # outside commands; sympy would take it for a product of letters


def can_compare(gold: str, candidate: str) -> bool:
    """Say whether two texts are worth a comparison; a series or an integral is only where the gold answer has one."""
    return _is_plain(gold) and _is_plain(candidate) and (bool(SERIES.search(gold)) or not SERIES.search(candidate))


def _is_plain(text: str) -> bool:
    """Say whether text is short, ASCII, with something mathematical in it and nothing hopeless."""
    if len(text) > MAX_CHARACTERS or not text.isascii() or HOPELESS.search(text):
        return False
    return MATHEMATICAL.search(text) is not None and WORD.search(text) is None and _depth(text) <= MAX_DEPTH


def _depth(text: str) -> int:
    depth = deepest = 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        deepest = max(deepest, depth)
    return deepest


def is_equal(gold: str, candidate: str, seconds: float) -> bool | None:
    """Say whether two LaTeX expressions are equal, by math-verify; None where that took more than seconds.

    https://github.com/huggingface/Math-Verify, with its LaTeX reader alone: its reader of plain text evaluates it.
    """
    try:
        return _compare(gold, candidate, seconds)
    except TimeoutError:  # never remembered: a busy machine may have been the reason
        return None


@functools.lru_cache(maxsize=65_536)
def _compare(gold: str, candidate: str, seconds: float) -> bool:
    equal = _WORKER.ask([gold, candidate], seconds)
    if equal is None:
        raise TimeoutError
    return equal


class _Worker:
    """A child process that compares, started when it is first asked, and anew after it was killed or forked away."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        atexit.register(self.stop)

    def ask(self, pair: list[str], seconds: float) -> bool | None:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(pair).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.stop()
            return None
        reply = self._line(seconds)
        if reply is None:
            self.stop()
        return None if reply is None else json.loads(reply)

    def _start(self) -> None:
        self._owner = os.getpid()
        folder = str(Path(__file__).resolve().parents[1])
        paths = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from rewards.symbolic import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(paths)},  # and no key of anybody's
            start_new_session=True,  # Ctrl-C is for the run, which ends this by closing its input
        )
        if self._line(START_SECONDS) is None:
            self.stop()
            raise RuntimeError("the process that compares expressions did not start")

    def _line(self, seconds: float) -> bytes | None:
        """Return the child's next line; None where it does not come in time, or the child has ended."""
        assert self._process is not None and self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            ready = selector.select(seconds)
        return (self._process.stdout.readline() or None) if ready else None

    def stop(self) -> None:
        """Kill the child."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


_WORKER = _Worker()


def serve() -> None:
    """Answer pairs of expressions, one JSON line each, until the input ends."""
    import resource

    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no reply

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    import logging

    from math_verify import LatexExtractionConfig, parse, verify

    logging.disable()

    def compare(gold: str, candidate: str) -> bool:
        left, right = (
            parse(f"${text}$", extraction_config=[LatexExtractionConfig()], parsing_timeout=0)
            for text in (gold, candidate)
        )
        return bool(left and right) and verify(left, right, timeout_seconds=0)

    compare("x+1", "1+x")  # grammars are built on first use
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        try:
            equal = compare(*json.loads(line))
        except (MemoryError, RecursionError):
            equal = None
        print(json.dumps(equal), file=replies, flush=True)
