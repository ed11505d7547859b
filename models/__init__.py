"""The models: one file per paper, holding its networks' assembly, its objective and its training step."""

MODELS: dict[str, str] = {
    "ibgan": "models.ibgan:IBGANOptions",
    "factor_vae": "models.factor_vae:FactorVAEOptions",
    "infogan": "models.infogan:InfoGANOptions",
    "infogan_cr": "models.infogan_cr:InfoGANCROptions",
    "vgan": "models.vgan:VGANOptions",
    "iiae": "models.iiae:IIAEOptions",
}
"""Registry: name in gin files to the class of the model's options. A new model adds one line."""
