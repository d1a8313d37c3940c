"""From a recipe's name to a checked Recipe: find the file, follow `base:`, apply `--set`, report every fault."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from rl.recipe.checks import check, check_parts
from rl.recipe.faults import Fault, RecipeError, holds, suggestion, validation_faults
from rl.recipe.sections import Recipe

Tree = dict[str, Any]
SUFFIXES = (".yaml", ".yml")


def shipped(folder: str) -> Path:
    """Return the folder of shipped files: inside the installed package, else beside it in a source checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "shipped" / folder
    return installed if installed.is_dir() else package.parent / folder


def shipped_names() -> list[str]:
    """List the recipes that can be named without a path."""
    return sorted(path.stem for path in shipped("recipes").glob("*.yaml"))


def load(name: str, overrides: Sequence[str] = (), overlays: Sequence[str] = ()) -> Recipe:
    """Load the recipe called name (a path, or a shipped recipe's name) with overlays laid over it.

    Overlays are files that change recipes of any sort: stages that they name and the recipe does not have are passed
    over. `key=value` overrides come last. Raises RecipeError with all faults at once.
    """
    return _load(_read_chain(_find(name, None), []), name, overrides, overlays)


def load_over(
    name: str,
    changes: Tree,
    source: str,
    folder: Path,
    overrides: Sequence[str] = (),
    overlays: Sequence[str] = (),
    *,
    partial: bool = False,
) -> Recipe:
    """Load the recipe called name, a path from folder on or a shipped recipe's name, with changes laid over it.

    As a recipe with that `base` would be loaded, and then as `load`; `source` is what faults call the changes. With
    `partial`, overlays may be of other stages alone: those that the changes took away. Raises RecipeError.
    """
    try:
        layers = _read_chain(_find(name, folder), [])
    except RecipeError as error:
        raise RecipeError([Fault(source, "recipe", str(fault)) for fault in error.faults]) from None
    return _load([*layers, (source, changes)], name, overrides, overlays, partial)


def _load(
    layers: list[tuple[str, Tree]],
    name: str,
    overrides: Sequence[str],
    overlays: Sequence[str] = (),
    partial: bool = False,
) -> Recipe:
    if not any("stages" in layer for _, layer in layers):
        layers.insert(0, ("the default recipe", {"stages": dump(Recipe())["stages"]}))
    tree: Tree = {}
    try:
        for _, layer in layers:
            tree = merge(_with_kinds(tree), layer)
        layers += [(path, _only_stages_of(tree, _read_overlay(path), path, partial)) for path in overlays]
        layers += [("--set " + text, parse_override(text)) for text in overrides]
        tree = {}
        for _, layer in layers:
            tree = merge(_with_kinds(tree), layer)
        return _validate(_with_kinds(tree), layers, name)
    except RecursionError:
        raise RecipeError([Fault(name, "", "is nested without end; an alias may hold itself")]) from None


def resolve(tree: Tree, source: str, overrides: Sequence[str] = ()) -> Recipe:
    """Check a tree that was written by `dump`, such as a run's recipe.json, with `key=value` overrides."""
    layers = [(source, tree), *(("--set " + text, parse_override(text)) for text in overrides)]
    merged = _stages_by_name(tree)
    for _, layer in layers[1:]:
        merged = merge(merged, layer)
    return _validate(merged, layers, source)


def dump(recipe: Recipe) -> Tree:
    """Return the recipe as plain data, every default spelled out."""
    return recipe.model_dump(mode="json")


def _find(name: str, relative_to: Path | None) -> Path:
    path = Path(name)
    if relative_to and not path.is_absolute() and (relative_to / path).is_file():
        return relative_to / path
    if path.suffix in SUFFIXES or path.is_file() or "/" in name:
        if path.is_file():
            return path
        near = shipped("recipes") / (name if path.suffix in SUFFIXES else name + ".yaml")
        if near.is_file():
            return near
        raise RecipeError([Fault(name, "", "no such recipe file" + _shipped_hint(path.stem))])
    path = shipped("recipes") / (name + ".yaml")
    if path.is_file():
        return path
    raise RecipeError([Fault(name, "", "no recipe file and no shipped recipe of that name" + _shipped_hint(name))])


def _shipped_hint(name: str) -> str:
    return suggestion(name, shipped_names()).replace("; one of", "; shipped recipes:")


def _read_chain(path: Path, children: list[Path]) -> list[tuple[str, Tree]]:
    if path.resolve() in children:
        raise RecipeError([Fault(str(path), "base", "recipes are each other's base; break the circle")])
    tree = read_tree(path)
    base = tree.pop("base", None)
    if base is None:
        return [(str(path), tree)]
    if not isinstance(base, str):
        raise RecipeError([Fault(str(path), "base", f"should be one recipe's name or path, not {base!r}")])
    try:
        parent = _find(base, path.parent)
    except RecipeError as error:
        raise RecipeError([Fault(str(path), "base", str(fault)) for fault in error.faults]) from None
    return [*_read_chain(parent, [*children, path.resolve()]), (str(path), tree)]


def _read_overlay(path: str) -> Tree:
    tree = read_tree(Path(path))
    if "base" in tree:
        raise RecipeError([Fault(path, "base", "has no place in an overlay; name the recipe it is laid over first")])
    return tree


def _only_stages_of(recipe: Tree, overlay: Tree, path: str, partial: bool) -> Tree:
    """Return an overlay with only those stages that the recipe has.

    Raises RecipeError where it has none of them, unless the recipe is `partial`.
    """
    stages, known = _stages_by_name(overlay).get("stages"), recipe.get("stages")
    if not isinstance(stages, dict) or not isinstance(known, dict):
        return overlay
    common = {name: stage for name, stage in stages.items() if name in known}
    if stages and not common and not partial:
        has = f"the recipe has none of these stages; it has {', '.join(known)}"
        raise RecipeError([Fault(path, "stages", has)])
    return {**overlay, "stages": common}


