"""How much memory a recipe needs on a GPU and how long a step takes, before anything runs."""
