"""From a recipe's data section to its tasks."""

from rl import data
from rl.recipe.data_sections import (
    Benchmark,
    Columns,
    Data,
    DeceptionBenchAries,
    DeceptionBenchPku,
    Hub,
    Jsonl,
    Parquet,
    PythonTasks,
    ReasoningGym,
    Scenarios,
)


def load_tasks(source: Data, seed: int, worked: bool) -> list[data.Task]:
    """Return a source's tasks, with worked completions where `worked`. Raises DataError."""
    match source:
        case ReasoningGym():
            seed = seed if source.seed is None else source.seed
            return data.from_reasoning_gym(
                source.task,
                source.size,
                seed,
                source.options,
                telling=source.traces if worked else None,
                limit=source.limit,
            )
        case Jsonl():
            return data.from_jsonl(source.path, _columns(source))
        case Parquet():
            return data.from_parquet(source.path, _columns(source))
        case Hub():
            return data.from_hub(source.name, source.subset, source.split, source.revision, _columns(source))
        case PythonTasks():
            seed = seed if source.seed is None else source.seed
            return data.from_python(source.tasks, seed, source.options, worked=worked, limit=source.limit)
        case Scenarios():
            return data.scenarios(source.categories, worked)
        case DeceptionBenchPku():
            return data.deceptionbench_pku(_benchmark_rows(source), source.prompt, source.types)
        case DeceptionBenchAries():
            return data.deceptionbench_aries(_benchmark_rows(source), source.prompts)
    raise AssertionError(source)


def _columns(source: Columns) -> data.Columns:
    return data.Columns(source.question, source.answer, source.answer_after, source.completion, source.facts)


def _benchmark_rows(source: Benchmark) -> data.Rows:
    if source.path is not None:
        return data.file_rows(source.path)
    assert source.name is not None
    return data.hub_rows(source.name, source.subset, source.split, source.revision)
