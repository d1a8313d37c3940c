"""A user's own defaults for cluster.slurm: account, partition and the like, which belong in no shared recipe."""

import os
from pathlib import Path

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from rl.launch.slurm import LaunchError
from rl.recipe.cluster_sections import Slurm

VARIABLE = "RHYTHM_SLURM_DEFAULTS"


def defaults_file() -> Path:
    """Return where the defaults are: $RHYTHM_SLURM_DEFAULTS, else ~/.config/rhythm/slurm.yaml."""
    said = os.environ.get(VARIABLE)
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(said) if said else home / "rhythm" / "slurm.yaml"


def with_defaults(section: Slurm) -> Slurm:
    """Return the section with the user's defaults for what the recipe leaves out. Raises LaunchError."""
    path = defaults_file()
    if not path.is_file():
        if os.environ.get(VARIABLE):
            raise LaunchError(f"{path}: no such file (${VARIABLE})")
        return section
    return Slurm(**{**_read(path), **section.model_dump(exclude_defaults=True)})


def _read(path: Path) -> dict:
    try:
        tree = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")) or {}
        Slurm.model_validate(tree)
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise LaunchError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise LaunchError(f"{path}: {key}: {first['msg']}; its keys are those of cluster.slurm") from None
    return tree
