"""A user's own defaults for cluster.slurm: account, partition and the like, which belong in no shared recipe."""

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from rl.endings import first_line
from rl.launch.slurm import LaunchError
from rl.recipe.cluster_sections import Slurm
from rl.recipe.faults import Fault, RecipeError, validation_faults

VARIABLE = "RHYTHM_SLURM_DEFAULTS"


def defaults_file() -> Path:
    """Return where the defaults are: $RHYTHM_SLURM_DEFAULTS, else ~/.config/rhythm/slurm.yaml."""
    said = os.environ.get(VARIABLE)
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(said) if said else home / "rhythm" / "slurm.yaml"


def with_defaults(section: Slurm) -> Slurm:
    """Return the section with the user's defaults for what the recipe leaves at its default.

    Raises LaunchError and RecipeError.
    """
    path = defaults_file()
    if not os.path.lexists(path):
        if os.environ.get(VARIABLE):
            raise LaunchError(f"{path}: no such file (${VARIABLE})")
        return section
    defaults = _read(path)
    merged = {**defaults, **section.model_dump(exclude_defaults=True)}
    try:
        return Slurm.model_validate(merged)
    except ValidationError as error:
        found = validation_faults(error, merged, Slurm)
    raise RecipeError(
        Fault(str(path), ".".join(map(str, key)), f"{reason} (with the recipe's cluster.slurm)" if not key else reason)
        for key, reason in found
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise LaunchError(f"{path}:{line}: not valid YAML: {' '.join(str(error.problem).split())}") from None
    except (OSError, UnicodeDecodeError, YAMLError, ValueError) as error:
        raise LaunchError(f"{path}: cannot be read: {first_line(error)}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise LaunchError(f"{path}: should be keys and values, those of cluster.slurm")
    return tree
