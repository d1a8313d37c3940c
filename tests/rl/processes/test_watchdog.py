"""A process whose steps stop coming says where it stands and ends; one whose steps come is let be."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, threading
from pathlib import Path
from rl.processes.watchdog import Watchdog

how, stacks = sys.argv[1], Path(sys.argv[2])
say = lambda words: print(words, flush=True)
watchdog = Watchdog({"off": 0.0, "beats": 2.0}.get(how, 0.5), say=say, tell=lambda reason: say("told: " + reason))
pause = threading.Event()

def stuck_here():
    pause.wait(30)

with watchdog:
    watchdog.arm(stacks, lambda reason: say("written down: " + reason))
    if how == "hangs":
        stuck_here()
    elif how == "off":
        pause.wait(1)
    elif how == "ends":  # lost by another thread; this one ends by itself in time
        threading.Thread(target=watchdog.end, args=("process 1 has died",)).start()
        pause.wait(0.2)
    else:
        for _ in range(15):
            pause.wait(0.2)
            watchdog.beat()
print("at the end", flush=True)
"""


def run(how: str, stacks: Path) -> tuple[int, str]:
    words = [sys.executable, "-c", PROGRAM, how, str(stacks)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_step_that_never_ends(tmp_path: Path) -> None:
    stacks = tmp_path / "logs" / "stacks.txt"
    code, said = run("hangs", stacks)
    reason = "no step has ended for 0.5 s (guard.step_minutes)"
    assert code == 1 and "at the end" not in said
    where = f"{reason}; where every thread stood is in {stacks}"
    assert said.splitlines() == [where, f"written down: {reason}", f"told: {reason}"]
    assert "in stuck_here" in stacks.read_text(encoding="utf-8")


def test_steps_that_come_in_time_leave_nothing_behind(tmp_path: Path) -> None:
    for how in ("beats", "off"):
        assert run(how, tmp_path / "logs" / "stacks.txt") == (0, "at the end\n")
        assert not (tmp_path / "logs" / "stacks.txt").exists()


def test_a_loss_lets_training_end_with_words_of_its_own(tmp_path: Path) -> None:
    code, said = run("ends", tmp_path / "logs" / "stacks.txt")
    assert code == 0 and said.splitlines()[-1] == "at the end"
    assert "told: process 1 has died" in said
