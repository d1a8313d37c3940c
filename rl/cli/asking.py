"""How a policy is asked: the options that generate and eval share."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from rl.cli.app import fail

if TYPE_CHECKING:
    from rl.generate import Again
    from rl.policy import Policy

Item = TypeVar("Item")
Effort = Annotated[float | None, typer.Option(metavar="R", help="Effort relative to the usual, such as 0.5.")]
Tokens = Annotated[int | None, typer.Option(metavar="N", help="In place of effort: a number of tokens.")]
Efforts = Annotated[
    str | None, typer.Option(metavar="R,...", help="Effort relative to the usual, such as 0.5; several as 0.4,0.7,1.0.")
]
Numbers = Annotated[str | None, typer.Option(metavar="N,...", help="In place of effort: numbers of tokens.")]
System = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help='System prompt; by default the one it was trained with, "" for none.'),
]
MaxTokens = Annotated[int, typer.Option(metavar="N", min=1, help="Longest answer, in tokens.")]
Temperature = Annotated[float, typer.Option(metavar="T", min=0, help="0 takes the likeliest token.")]
Reminder = Annotated[
    Literal["question", "neutral", "nothing"] | None,
    typer.Option(
        help="Let it reason on half-way, in the same budget: reminded of the question, or as controls by neutral words "
        "as long or by nothing."
    ),
]
Agains = Annotated[
    str | None,
    typer.Option(
        metavar="WHAT,...",
        help="Let it reason on half-way, in the same budget: reminded of the `question`, or as controls by `neutral` "
        "words as long or by `nothing`; `none` is without. Several are arms, such as none,question,neutral.",
    ),
]
First = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="With --again: most tokens before it; by default half.")
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="Seed of the sampling.")]


def items(option: str, text: str | None, of: Callable[[str], Item]) -> list[Item]:
    """Return the items of a list such as 0.4,0.7; leave where one is none, or stands there twice."""
    found = []
    for part in text.split(",") if text is not None else ():
        try:
            found.append(of(part.strip()))
        except ValueError:
            kind, such = ("whole number", "64,256") if of is int else ("number", "0.4,0.7,1.0")
            fail(f"{option}: {part.strip()!r} is no {kind}; write a list such as {such}")
    if len(set(found)) < len(found):
        fail(f"{option}: {text} names one of them twice")
    return found


def check(
    effort: float | None, tokens: int | None, temperature: float, again: str | None, first: int | None, max_tokens: int
) -> "Again | None":
    """Return what --again asks for; leave where options say nothing that could be done."""
    if effort is not None and tokens is not None:
        fail("--effort and --tokens are two ways to ask for a length; give one of them")
    if (effort is not None and not 0 < effort < 1000) or (tokens is not None and tokens < 1):
        fail("--effort and --tokens should be above 0, and an effort below 1000")
    if not math.isfinite(temperature):
        fail(f"--temperature {temperature} is no temperature; 1 samples as in training")
    if first is not None and again is None:
        fail("--first says where --again comes in; give that too")
    if first is not None and first >= max_tokens:
        fail(f"--first {first} leaves nothing of --max-tokens {max_tokens}; lower it")
    if again is None:
        return None
    from rl.generate import Again

    return Again(again, first)  # pyright: ignore


def warn_of_dial(policy: "Policy") -> None:
    """Say where a policy is asked for a length that it was never trained to be asked for."""
    if policy.dial is not None and not policy.knows_dial:
        typer.echo("rhythm: this policy was not trained to be asked for a length; it may pay no heed", err=True)
