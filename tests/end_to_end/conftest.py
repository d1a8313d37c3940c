"""What several files of whole runs need."""

import os
from collections.abc import Iterator

import pytest
from reference.slurm import Slurm, missing, slurm


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A real Slurm of two nodes; where none is installed, tests skip unless RHYTHM_REQUIRE_SLURM is set."""
    if missing() and not os.environ.get("RHYTHM_REQUIRE_SLURM"):
        pytest.skip(f"needs {', '.join(missing())}")
    with slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running
