"""What a stage leaves behind: a plain folder that anybody loads, and beside it how its policy wants to be asked."""

import json
import shutil
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import nn
from transformers import PreTrainedTokenizerBase

from rl.critic import CRITIC

USE_FILE = "rhythm.json"


def read_use(folder: Path) -> dict[str, Any]:
    """Return how the policy in an exported folder wants to be asked, as `export` wrote it; nothing for other models."""
    try:
        known = json.loads((folder / USE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def export(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    use: dict[str, Any],
    checkpoint: Path | None = None,
) -> None:
    """Write a plain transformers (or PEFT) folder with its tokenizer; it appears whole or not at all.

    `use` is kept beside the weights: the system prompt and the words of the effort dial that the policy was trained on;
    and so is the critic that the checkpoint holds, in a folder of its own, where nothing that loads the policy sees it.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    own = (
        {"selected_adapters": ["default"]} if isinstance(model, PeftModel) else {}
    )  # TRL keeps a reference adapter too
    model.save_pretrained(part, **own)  # pyright: ignore
    tokenizer.save_pretrained(part)
    (part / USE_FILE).write_text(json.dumps(use, indent=2) + "\n", encoding="utf-8")
    if checkpoint is not None and (checkpoint / CRITIC).is_dir():
        shutil.copytree(checkpoint / CRITIC, part / CRITIC)
    part.replace(folder)
