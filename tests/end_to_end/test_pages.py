"""What README.md and docs/ show works: commands run, Python runs, recipes load, and all that is named is there.

A line of commands whose comment begins with `GPU:`, `Slurm:` or `network:` needs what a test may not have.
"""

import json
import re
import shutil
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch
from reference import models
from reference.command import rhythm
from reference.pages import (
    PAGES,
    ROOT,
    Block,
    Command,
    blocks,
    commands,
    fault_of,
    has_key,
    inline,
    said_of_rhythm,
    write_files,
)

from rl.dashboard.panels import SECTIONS
from rl.dashboard.workspace import pattern
from rl.recipe import Recipe, load, shipped_names
from rl.study.plan import plan, read_study

REFERENCE = ROOT / "tests" / "reference"
NAMED = {page.name: page for page in PAGES}
# What other tests run: a command, and where.
ELSEWHERE = {
    "make quickstart": "tests/end_to_end/test_quickstart.py",
    "make test": "tests/conftest.py",
    "source .venv/bin/activate": "Makefile",
    "rhythm train my-run.yaml --set cluster.processes=8": "tests/end_to_end/test_processes.py",
    "rhythm cancel runs/one": "tests/end_to_end/test_slurm.py",
    "lm_eval --model hf --model_args pretrained=runs/one/checkpoints/grpo/final,dtype=float32 --apply_chat_template"
    " --tasks ...": "tests/end_to_end/test_elsewhere.py",
}
OURS, TINY = ("--with", str(REFERENCE / "pages.yaml")), ("--with", str(REFERENCE / "tiny.yaml"))
FEW = ("--limit", "2", "--max-tokens", "8", "--controls", "1")
# What is added to commands that match, for them to run here, and in seconds.
SMALLER = {
    r"rhythm train my-run\.yaml": OURS,
    r"rhythm train doubled\.yaml": TINY,
    r"rhythm plan": OURS,
    r"rhythm distill": (*OURS, "--set", "data.limit=4"),
    r"rhythm generate": ("--max-tokens", "48"),
    r"rhythm eval": ("--max-tokens", "48", "--limit", "3"),
    r"rhythm eval .*--suite echo-sft": ("--set", "data={kind: jsonl, path: tasks.jsonl, answer_after: '####'}"),
    r"rhythm heads runs/one( --dry-run)?$": ("--pairs", "4", "--steps", "2", "--opening", "4"),
    r"rhythm heads .*--(ablate|scale)": FEW,
    r"rhythm analyze anchors .*--resample": ("--resample", "2", "--max-tokens", "8"),
    r"rhythm dashboard \S+$": ("--dry-run",),
    r"rhythm launch": ("--dry-run",),
    r"rhythm study": ("--dry-run",),  # tests/end_to_end/test_study.py conducts one
}
FIRST = "rhythm train my-run.yaml --set seed=1 --run-dir runs/one"  # which all else stands on
IN_PLACE_OF = {"Qwen/Qwen3-0.6B": "runs/one"}  # what has to be downloaded

