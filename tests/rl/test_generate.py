"""Asking a trained policy: in the words it was trained with, from a run or a folder; and what cannot be asked."""

import json
from pathlib import Path

import pytest
from reference.command import overrides, rhythm

from rl.generate import Policy
from rl.models import read_use
from rl.telemetry.record import RunError

SMALL = Path(__file__).resolve().parents[1] / "reference" / "tiny.yaml"
EFFORT = (
    "effort={kind: relative, wording: ' Effort {effort}.'}",
    "data.system=Be brief.",
    "rewards.combine=gate",
    "rewards.parts.effort={}",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generate") / "run"
    done = rhythm("train", "quickstart", "--with", SMALL, "--run-dir", path, *overrides(*EFFORT))
    assert done.returncode == 0, done.stdout + done.stderr
    return path


def test_a_policy_knows_how_it_wants_to_be_asked(run: Path) -> None:
    final = run / "checkpoints" / "grpo" / "final"
    assert read_use(final) == {
        "system": "Be brief.",
        "effort": {"kind": "relative", "wording": " Effort {effort}."},
    }
    policy = Policy.load(str(run), system=None, effort=0.5, tokens=None, seed=0)
    assert policy.system == "Be brief." and policy.dial is not None and policy.dial.words(0.5) == " Effort 0.5."
    again = Policy.load(str(final), system="Other.", effort=None, tokens=None, seed=0)
    assert again.system == "Other." and again.dial is None


def test_replies_are_counted_and_depend_on_what_is_asked(run: Path) -> None:
    policy = Policy.load(str(run), system=None, effort=0.5, tokens=None, seed=0)
    reply = policy.reply("1 + 1 =", max_tokens=12, temperature=0.0)
    assert reply == policy.reply("1 + 1 =", max_tokens=12, temperature=0.0)
    assert reply.num_tokens <= 12 and reply.num_reasoning_tokens <= reply.num_tokens and reply.completion
    sampled = {policy.reply("1 + 1 =", max_tokens=12, temperature=5.0).completion for _ in range(3)}
    assert len(sampled) == 3


def test_the_command_prints_text_or_json(run: Path) -> None:
    done = rhythm("generate", run, "1 + 1 =", "2 + 2 =", "--effort", "0.5", "--max-tokens", "6", "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["question"] for row in rows] == ["1 + 1 =", "2 + 2 ="]
    assert set(rows[0]) == {"question", "completion", "num_tokens", "num_reasoning_tokens"}
    plain = rhythm("generate", run, "1 + 1 =", "--max-tokens", "6")
    assert "tokens" in plain.stdout.splitlines()[-1] and plain.stderr == ""


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("tiny", "q"), "tiny: is untrained"),
        (("/nowhere", "q"), "/nowhere is no folder"),
        (("nowhere", "q"), "nowhere: there is no such folder"),
        (("{run}", " "), "a QUESTION is empty"),
        (("{run}", "1 + " * 400), "does not fit into the model's 512; shorten it"),
        (("{run}", "q", "--seed", "99999999999999"), "--seed"),
        (("{run}", "q", "--effort", "inf"), "should be above 0"),
        (("{run}", "q", "--effort", "0.5", "--tokens", "9"), "two ways to ask for a length"),
        (("{run}", "q", "--effort", "-1"), "should be above 0"),
        (("{run}", "q", "--tokens", "9"), "was trained to be asked with --effort"),
        (("{run}",), "ask at least one QUESTION"),
    ],
)
def test_what_cannot_be_asked(run: Path, words: tuple[str, ...], fault: str) -> None:
    done = rhythm("generate", *(word.replace("{run}", str(run)) for word in words))
    assert done.returncode == 2 and fault in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_a_run_without_a_policy(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match="no stage of this run has ended yet"):
        Policy.load(str(tmp_path), system=None, effort=None, tokens=None, seed=0)
