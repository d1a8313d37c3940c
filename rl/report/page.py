"""Put the page together: template, style, scripts and data in one file that asks the network for nothing."""

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from rl.report.curves import layout, series, smoothing, stage_figures
from rl.report.emergence import head_cards
from rl.report.heads import measured, pack_gaze, pack_heads
from rl.report.rundata import RunData, by_stage
from rl.report.samples import pack_samples
from rl.report.summary import facts, flatten, stage_list, tiles

HERE = Path(__file__).parent
STYLES = ("page.css", "heads.css", "viewer.css")
SCRIPTS = ("page.js", "heads.js", "tokens.js", "viewer.js")
ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def render(run: RunData) -> str:
    """Return the page of one run as text."""
    samples, thinned = pack_samples(run.samples)
    stages, figures = _stage_cards(run)
    found = measured(run.heads)
    heads = pack_heads(found)
    shown = []
    for card in head_cards(found.get("probe", []), run.metrics):
        shown.append({**card, "place": len(figures)})
        figures.append(card["figure"])
    plots = {"figures": figures, "series": series(run.metrics)}
    scripts = [plotly_source(), *(source(name) for name in SCRIPTS)]
    return (
        environment()
        .get_template("page.html")
        .render(
            run=run,
            links=[(name, name.capitalize()) for name in ("summary", "curves", "heads", "samples")],
            policy=content_policy(scripts),
            styles=[Markup(source(name)) for name in STYLES],
            scripts=[Markup(script) for script in scripts],
            facts=facts(run),
            tiles=tiles(run),
            stages=stage_list(run),
            sections={"recipe": flatten(run.recipe), "environment": flatten(run.environment)},
            curves=stages,
            head_cards=shown,
            sources=list(heads["sources"]),
            sample_count=len(samples),
            thinned=thinned,
            data={
                "plots": embed({**plots, "layout": layout()}),
                "heads": embed({**heads, "gaze": pack_gaze(run.gaze)}),
                "samples": embed(samples),
            },
        )
    )


def _stage_cards(run: RunData) -> tuple[list[tuple[str, int, list[Any]]], list[Any]]:
    """Return the curve cards of every stage, numbered for the page, and their figures in that order."""
    stages, figures = [], []
    for name, rows in by_stage(run.metrics).items():
        cards = []
        for card in stage_figures(rows):
            cards.append({**card, "place": len(figures)})
            figures.append(card["figure"])
        if cards:
            stages.append((name, smoothing(rows), cards))
    return stages, figures


def environment() -> Environment:
    """Return what reads templates."""
    return Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def embed(value: Any) -> Markup:
    """Return JSON that no HTML parser can mistake for markup."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(ESCAPES))


def content_policy(scripts: list[str]) -> str:
    """Return a content policy that runs these scripts and no others, and fetches nothing."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"


@cache
def plotly_source() -> str:
    """Return plotly, fit to stand in a page."""
    # The page is UTF-8 without carriage returns, so that the digest is of what the browser sees.
    return get_plotlyjs().replace("\r\n", "\n").replace("</script", "<\\/script").replace("<!--", "<\\!--")


@cache
def source(name: str) -> str:
    """Return a style or a script of ours."""
    return (HERE / name).read_text("ascii")
