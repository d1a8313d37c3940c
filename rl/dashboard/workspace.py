"""A recipe's panels as a wandb workspace."""

import contextlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rl.dashboard.panels import Panel, sections
from rl.endings import first_line
from rl.recipe.sections import Recipe
from rl.telemetry.jsonl import write_atomically

COLUMNS = 3


class DashboardError(ValueError):
    """Say why a dashboard cannot be saved, and what would do."""


def build(recipe: Recipe, entity: str | None = None, project: str | None = None) -> Any:
    """Return the workspace of a recipe's project: a section for what the recipe trains on, in order."""
    import wandb_workspaces.workspaces as ws

    wandb = recipe.telemetry.wandb
    made = [
        ws.Section(
            name=name.capitalize(),
            panels=[_draw(panel, place) for place, panel in enumerate(panels)],
            is_open=name != "efficiency",
            layout_settings=ws.SectionLayoutSettings(columns=COLUMNS, rows=-(-len(panels) // COLUMNS)),
        )
        for name, panels in sections(recipe).items()
    ]
    return ws.Workspace(
        entity=entity or wandb.entity or "",
        project=project or wandb.project,
        name=f"Rhythm: {recipe.name}",
        sections=made,
        settings=ws.WorkspaceSettings(smoothing_type="average", smoothing_weight=5),
        runset_settings=ws.RunsetSettings(filters=f"Config('name') = {json.dumps(recipe.name)}"),
    )


def view(workspace: Any) -> Mapping[str, Any]:
    """Return a workspace as the JSON that wandb keeps."""
    return workspace._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)


def write(workspace: Any, path: Path) -> None:
    """Write a workspace's view to a file. Raises DashboardError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(view(workspace), indent=2) + "\n")
    except OSError as error:
        raise DashboardError(f"{path}: {error.strerror}; give --out another file") from None


def save(workspace: Any) -> str:
    """Save a workspace to wandb and return its address. Raises DashboardError."""
    import wandb
    import wandb.errors

    try:
        if not workspace.entity:
            workspace.entity = wandb.Api().default_entity
        with contextlib.redirect_stderr(io.StringIO()):  # it says the address itself, in words of its own
            workspace.save()
        return str(workspace.url)
    except (wandb.errors.Error, OSError, ValueError, LookupError, TypeError) as error:
        remedy = "log in with `wandb login`, or look at it with --dry-run"
        raise DashboardError(f"wandb: the dashboard cannot be saved: {first_line(error)}; {remedy}") from None


def _draw(panel: Panel, place: int) -> Any:
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces.reports.v2.interface import Layout

    layout = Layout(x=8 * (place % COLUMNS), y=6 * (place // COLUMNS), w=8, h=6)
    if panel.draws == "maps":
        return wr.MediaBrowser(title=panel.title, media_keys=list(panel.keys), gallery_axis="step", layout=layout)
    if panel.draws == "table":
        return wr.WeavePanelSummaryTable(table_name=panel.keys[0], layout=layout)
    style = "stacked-area" if panel.draws == "areas" else "line"
    plain = not any("*" in key for key in panel.keys)
    chosen: dict[str, Any] = {"y": list(panel.keys)} if plain else {"metric_regex": pattern(panel.keys)}
    return wr.LinePlot(title=panel.title, plot_type=style, layout=layout, **chosen)


def pattern(keys: Sequence[str]) -> str:
    """Return the regular expression of keys in which * stands for all that match."""
    return "^(" + "|".join(re.escape(key).replace(r"\*", "[^/]+") for key in keys) + ")$"
