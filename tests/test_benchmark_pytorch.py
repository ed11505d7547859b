"""The PyTorch contestant, where PyTorch is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")


@needs_torch
@pytest.mark.parametrize("style", ["usual", "lean"])
def test_every_weight_is_trained(style: Any) -> None:
    import torch

    from benchmarks.pytorch_ibgan import IBGAN, PARAMETERS, blobs

    model = IBGAN(style, False, blobs(8))
    assert sum(PARAMETERS.values()) == 1_181_749 + 4_496_817
    before = [parameter.detach().clone() for network in model.networks.values() for parameter in network.parameters()]
    assert all(torch.isfinite(loss) for loss in model.step())
    after = [parameter for network in model.networks.values() for parameter in network.parameters()]
    assert sum(not torch.equal(old, new) for old, new in zip(before, after, strict=True)) == len(before)


@needs_torch
def test_both_styles_give_the_same_gradients() -> None:
    from benchmarks.pytorch_ibgan import IBGAN, blobs

    models = []
    for style in ("usual", "lean"):
        # The constructor seeds the noise too, so one model must step before the next is built.
        models.append(IBGAN(style, False, blobs(8)))  # type: ignore[arg-type]
        models[-1].step()
    for name in models[0].networks:
        first, second = (model.networks[name].named_parameters() for model in models)
        for (parameter, left), (_, right) in zip(first, second, strict=True):
            # A bias before a batch normalization has no effect: its gradient is rounding, hence the constant.
            difference = float((left.grad - right.grad).norm())
            assert difference < 1e-2 * float(left.grad.norm()) + 1e-5, f"{name}.{parameter}"
