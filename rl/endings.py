"""What all ends of a command share: exit codes, the signals that ask for one, and an error said in a line."""

import signal

FAILED, FAULT, ALARMED, INTERRUPTED = 1, 2, 3, 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def first_line(error: BaseException) -> str:
    """Return the first line that an error says, or what kind it is where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
