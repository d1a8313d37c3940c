"""Several runs laid over each other: arms by recipe, seeds as a band."""
