"""What the documentation shows as code: its blocks, and the files that they are."""

import re
from dataclasses import dataclass
from pathlib import Path

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
