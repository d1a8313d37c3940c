"""How well a policy answers tasks that it was not trained on."""
