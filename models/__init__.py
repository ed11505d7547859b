"""The models: one file per paper, holding its networks' assembly, its objective and its training step."""

MODELS: dict[str, str] = {
    "ibgan": "models.ibgan:IBGANOptions",
}
"""Registry: name in gin files to the class of the model's options. A new model adds one line."""
