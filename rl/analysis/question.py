"""A question as it is put to a policy."""

from rl.analysis.traces import AnalysisError
from rl.data import Task
from rl.echo.boundary import token_span
from rl.policy import Policy


def put(policy: Policy, where: str, question: str) -> tuple[list[int], tuple[int, int]]:
    """Return the tokens that put a question to a policy, and where the question stands in them.

    Raises AnalysisError for a chat template that changes questions.
    """
    text, asked = policy.prompt(Task(where, question, "")), question.strip()
    start = text.rfind(asked)
    if start < 0:
        raise AnalysisError(f"{where}: the policy's chat template does not show its question as it is")
    return token_span(policy.tokenizer, text, (start, start + len(asked)))
