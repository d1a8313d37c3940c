"""Which process this is, as launchers say it."""

import pytest

from rl.processes.place import Place, PlaceError, find_place, leave_settings_of_accelerate

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
SRUN = {
    "SLURM_JOB_ID": "20007",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "MASTER_ADDR": "127.0.0.1",
}


def test_alone() -> None:
    assert find_place({}) == Place(0, 1, 0)
    assert find_place({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}) == Place()  # the batch script
    one = {**SRUN, "SLURM_STEP_NUM_TASKS": "1"}
    assert find_place(one) == Place() and "RANK" not in one


def test_of_torchrun() -> None:
    assert find_place(dict(TORCHRUN)) == Place(3, 4, 1)


def test_of_srun_becomes_what_torch_reads() -> None:
    environment = dict(SRUN)
    assert find_place(environment) == Place(1, 2, 0)
    assert environment["MASTER_PORT"] == str(20_000 + 7)
    assert (environment["RANK"], environment["WORLD_SIZE"], environment["LOCAL_RANK"]) == ("1", "2", "0")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "LOCAL_RANK, MASTER_ADDR, MASTER_PORT"),
        ({**TORCHRUN, "RANK": "one"}, "whole numbers"),
        ({**TORCHRUN, "RANK": "4"}, "RANK 4 is not below WORLD_SIZE 4"),
        ({name: value for name, value in SRUN.items() if name != "SLURM_PROCID"}, "SLURM_PROCID"),
    ],
)
def test_what_is_incomplete_is_said(environment: dict[str, str], said: str) -> None:
    with pytest.raises(PlaceError, match=said):
        find_place(dict(environment))


def test_what_accelerate_says_of_training_goes() -> None:
    environment = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_MIXED_PRECISION": "no", "OTHER": "1"}
    assert leave_settings_of_accelerate(environment) == ["ACCELERATE_USE_DEEPSPEED"]
    assert environment == {"OTHER": "1"}
