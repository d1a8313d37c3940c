"""The typed recipe: load, check, dump. Imports no torch."""

from rl.recipe.faults import Fault, RecipeError
from rl.recipe.load import dump, load, resolve, shipped, shipped_names
from rl.recipe.sections import Recipe

__all__ = ["Fault", "Recipe", "RecipeError", "dump", "load", "resolve", "shipped", "shipped_names"]
