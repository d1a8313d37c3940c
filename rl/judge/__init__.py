"""Models that audit a policy's reasoning for deception: a frozen copy of the policy, or a judge behind an endpoint.

rl.judge.endpoint is imported where it is used: its client takes a second.
"""

from rl.judge.audit import Audit, Judge, JudgeError
from rl.judge.frozen import FrozenCopy, FrozenJudge

__all__ = ["Audit", "FrozenCopy", "FrozenJudge", "Judge", "JudgeError"]
