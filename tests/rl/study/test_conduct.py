"""Before a study's runs are made: its folder, and what an earlier attempt left there."""

from pathlib import Path

import pytest

from rl.recipe import dump, load
from rl.study.conduct import make_folder, prepare
from rl.study.plan import PlannedRun, StudyError


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(StudyError, match=r"taken.out: cannot be written: Not a directory; give --run-dir"):
        make_folder(tmp_path / "taken" / "out")
    make_folder(tmp_path / "new" / "out")
    make_folder(tmp_path / "new" / "out")
    assert (tmp_path / "new" / "out").is_dir()


def test_runs_are_made_once_and_not_with_other_settings(tmp_path: Path) -> None:
    recipe = load("quickstart")
    run = PlannedRun(tmp_path / "runs" / "one-seed0", recipe, "one", 0)
    prepare([run])
    made = (run.path / "environment.json").read_bytes()
    prepare([run])
    assert (run.path / "environment.json").read_bytes() == made
    other = recipe.model_copy(update={"seed": 1})
    with pytest.raises(StudyError, match="was made by other settings than the study has now"):
        prepare([PlannedRun(run.path, other, "one", 0)])
    assert dump(recipe)["seed"] == 0 and (run.path / "environment.json").read_bytes() == made
