"""A page of tables and figures, in the look of a run's report."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rl.report.curves import Figure, layout
from rl.report.page import content_policy, embed, environment, plotly_source, source


@dataclass(frozen=True)
class Passage:
    """Hold a piece of a running text: how deep it is shaded, 0..1, what is told of it, and the places it points to."""

    text: str
    shade: float
    told: str
    linked: Sequence[int] = ()


@dataclass(frozen=True)
class Section:
    """Hold a part of the page: a note, a table whose rows begin with their name, a shaded text, cards of figures."""

    name: str
    title: str
    note: str
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    cards: Sequence[Figure] = ()
    passages: Sequence[Passage] = ()


def render_sheet(title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """Return the page as text."""
    figures: list[Figure] = []
    placed = []
    for section in sections:
        cards = []
        for one in section.cards:
            cards.append({**one, "place": len(figures)})
            figures.append(one["figure"])
        placed.append(
            {key: getattr(section, key) for key in ("name", "title", "note", "heads", "rows", "passages")}
            | {"cards": cards}
        )
    told = any(section.passages for section in sections)
    scripts = [plotly_source(), source("page.js"), *([source("passages.js")] if told else [])]
    return (
        environment()
        .get_template("sheet.html")
        .render(
            title=title,
            links=[("summary", "Summary"), *((section.name, section.title) for section in sections)],
            facts=facts,
            sections=placed,
            policy=content_policy(scripts),
            styles=[Markup(source(name)) for name in ("page.css", *(["passages.css"] if told else []))],
            scripts=[Markup(script) for script in scripts],
            data=embed({"figures": figures, "series": {}, "layout": layout()}),
        )
    )
