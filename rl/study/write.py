"""Write down what a study has come to: study.html, study.md, study.json, in place of earlier ones."""

import json
from dataclasses import asdict

from rl.study import page
from rl.study.outcomes import Outcomes, outcomes_of
from rl.study.plan import Plan, StudyError
from rl.telemetry.jsonl import write_atomically


def write_outcomes(plan: Plan) -> Outcomes | None:
    """Write what the finished runs come to, and return it; None where no run has finished yet. Raises StudyError."""
    found = outcomes_of(plan)
    if found is None:
        return None
    said = {
        "study": plan.study.model_dump(mode="json"),
        "stage": plan.stage,
        "arms": [asdict(one) for one in found.means],
        "tests": [asdict(one) for one in found.tests],
        "missing": list(found.missing),
        "alarmed": list(found.alarmed),
        "silent": list(found.silent),
    }
    credit = page.diagnostics_table(found)
    files = {
        "study.json": json.dumps(said, indent=2, allow_nan=False) + "\n",
        "study.md": page.markdown(found, plan, credit),
        "study.html": page.render(found, plan, credit),
    }
    try:
        for name, text in files.items():
            write_atomically(plan.folder / name, text.encode("utf-8", "replace").decode())
    except OSError as error:
        raise StudyError(f"{plan.folder}: cannot be written: {error.strerror}; give --run-dir another folder") from None
    return found
