"""Tasks and prompts."""

from rl.data.context import check_fit
from rl.data.deception import Rows, deceptionbench_aries, deceptionbench_pku, scenarios
from rl.data.own import from_python
from rl.data.sources import (
    Columns,
    file_rows,
    from_hub,
    from_jsonl,
    from_parquet,
    from_reasoning_gym,
    hub_rows,
    row_of,
)
from rl.data.task import DataError, Message, Task, prompt

__all__ = [
    "Columns",
    "DataError",
    "Message",
    "Rows",
    "Task",
    "check_fit",
    "deceptionbench_aries",
    "deceptionbench_pku",
    "file_rows",
    "from_hub",
    "from_jsonl",
    "from_parquet",
    "from_python",
    "from_reasoning_gym",
    "hub_rows",
    "prompt",
    "row_of",
    "scenarios",
]
