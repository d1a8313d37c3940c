"""Shared by all tests: shapes are checked at run time, and nothing reaches for a hub or a wandb account.

Two workers share the cores, so every process keeps to one thread.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", WANDB_MODE="offline", TOKENIZERS_PARALLELISM="false")
os.environ.pop("WANDB_API_KEY", None)
CHECKED = [f"rl.{name}" for name in ("attention", "circuits", "credit", "actor_critic", "kl", "critic")]
install_import_hook([*CHECKED, "rl.trainers.token_credit"], "beartype.beartype")

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def kept_environment() -> Iterator[None]:
    """Take back what libraries write into the environment, so that no test sees what another one did."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() | before.keys():
        if name.startswith("PYTEST_"):
            continue
        if name in before:
            os.environ[name] = before[name]
        else:
            del os.environ[name]


of_modules = pytest.fixture(kept_environment, autouse=True, scope="module")
of_tests = pytest.fixture(kept_environment, autouse=True)


@pytest.fixture
def gsm8k() -> Path:
    """The training problems of GSM8K, where they lie beside the checkout."""
    path = DATA / "gsm8k" / "train.jsonl"
    if not path.is_file():
        pytest.skip(f"no real data at {path}")
    return path
