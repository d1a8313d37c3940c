"""What `rhythm plan` says of a shipped recipe, without a hub: its model's shape is in shapes.json.

python tests/reference/planned.py     # writes it into every recipe's header
"""

import functools
import json
import re
import sys
import tempfile
from pathlib import Path

from rl.recipe import Recipe, load, shipped, shipped_names
from rl.sizing.gpus import GPUS
from rl.sizing.plan import advise, plan_stage, recommend
from rl.sizing.trace import Traced

SHAPES = Path(__file__).with_name("shapes.json")
PLAN = re.compile(r"^# Plan: rhythm plan ([\w.-]+) --gpu (\w+) --gpus (\d+)\n#   takes (.*)$", re.MULTILINE)
PROMPT = 512  # the command's own default


@functools.cache
def shape(name: str) -> str:
    """Return a folder that holds the config of a model of the hub, and no weights."""
    folder = Path(tempfile.mkdtemp(prefix="rhythm-shape-"))
    config = json.loads(SHAPES.read_text(encoding="utf-8"))[name]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


def with_shape(name: str) -> Recipe:
    """Load a shipped recipe with the folder in place of its model's name."""
    return load(name, [f"model.name={shape(load(name).model.name)}"])


def takes(name: str, gpu: str, gpus: int) -> str:
    """Return what the plan recommends for a recipe on one node."""
    recipe = with_shape(name)
    traced = Traced(recipe)
    plans = [plan_stage(recipe, stage, traced, GPUS[gpu], 1, gpus, PROMPT) for stage in recipe.stages]
    way = advise(plans)
    assert way is not None, f"{name} fits on no {gpus} x {gpu}"
    return recommend(plans, way, GPUS[gpu], gpus)


def write(name: str) -> None:
    """Write the figures of a recipe's plan into its header."""
    path = shipped("recipes") / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    found = PLAN.search(text)
    if found:
        command = f"rhythm plan {name} --gpu {found[2]} --gpus {found[3]}"
        said = f"# Plan: {command}\n#   takes {takes(name, found[2], int(found[3]))}"
        path.write_text(text.replace(found[0], said), encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    for one in shipped_names():
        write(one)