FAMILIES = sorted({name.split("-")[0] for name in shipped_names()})
RECIPE = re.compile(rf"({'|'.join(FAMILIES)})-[a-z0-9.]+(-[a-z0-9.]+)*")
SECTION = "|".join(name for name in Recipe.model_fields if name != "name")
KEY = re.compile(rf"(?!.*\.py$)({SECTION})(\.[a-z_]+)+(?![\w/.(])")
STAGES = sorted({key.split("/")[0] for panels in SECTIONS.values() for panel in panels for key in panel.keys})
METRIC = re.compile(rf"({'|'.join(STAGES)})/[\w@.*<>-]+/[\w*]+")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the recipe of README.md was trained, by its own words, on rows such as it shows."""
    folder = tmp_path_factory.mktemp("readme")
    write_files(NAMED["README.md"], folder)
    row = re.search(r'`?(\{"question".*?\})`', NAMED["README.md"].read_text(encoding="utf-8"))
    assert row
    first = json.loads(row[1])
    rows = [{"question": f"What is {i} + 3?", "answer": f"{i} + 3 = {i + 3}\n#### {i + 3}"} for i in range(3, 10)]
    write_rows(folder / "tasks.jsonl", [first, *rows])
    (folder / "by_length.py").write_text(
        "class ByLength:\n    def __call__(self, sample):\n        return len(sample.completion) / 100\n",
        encoding="utf-8",
    )
    traces = [{**one, "source": "sums", "completion": f"<think>{one['answer']}</think>"} for one in rows]
    write_rows(folder / "traces.jsonl", traces)
    write_rows(folder / "pages.jsonl", [{"body": one["question"] * 9} for one in rows])
    for name in ("traces.parquet", "data.parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(traces), folder / name)
    run_line(next(one for one in commands(NAMED["README.md"]) if " ".join(one.words) == FIRST), folder)
    return folder


def write_rows(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def run_line(command: Command, folder: Path) -> None:
    """Run a line of a page in a folder; it must succeed."""
    plain = " ".join(command.words)
    words = [IN_PLACE_OF.get(word, word) for word in command.words]
    words += added(plain)
    words = [path for word in words for path in (found_at(word, folder) if "*" in word else [word])]
    done = rhythm(*words[1:], cwd=folder)
    assert done.returncode == 0, f"{command.page.name}:{command.line}: {plain}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr


def found_at(word: str, folder: Path) -> list[str]:
    """Return what a shell makes of a word with a * in it."""
    return sorted(str(path.relative_to(folder)) for path in folder.glob(word))


def added(plain: str) -> list[str]:
    """Return what is added to a command."""
    return [word for beginning, more in SMALLER.items() if re.match(beginning, plain) for word in more]


def before(page: Path, folder: Path) -> None:
    """Make what a page takes to be there, besides what README.md made."""
    write_files(page, folder)
    if page.name == "reading.md":
        shutil.copytree(folder / "runs" / "one", folder / "runs" / "countdown-one")


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_every_command_runs(page: Path, run: Path, tmp_path: Path) -> None:
    """In their order, each page's in a folder that begins as README.md leaves it behind its first run."""
    folder = tmp_path / "work"
    shutil.copytree(run, folder)
    before(page, folder)
    for command in commands(page):
        plain = " ".join(command.words)
        if plain in ELSEWHERE:
            assert (ROOT / ELSEWHERE[plain]).is_file()
        elif plain != FIRST and (command.needs is None or "--dry-run" in added(plain)):
            assert command.words[0] == "rhythm", f"{page.name}:{command.line}: no test runs {plain}"
            run_line(command, folder)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_block_is_of_a_language_that_nothing_runs(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"^```(.*)\n(?:.*\n)*?```$", text, re.MULTILINE)) <= {"", "python", "yaml"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_is_there(page: Path) -> None:
    said = [one.text for one in commands(page)] + inline(page)
    faults = [(text, fault_of(words)) for text in said if (words := said_of_rhythm(text)) is not None]
    faults += [(text, fault_of([text.split("=")[0].split()[0]])) for text in inline(page) if text.startswith("--")]
    assert [fault for fault in faults if fault[1]] == []
    made = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [text.split()[1] for text in said if text.startswith("make ")]
    assert [name for name in targets if not re.search(rf"^{name}:", made, re.MULTILINE)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_recipe_key_and_metric_is_there(page: Path) -> None:
    named = inline(page)
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
    files = [one for one in named if re.fullmatch(r"(rl|rewards|tests|docs|recipes|slurm)/[\w./*-]*", one)]
    assert [one for one in files if not list(ROOT.glob(one.rstrip("/")))] == []
    assert [one for one in named if RECIPE.fullmatch(one) and one not in shipped_names()] == []
    keys = [found[0] for one in named if (found := KEY.match(one))]
    assert [key for key in keys if not has_key(key)] == []
    emitted = re.compile(pattern([key for panels in SECTIONS.values() for panel in panels for key in panel.keys]))
    metrics = [re.sub(r"<\w+>|\.\.\.|\*", "x", one) for one in named if METRIC.fullmatch(one)]
    assert [one for one in metrics if not emitted.fullmatch(one)] == []


@pytest.mark.parametrize("method", ["credit", "echo", "effort", "heads", "monitor", "ppo"])
def test_a_page_of_a_method_has_its_five_parts(method: str) -> None:
    """What it does is the rest; equation, recipe, what to watch and what can go wrong have their marks."""
    page = NAMED[f"{method}.md"]
    text = page.read_text(encoding="utf-8")
    assert re.search(r"^    \S.* = ", text, re.MULTILINE) and blocks(page, "yaml")
    watch, wrong = (
        re.search(rf"^## {title}.*?(?=^## |\Z)", text, re.M | re.S) for title in ("On the dash", "What can go")
    )
    assert watch and any(METRIC.fullmatch(one) for one in re.findall(r"`([^`\n]+)`", watch[0]))
    assert wrong and len(re.findall(r"^- \*\*", wrong[0], re.MULTILINE)) >= 3


def test_what_is_not_there_is_seen() -> None:
    """The checks above do find a command, an option, a key that there is not."""
    assert fault_of(["trian", "my-run.yaml"]) == "no command trian"
    assert fault_of(["analyze", "anchor"]) == "no command anchor"
    assert fault_of(["heads", "runs/one", "--ablat", "3.1"]) == "no option --ablat"
    assert fault_of(["heads", "runs/one", "--ablate", "3.1"]) is None and fault_of(["--ablate"]) is None
    assert said_of_rhythm("torchrun --nproc-per-node 8 --no-python rhythm train a.yaml") == ["train", "a.yaml"]
    assert [has_key(key) for key in ("guard.skips", "stages.any.trainer.critic.clip", "rewards.parts.mine.role")] == [
        True
    ] * 3
    assert [has_key(key) for key in ("guard.skip", "stages.any.trainer.critics", "model.lora.ranks")] == [False] * 3
    assert METRIC.fullmatch("monitor/violation/share") and RECIPE.fullmatch("countdown-grpo-uniform")


@pytest.mark.parametrize(
    "block",
    [block for page in PAGES for block in blocks(page, "yaml")],
    ids=lambda block: f"{block.page.name}:{block.line}",
)
def test_a_recipe_or_a_part_of_one_loads(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has arms is a study, what names itself a recipe, a slurm.yaml is that; all else is laid over a recipe."""
    write_files(block.page, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "block.yaml"
    text = block.text
    if text.startswith("# ~/.config/rhythm/slurm.yaml"):
        text = "cluster:\n  slurm:\n" + "".join(f"    {line}\n" for line in text.splitlines())
    file.write_text(text, encoding="utf-8")
    if re.search(r"^arms:", text, re.MULTILINE):
        assert plan(*read_study(str(file)), tmp_path / "out").runs
        return
    whole = re.search(r"^name: ", text, re.MULTILINE)
    assert load(str(file)) if whole else load("quickstart", overlays=[str(file)])


@pytest.mark.parametrize(
    "block",
    [block for page in PAGES for block in blocks(page, "python") if not block.text.startswith("# ")],
    ids=lambda block: f"{block.page.name}:{block.line}",
)
def test_python_runs(block: Block) -> None:
    """On a model of twenty layers and one sequence of 64 tokens, of which the last 24 are the response."""
    ids = torch.randint(3, 64, (1, 64), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    response = torch.arange(64).expand_as(ids) >= 40
    given = {"input_ids": ids, "attention_mask": mask, "response_mask": response}
    space: dict = {"model": models.build("qwen3", num_hidden_layers=20), **given}
    exec(block.text, space)  # noqa: S102 - our own documentation
    assert space["rhythm"].fai.shape == (1, 64) and space["scores"]


@pytest.mark.parametrize(("page", "command"), [("commands.md", "commands"), ("recipe.md", "keys")])
def test_what_a_command_writes_is_current(page: str, command: str) -> None:
    done = rhythm(command)
    assert done.returncode == 0 and done.stdout == NAMED[page].read_text(encoding="utf-8")
