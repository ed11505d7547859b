"""InfoGAN with networks of the same make but few weights, for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from models.infogan import InfoGAN, InfoGANOptions
from models.networks.infogan import PLANS, Convolution

REAL = dict(PLANS)
_SMALL = (Convolution(3, normalized=False), Convolution(4))
TINY: dict[str, dict[str, Any]] = {
    "mnist_community": {"side": 8, "stem": 10, "map_shape": (2, 2, 5), "convolutions": _SMALL, "features": 12},
    "mnist_official": {"side": 8, "stem": 10, "map_shape": (2, 2, 5), "convolutions": _SMALL, "features": 12},
    "svhn": {"side": 16, "map_shape": (2, 2, 5), "convolutions": _SMALL},
    "faces": {"side": 8, "stem": 10, "map_shape": (2, 2, 5), "convolutions": _SMALL, "features": 12},
}
SHAPES = {"svhn": (16, 16, 3)}
CODES: dict[str, Any] = {"noise_size": 4, "categorical_codes": (3,), "continuous_codes": 2}

VARIANTS: dict[str, dict[str, Any]] = {
    "community": CODES,
    "official": {**CODES, "variant": "official"},
    "color": {**CODES, "network": "svhn", "categorical_codes": (3, 4), "continuous_codes": 0},
    "faces": {**CODES, "network": "faces", "categorical_codes": (), "continuous_loss": "squared_error"},
    "slips": {**CODES, "double_softmax": True, "frozen_variance_head": True, "least_log_variance": -100.0},
    "auxiliary": {**CODES, "auxiliary_q": True},
    "auxiliary official": {**CODES, "auxiliary_q": True, "variant": "official"},
    "trunk by D, Q by G": {**CODES, "information_updates_trunk": True},
    "Q by D, not the trunk": {**CODES, "information_player": "discriminator", "fresh_latents": True},
}


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of the same make with few weights; the real ones are built where they are counted."""
    for name, sizes in TINY.items():
        plan = dataclasses.replace(REAL[name], **sizes)
        deconvolutions = tuple(dataclasses.replace(layer, filters=3) for layer in plan.deconvolutions)
        recognition = None if plan.recognition is None else 6
        if name == "svhn":
            deconvolutions = deconvolutions[:2]
        monkeypatch.setitem(
            PLANS, name, dataclasses.replace(plan, deconvolutions=deconvolutions, recognition=recognition)
        )


def build(seed: int = 0, **options: Any) -> InfoGAN:
    made = InfoGANOptions(**options)
    model = made.build(SHAPES.get(str(made.network), (8, 8, 1)), seed)
    model.configure()
    return model
