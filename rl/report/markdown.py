"""Tables as Markdown."""

from collections.abc import Sequence

Table = Sequence[Sequence[str]]


def plain(text: str) -> str:
    """Return text that stands in a table of Markdown as it is."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def markdown_table(heads: Sequence[str], rows: Table) -> str:
    """Return a table whose rows begin with their name."""
    marks = ["---", *["---:"] * (len(heads) - 1)]
    lines = [[plain(head) for head in heads], marks, *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
