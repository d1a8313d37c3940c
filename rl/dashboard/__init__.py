"""The dashboard of a recipe, as code."""
