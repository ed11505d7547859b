"""The PyTorch contestant of InfoGAN, where PyTorch is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")


@needs_torch
@pytest.mark.parametrize("style", ["usual", "lean"])
def test_every_weight_is_trained(style: Any) -> None:
    import torch

    from benchmarks.pytorch_infogan import PARAMETERS, InfoGAN, strokes

    assert sum(PARAMETERS.values()) == 6_645_185 + 6_692_431
    model = InfoGAN(style, False, strokes(8))
    before = [p.detach().clone() for network in model.networks.values() for p in network.parameters()]
    assert all(torch.isfinite(loss) for loss in model.step())
    after = [p for network in model.networks.values() for p in network.parameters()]
    assert sum(not torch.equal(old, new) for old, new in zip(before, after, strict=True)) == len(before)


@needs_torch
def test_both_styles_give_the_same_gradients() -> None:
    from benchmarks.pytorch_infogan import InfoGAN, strokes

    models = []
    for style in ("usual", "lean"):
        # The constructor seeds the noise too, so one model must step before the next is built.
        model = InfoGAN(style, False, strokes(8))  # type: ignore[arg-type]
        # Adam's first step has full size even where a gradient is rounding, so D must stand still here.
        model.d_optimizer.param_groups[0]["lr"] = 0.0
        model.step()
        models.append(model)
    for name in ("generator", "recognition", "categorical", "mean", "log_variance"):
        first, second = (model.networks[name].named_parameters() for model in models)
        for (parameter, left), (_, right) in zip(first, second, strict=True):
            # A bias before a batch normalization has no effect: its gradient is rounding, hence the constant.
            difference = float((left.grad - right.grad).norm())
            assert difference < 1e-2 * float(left.grad.norm()) + 1e-5, f"{name}.{parameter}"
