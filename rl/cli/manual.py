"""The command that explains all commands, from what they say of themselves: commands."""

import inspect
import typing
from collections.abc import Iterator
from typing import Any

import typer

from rl.cli.app import app

INTRODUCTION = """\
# Commands

Made by `rhythm commands` from the commands themselves; `rhythm COMMAND --help` says the same. Exit codes: 0 for what
was done, 1 for a run that failed, 2 for a fault in what was given, 3 for a run that an alarm stopped, 130 for one that
a signal stopped.
"""


def commands() -> None:
    """Explain every command and its options, as Markdown."""
    typer.echo(INTRODUCTION + "".join(_sections("rhythm", typer.main.get_command(app))), nl=False)


def _sections(path: str, command: Any) -> Iterator[str]:
    inner = getattr(command, "commands", None)
    if inner is not None:
        for name, one in inner.items():
            yield from _sections(f"{path} {name}", one)
        return
    kinds = typing.get_type_hints(inspect.unwrap(command.callback))
    shown = [(one, _name(one, kinds.get(one.name))) for one in command.params if one.name in kinds]
    arguments = [name for one, name in shown if one.param_type_name == "argument"]
    usage = " ".join([path, *arguments, *(["[OPTIONS]"] if len(arguments) < len(shown) else [])])
    said = "\n\n".join(" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n"))
    yield f"\n## {path}\n\n    {usage}\n\n{said}\n"
    rows = [f"| `{name}` | {_default(one)} | {_meaning(one)} |\n" for one, name in shown]
    if rows:
        yield "\n| | default | |\n|---|---|---|\n" + "".join(rows)


def _name(parameter: Any, kind: Any) -> str:
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name.upper()
    if parameter.is_flag:
        return parameter.opts[0]
    return f"{parameter.opts[0]} {parameter.metavar or ','.join(_choices(kind)) or 'VALUE'}"


def _choices(kind: Any) -> list[str]:
    """Return the words that a Literal somewhere in an annotation allows."""
    inner = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return [str(word) for word in inner]
    return [word for one in inner for word in _choices(one)]


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    unsaid = parameter.default is None or parameter.default is False or parameter.default == ""
    return "" if unsaid else f"`{parameter.default}`"


def _meaning(parameter: Any) -> str:
    again = " Can be given several times." if getattr(parameter, "multiple", False) else ""
    return (parameter.help or "").replace("|", "\\|").replace("<", "\\<") + again
