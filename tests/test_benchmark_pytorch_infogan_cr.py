"""The PyTorch contestant of InfoGAN-CR, where PyTorch is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")


@needs_torch
@pytest.mark.parametrize("contrastive", [False, True], ids=["before the switch", "after the switch"])
@pytest.mark.parametrize("style", ["usual", "lean"])
def test_every_weight_is_trained(style: Any, contrastive: bool) -> None:
    import torch

    from benchmarks.pytorch_infogan_cr import PARAMETERS, InfoGANCR, blobs

    model = InfoGANCR(style, False, blobs(8), contrastive)
    assert sum(PARAMETERS.values()) == 251_393 + 263_878 + 247_749
    before = [p.detach().clone() for network in model.networks.values() for p in network.parameters()]
    vectors = [layer.u.clone() for layer in model.spectral]
    assert all(torch.isfinite(loss) for loss in model.step().values())
    after = [p for network in model.networks.values() for p in network.parameters()]
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(not torch.equal(old, layer.u) for old, layer in zip(vectors, model.spectral, strict=True))


@needs_torch
@pytest.mark.parametrize("contrastive", [False, True], ids=["before the switch", "after the switch"])
def test_both_styles_take_the_same_step(contrastive: bool) -> None:
    from benchmarks.pytorch_infogan_cr import InfoGANCR, blobs

    models = []
    for style in ("usual", "lean"):
        # The constructor seeds the noise too, so one model must step before the next is built.
        models.append(InfoGANCR(style, False, blobs(8), contrastive))  # type: ignore[arg-type]
        losses = models[-1].step()
        models[-1].losses = losses  # type: ignore[attr-defined]
    for name in ("contrastive", "judges", "generator"):
        first, second = (float(model.losses[name]) for model in models)  # type: ignore[attr-defined]
        assert first == pytest.approx(second, rel=1e-3)
