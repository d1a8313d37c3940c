"""Tasks and prompts."""

from rl.data.context import check_fit
from rl.data.sources import Columns, from_hub, from_jsonl, from_parquet, from_reasoning_gym
from rl.data.task import DataError, Message, Task, prompt

__all__ = [
    "Columns",
    "DataError",
    "Message",
    "Task",
    "check_fit",
    "from_hub",
    "from_jsonl",
    "from_parquet",
    "from_reasoning_gym",
    "prompt",
]
