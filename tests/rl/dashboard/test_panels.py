"""Which panels a recipe has, and the workspace that wandb's own library makes of them."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from reference.command import rhythm

from rl.dashboard.panels import SECTIONS, features, sections
from rl.dashboard.workspace import build, pattern, view
from rl.recipe import load, shipped_names


def test_a_recipe_has_the_sections_of_what_it_trains_on() -> None:
    assert list(sections(load("quickstart"))) == ["reward", "credit", "heads", "policy", "efficiency"]
    assert list(sections(load("countdown-grpo-uniform"))) == ["reward", "heads", "policy", "efficiency"]
    assert list(sections(load("effort-grpo"))) == ["reward", "heads", "effort", "policy", "efficiency"]
    assert list(sections(load("monitor-ppo"))) == ["reward", "heads", "monitor", "policy", "efficiency"]
    assert list(sections(load("monitor-sft"))) == ["reward", "heads", "policy", "efficiency"]
    blind = load("quickstart", ["telemetry.heads.every=0"])
    assert list(sections(blind)) == ["reward", "credit", "policy", "efficiency"]
    shown = {key for panels in sections(blind).values() for panel in panels for key in panel.keys}
    assert not any("heads" in key for key in shown)


def test_every_kind_of_panel_is_some_shipped_recipes() -> None:
    """No panel that no recipe could ever fill."""
    known = frozenset[str]().union(*(features(load(name)) for name in shipped_names()))
    alarmed = features(load("quickstart", ["alarms.length={below: 0.5, steps: 5}"]))
    assert {panel.needs for panels in SECTIONS.values() for panel in panels} <= known | alarmed


def test_titles_tell_panels_of_a_section_apart() -> None:
    for panels in SECTIONS.values():
        assert len({panel.title for panel in panels}) == len(panels)


def test_a_star_stands_for_one_part_of_a_key() -> None:
    found = re.compile(pattern(["effort/length/mean", "effort/length@*/mean"]))
    assert all(found.fullmatch(key) for key in ("effort/length/mean", "effort/length@0.2-0.5/mean"))
    assert not any(
        found.fullmatch(key) for key in ("effort/length@/mean", "effort/length@a/b/mean", "effort.length.mean")
    )


def test_the_workspace_holds_every_panel_in_wandbs_own_words() -> None:
    recipe = load("quickstart")
    said = view(build(recipe, "somebody"))
    made = said["spec"]["section"]["panelBankConfig"]["sections"]
    wanted = sections(recipe)
    assert [section["name"].lower() for section in made] == list(wanted)
    drawn = [panel for section in made for panel in section["panels"]]
    panels = [panel for own in wanted.values() for panel in own]
    for shown, panel in zip(drawn, panels, strict=True):
        if panel.draws == "maps":
            assert shown["viewType"] == "Media Browser" and shown["config"]["mediaKeys"] == list(panel.keys)
        elif panel.draws == "table":
            assert panel.keys[0] in json.dumps(shown)
        elif any("*" in key for key in panel.keys):
            assert re.fullmatch(shown["config"]["metricRegex"], panel.keys[-1].replace("*", "x"))
        else:
            assert shown["config"]["metrics"] == list(panel.keys)
    (areas,) = [one for one in drawn if one["config"].get("plotType") == "stacked-area"]
    assert areas["config"]["chartTitle"] == "Cohorts by first snapshot"
    assert (said["entity"], said["project"], said["displayName"]) == ("somebody", "rhythm", "Rhythm: quickstart")


class Wandb(BaseHTTPRequestHandler):
    """As much of wandb's GraphQL as saving a view asks for."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)  # pyright: ignore
        user = {"id": "VXNlcjox", "entity": "somebody", "username": "somebody", "flags": "{}", "teams": {"edges": []}}
        told: dict[str, Any] = {"viewer": user, "serverInfo": {"cliVersionInfo": {"max_cli_version": "9.9.9"}}}
        if "upsertView" in asked["query"]:
            told = {"upsertView": {"view": {"id": "Vmlldzox", "name": "nw-abc-v"}, "inserted": True}}
        body = json.dumps({"data": told}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    served = ThreadingHTTPServer(("127.0.0.1", 0), Wandb)
    served.asked = []  # pyright: ignore
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def test_the_command_saves_a_view_and_says_where_it_is(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server.server_port}"
    environment = {"WANDB_BASE_URL": url, "WANDB_API_KEY": "0" * 40, "HOME": str(tmp_path)}
    done = rhythm("dashboard", "quickstart", cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"dashboard: {url}/somebody/rhythm?nw=abc" in done.stdout
    (saved,) = [asked for asked in server.asked if "upsertView" in asked["query"]]  # pyright: ignore
    assert saved["variables"]["displayName"] == "Rhythm: quickstart"
    spec = json.loads(saved["variables"]["spec"])
    assert spec["section"]["panelBankConfig"]["sections"][0]["name"] == "Reward"


def test_without_a_key_nothing_is_saved_and_the_remedy_is_said(tmp_path: Path) -> None:
    done = rhythm("dashboard", "quickstart", cwd=tmp_path, WANDB_API_KEY="", HOME=str(tmp_path))
    assert done.returncode == 2 and "log in with `wandb login`" in done.stderr and "Traceback" not in done.stderr
    written = rhythm("dashboard", "quickstart", "--out", tmp_path / "a" / "view.json", cwd=tmp_path, WANDB_API_KEY="")
    assert written.returncode == 0 and "view.json" in written.stdout
    assert json.loads((tmp_path / "a" / "view.json").read_text())["displayName"] == "Rhythm: quickstart"
    dry = rhythm("dashboard", "quickstart", "--dry-run", cwd=tmp_path)
    assert dry.returncode == 0 and "heads/turnover/share" in dry.stdout
