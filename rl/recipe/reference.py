"""The reference of every recipe key, made from the sections themselves."""

import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rl.recipe.sections import Recipe

INTRODUCTION = """\
# Recipe keys

Made by `rhythm keys` from `rl/recipe/sections.py`. A recipe is YAML; unknown keys and wrong types are refused, all
faults at once. `base: NAME` names one parent, a path or a shipped recipe: mappings merge key by key, `null` takes a
parent's key away, another `kind` starts its section anew, and a `stages` list says which stages there are and in what
order, each starting from the parent's stage of its name. `--set a.b=value` comes last; stages are named:
`--set stages.grpo.trainer.steps=50`. [paper] marks a value that a paper states, [ours] one that it leaves open.
"""


def reference() -> str:
    """Return the reference as Markdown: a table for each section."""
    return INTRODUCTION + "".join(_tables("", Recipe, set()))


def _tables(path: str, section: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    if section in seen:
        return
    seen.add(section)
    below: list[tuple[str, type[BaseModel]]] = []
    rows = []
    for name, field in section.model_fields.items():
        if name == "kind":
            continue  # the title says it
        inner = list(_sections(field.annotation))
        below += [(_join(path, name, field, one), one) for one in inner]
        if not inner:
            rows.append(f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {_meaning(section, name)} |\n")
        elif field.description:
            rows.append(f"| `{name}` | section | | {field.description} |\n")
    title = path or "The recipe"
    yield f"\n## {title}\n\n{(section.__doc__ or '').strip()}\n"
    if rows:
        yield "\n| key | type | default | meaning |\n|---|---|---|---|\n" + "".join(rows)
    for place, one in below:
        yield from _tables(place, one, seen)


def _meaning(section: type[BaseModel], name: str) -> str:
    """Return a field's docstring, from the nearest class that has one."""
    fields = [
        cls.model_fields[name] for cls in section.__mro__ if issubclass(cls, BaseModel) and name in cls.model_fields
    ]
    meaning = next((field.description for field in fields if field.description), "")
    return " ".join(meaning.split())


def _join(path: str, name: str, field: FieldInfo, section: type[BaseModel]) -> str:
    place = f"{path}.{name}".lstrip(".")
    if typing.get_origin(field.annotation) in (dict, list):
        place += ".NAME"
    kind = section.model_fields.get("kind")
    return place if kind is None else f"{place} (kind: {typing.get_args(kind.annotation)[0]})"


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _sections(argument)


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is typing.Literal:
        return ", ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if one is types.NoneType else _type(one) for one in arguments)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return "mapping"
    return {"str": "text", "int": "integer", "float": "number", "bool": "true, false"}.get(annotation.__name__, "value")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    return f"`{'null' if value is None else str(value).lower() if isinstance(value, bool) else value}`"