def read_tree(path: Path) -> Tree:
    """Return what a YAML file holds: keys and values. Raises RecipeError."""
    try:
        tree = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise RecipeError([Fault(str(path), "", f"cannot be read: {reason}")]) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise RecipeError([_yaml_fault(str(path), error)]) from None
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise RecipeError([Fault(str(path), "", f"should hold keys and values, not a {type(tree).__name__}")])
    return tree


def _yaml_fault(source: str, error: Exception) -> Fault:
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        source = f"{source}:{error.problem_mark.line + 1}"
    reason = getattr(error, "problem", None) or str(error).splitlines()[0]
    reason = reason.partition(" with value ")[0]  # of a key that is there twice
    return Fault(source, "", f"not valid YAML: {reason}")


def parse_override(text: str) -> Tree:
    """Return what `key=value` lays over a recipe. Raises RecipeError."""
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise RecipeError([Fault(f"--set {text}", "", "should read key.of.the.recipe=value")])
    try:
        leaf = YAML(typ="safe", pure=True).load(value)
    except (YAMLError, ValueError, RecursionError) as error:
        raise RecipeError([_yaml_fault(f"--set {text}", error)]) from None
    for part in reversed(parts):
        leaf = {part: leaf}
    return leaf


def _with_kinds(tree: Tree) -> Tree:
    """Give sections that were written without a `kind` the default recipe's."""
    default = Recipe()
    kinds = {"data": default.data.kind, "credit": default.credit.kind}
    tree = {**tree, **_kinded(tree, kinds)}
    if isinstance(tree.get("distill"), dict):
        tree["distill"] = {**tree["distill"], **_kinded(tree["distill"], {"teacher": "transformers"})}
    return tree


def _kinded(tree: Tree, kinds: Mapping[str, str]) -> Tree:
    bare = {key: kind for key, kind in kinds.items() if isinstance(tree.get(key), dict) and "kind" not in tree[key]}
    return {key: {"kind": kind, **tree[key]} for key, kind in bare.items()}


def _stages_by_name(tree: Tree) -> Tree:
    """Key a list of named stages by their names, so that layers merge by name; anything else stays for the checks."""
    stages = tree.get("stages")
    if not isinstance(stages, list) or not all(
        isinstance(s, Mapping) and isinstance(s.get("name"), str) for s in stages
    ):
        return tree
    names = [stage["name"] for stage in stages]
    return {**tree, "stages": dict(zip(names, stages, strict=True))} if len(set(names)) == len(names) else tree


def merge(parent: Tree, child: Tree) -> Tree:
    """Lay child over parent: mappings merge key by key, null takes the parent's key away, anything else replaces.

    A `stages` list in child says which stages there are and in what order; each starts from the parent's of its name.
    """
    child, ordered = _stages_by_name(child), isinstance(child.get("stages"), list)
    merged = _merge_mappings(parent, child)
    if ordered and isinstance(child["stages"], dict) and isinstance(merged["stages"], dict):
        merged["stages"] = {name: merged["stages"][name] for name in child["stages"]}
    return merged


def _merge_mappings(parent: Tree, child: Tree) -> Tree:
    if "kind" in child and child["kind"] != parent.get("kind", child["kind"]):
        return child  # another kind has other keys: nothing of the parent's applies
    merged = dict(parent)
    for key, value in child.items():
        if value is None:
            merged.pop(key, None)
            continue
        below = merged.get(key)
        merged[key] = (
            _merge_mappings(below if isinstance(below, dict) else {}, value) if isinstance(value, dict) else value
        )
    return merged


def _validate(tree: Tree, layers: Sequence[tuple[str, Tree]], name: str) -> Recipe:
    keyed = tree.get("stages")
    names = list(keyed) if isinstance(keyed, dict) else []
    if isinstance(keyed, dict):
        stages = [{"name": key, **value} if isinstance(value, dict) else value for key, value in keyed.items()]
        tree = {**tree, "stages": stages}
    try:
        recipe = Recipe.model_validate(tree)
        found = check(recipe)
    except ValidationError as error:
        recipe, found = None, validation_faults(error, tree, Recipe) + check_parts(tree)
    if found or recipe is None:
        raise RecipeError(locate(found, names, layers, name))
    return recipe


def locate(
    found: Iterable[tuple[list, str]], names: list[str], layers: Sequence[tuple[str, Tree]], name: str
) -> list[Fault]:
    """Say for each fault which file or override wrote it: the last layer that holds the deepest part of its path."""
    faults = []
    for indexed, reason in found:
        path = _named(indexed, names)
        depths = [_depth(_stages_by_name(layer), path) for _, layer in layers]
        source = layers[len(depths) - 1 - depths[::-1].index(max(depths))][0] if depths else name
        faults.append(Fault(source, ".".join(map(str, path)), reason))
    return faults


def _named(path: list[str | int], names: list[str]) -> list[str | int]:
    """Put a stage's name where its index stands."""
    stage = path[1] if len(path) > 1 and path[0] == "stages" else None
    return ["stages", names[stage], *path[2:]] if isinstance(stage, int) and stage < len(names) else path


def _depth(tree: Any, path: Sequence[str | int]) -> int:
    depth = 0
    for element in path:
        if not holds(tree, element):
            break
        tree, depth = tree[element], depth + 1
    return depth
