"""What the documentation shows as code: its blocks, and the files that they are."""

import re
import shlex
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

import rl.cli  # noqa: F401 - where all commands are put into the application
from rl.cli.app import app
from rl.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MODULE = re.compile(r"# (\w+\.py)\n")
RECIPE = re.compile(r"^name: ([\w-]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """Hold a fenced block: its language, empty where it holds commands, its text, and the line that it begins on."""

    page: Path
    line: int
    language: str
    text: str


def blocks(page: Path, language: str) -> list[Block]:
    """Return a page's blocks of a language."""
    text = page.read_text(encoding="utf-8")
    found = [Block(page, text.count("\n", 0, m.start()) + 2, m[1], m[2]) for m in BLOCK.finditer(text)]
    return [block for block in found if block.language == language]


def write_files(page: Path, folder: Path) -> list[Path]:
    """Write what a page shows as whole files: modules that say their name in a comment, recipes that have one."""
    named = [(MODULE.match(block.text), block.text) for block in blocks(page, "python")]
    files = {found[1]: text for found, text in named if found}
    recipes = [(RECIPE.search(block.text), block.text) for block in blocks(page, "yaml")]
    files |= {f"{found[1]}.yaml": text for found, text in recipes if found}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]


@dataclass(frozen=True)
class Command:
    """Hold a line of a block of commands: its words, and what it `needs` that a test may not have, by its comment."""

    page: Path
    line: int
    text: str
    needs: str | None

    @property
    def words(self) -> list[str]:
        """Return its words, without a comment and without where its output goes."""
        words = shlex.split(self.text, comments=True)
        return words[: words.index(">")] if ">" in words else words


def commands(page: Path) -> list[Command]:
    """Return all lines of a page's blocks of commands."""
    found = []
    for block in blocks(page, ""):
        for place, text in enumerate(re.sub(r" *\\\n *", " ", block.text).splitlines()):
            needs = re.search(r"# (GPU|Slurm|network):", text)
            found.append(Command(page, block.line + place, text, needs[1] if needs else None))
    return [one for one in found if one.words]


def inline(page: Path) -> list[str]:
    """Return what a page says in code of a few words, outside blocks."""
    return re.findall(r"`([^`\n]+)`", BLOCK.sub("", page.read_text(encoding="utf-8")))


def said_of_rhythm(text: str) -> list[str] | None:
    """Return the words that follow `rhythm` or `-m rl` in a command, whatever launches it; None where there is none."""
    found = re.search(r"(?:^|.* )(?:rhythm|-m rl) (?=[a-z])(.*)", text)
    return shlex.split(found[1].replace("...", "X"), comments=True) if found else None


def fault_of(words: list[str]) -> str | None:
    """Say which command or option of `rhythm` there is not; words that are neither count as values."""
    command: Any = typer.main.get_command(app)
    while words and not words[0].startswith("--") and getattr(command, "commands", None):
        if words[0] not in command.commands:
            return f"no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    known = options(command)
    return next((f"no option {word}" for word in words if word.startswith("--") and word not in known), None)


def options(command: Any) -> set[str]:
    """Return the options of a command and of all below it."""
    own = {name for parameter in command.params for name in parameter.opts}
    return own.union({"--help"}, *(options(one) for one in getattr(command, "commands", {}).values()))


def has_key(path: str) -> bool:
    """Say whether a recipe can have a key; a stage's or a part's name is any."""
    levels: list[Any] = [Recipe]
    for part in path.split("."):
        found = [one.model_fields[part].annotation for one in levels if part in getattr(one, "model_fields", {})]
        if found and all(not list(_below(one)) for one in found):
            return True
        named = any(one is dict for one in levels)
        if not found and not named:
            return False
        levels = (
            [below for one in found for below in _below(one)] if found else [one for one in levels if one is not dict]
        )
    return True


def _below(annotation: Any) -> Iterator[Any]:
    """Yield the sections that an annotation allows, and dict where they are called by names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    inner = [one for argument in typing.get_args(annotation) for one in _below(argument)]
    yield from inner
    if inner and typing.get_origin(annotation) in (dict, list):
        yield dict
