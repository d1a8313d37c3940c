"""What is wrong with a recipe, said so that it can be mended."""

import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError


@dataclass(frozen=True, order=True)
class Fault:
    """Name one thing that is wrong: where it was written, its dotted key, and why."""

    source: str
    key: str
    reason: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.source, self.key, self.reason) if part)


class RecipeError(ValueError):
    """Carry every fault of a recipe at once."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = sorted(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


def suggestion(word: object, words: Iterable[str]) -> str:
    """Return "; did you mean X?" where one of words is close to word, else the words themselves."""
    words = sorted(words)
    close = difflib.get_close_matches(str(word), words, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; one of {', '.join(words)}" if words else ""


def validation_faults(
    error: ValidationError, tree: Mapping[str, Any], section: type[BaseModel]
) -> list[tuple[list, str]]:
    """Turn pydantic's errors into (path, reason) pairs; paths hold no union tags. Each path is named once."""
    found: dict[tuple, str] = {}
    for item in error.errors():
        path = _path(item["loc"], tree, keep_last=item["type"] in ("missing", "extra_forbidden"))
        found.setdefault(tuple(path), _reason(item, path, tree, section))
    return [(list(path), reason) for path, reason in found.items()]


def _path(location: Sequence[str | int], tree: Any, keep_last: bool) -> list[str | int]:
    """Drop what pydantic adds to a location (union tags) by walking the tree that was read."""
    path: list[str | int] = []
    for position, element in enumerate(location):
        if holds(tree, element):
            tree = tree[element]
            path.append(element)
        elif keep_last and position == len(location) - 1:
            path.append(element)
    return path


def _reason(item: Any, path: list[str | int], tree: Mapping[str, Any], section: type[BaseModel]) -> str:
    kind, context, value = item["type"], item.get("ctx", {}), item["input"]
    if kind == "extra_forbidden":
        owner = section_at(path[:-1], tree, section)
        return f"unknown key{suggestion(path[-1], owner.model_fields if owner else ())}"
    if kind == "missing":
        return "is missing"
    if kind == "invalid-json-value":
        return f"is a {type(value).__name__}; write it in quotes to say it as text"
    if kind == "recursion_loop":
        return "holds itself; write out what the alias stands for"
    if kind == "too_short":
        return f"should hold at least {context['min_length']}, and holds {context['actual_length']}"
    tags = [tag.strip().strip("'") for tag in context.get("expected_tags", "").split(",")]
    if kind == "union_tag_invalid":
        return f"unknown kind {context['tag']!r}{suggestion(context['tag'], tags)}"
    if kind == "union_tag_not_found":
        owner = section_at(path, tree, section, any_kind=True)
        kinds = kinds_at(path, tree, section)
        return f"needs a `kind`, one of {', '.join(kinds)}" if owner or kinds else "needs a `kind`"
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = "should be keys and values" if kind in ("model_type", "dict_type", "model_attributes_type") else message
    shown = repr(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return message if kind == "value_error" else f"{message}, not {shown[:80]}"


def _members(annotation: Any) -> list[Any]:
    """Flatten Annotated, unions and lists to the plain types inside."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType, list):
        return [member for argument in typing.get_args(annotation) for member in _members(argument)]
    if origin is dict:
        return _members(typing.get_args(annotation)[1])
    return [annotation]


def _sections(annotation: Any) -> list[type[BaseModel]]:
    return [member for member in _members(annotation) if isinstance(member, type) and issubclass(member, BaseModel)]


def _kind(section: type[BaseModel]) -> str | None:
    field = section.model_fields.get("kind")
    return typing.get_args(field.annotation)[0] if field else None


def _candidates(path: Sequence[str | int], tree: Any, section: type[BaseModel]) -> list[type[BaseModel]]:
    """Walk path and return the sections that may stand there, narrowed by `kind` where the tree says it."""
    here, inside_dict = [section], False
    for element in path:
        tree = tree[element] if holds(tree, element) else None
        if isinstance(element, int) or inside_dict:
            inside_dict = False
            continue
        annotations = [cls.model_fields[element].annotation for cls in here if element in cls.model_fields]
        inside_dict = any(typing.get_origin(annotation) is dict for annotation in annotations)
        here = [found for annotation in annotations for found in _sections(annotation)]
        if isinstance(tree, Mapping) and "kind" in tree:
            here = [found for found in here if _kind(found) in (None, tree["kind"])] or here
    return here


def holds(tree: Any, element: str | int) -> bool:
    """Say whether a tree of mappings and lists can be indexed by element."""
    if isinstance(tree, Mapping):
        return element in tree
    return isinstance(tree, list) and isinstance(element, int) and element < len(tree)


def section_at(
    path: Sequence[str | int], tree: Any, section: type[BaseModel], any_kind: bool = False
) -> type[BaseModel] | None:
    """Return the section class that stands at path, or None where several or none may."""
    found = _candidates(path, tree, section)
    return found[0] if len(found) == 1 or (any_kind and found) else None


def kinds_at(path: Sequence[str | int], tree: Any, section: type[BaseModel]) -> list[str]:
    """Return the kinds that the section at path may have."""
    return [kind for kind in map(_kind, _candidates(path, tree, section)) if kind]
