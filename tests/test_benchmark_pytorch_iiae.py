"""The PyTorch contestant of IIAE: the same networks, the same objective, both styles the same step."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.iiae import IIAEOptions

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")

SIDE, WIDTH, BATCH = 32, 4, 4


def contestant(style: Any = "usual") -> Any:
    import torch

    from benchmarks.pytorch_iiae import IIAE

    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randint(0, 256, [8, 3, SIDE, SIDE], dtype=torch.uint8, generator=generator) for _ in range(2))
    return IIAE(style, False, (x, y), batch=BATCH, width=WIDTH)


def test_the_published_size() -> None:
    from benchmarks import pytorch_iiae as twin

    pairs = [twin.build_exclusive(256, 32), twin.build_trunk(32), twin.build_head(32), twin.build_decoder(32)]
    count = 2 * sum(p.numel() for network in pairs for p in network.parameters())
    count += sum(p.numel() for p in twin.build_head(32, joint=True).parameters())
    assert count == twin.PARAMETERS == 16_801_830


@pytest.mark.parametrize("style", ["usual", "lean"])
def test_every_weight_is_trained(style: Any) -> None:
    import torch

    model = contestant(style)
    before = [parameter.detach().clone() for parameter in model.parameters]
    assert torch.isfinite(model.step())
    # A bias in front of batch normalization has no effect but rounding.
    weights = [old.ndim > 1 for old in before]
    moved = [not torch.equal(old, new) for old, new in zip(before, model.parameters, strict=True)]
    assert all(has for has, counts in zip(moved, weights, strict=True) if counts)


def dry(model: Any) -> Any:
    """The model without dropout, whose noise depends on the layout in memory."""
    import torch

    for network in model.networks.values():
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    return model


def test_both_styles_take_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    models = []
    for style in ("usual", "lean"):
        # The constructor seeds the choice of pairs too, so one model must step before the next is built.
        models.append(dry(contestant(style)))
        models[-1].step()
    for one, other in zip(models[0].parameters, models[1].parameters, strict=True):
        difference, size = float((one.grad - other.grad).norm()), float(one.grad.norm())
        assert difference < 1e-3 * size + 1e-3


def test_networks_and_objective_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the weights copied, no noise and no dropout, posteriors and loss are the same numbers."""
    import torch

    theirs = dry(contestant())
    ours = IIAEOptions(width=WIDTH, dropout=0.0, annealing_steps=0).build((SIDE, SIDE, 3), 0)
    ours.configure()
    rng = np.random.default_rng(0)
    for name, network in theirs.networks.items():
        layers = [layer for layer in ours.networks[name].layers if layer.trainable_variables]
        modules = [module for module in network.modules() if next(module.parameters(recurse=False), None) is not None]
        for layer, module in zip(layers, modules, strict=True):
            if not hasattr(layer, "kernel"):
                layer.gamma.assign(module.weight.detach().numpy())
                continue
            fan_in = int(np.prod(layer.kernel.shape[:-1]))
            kernel = rng.normal(0.0, fan_in**-0.5, layer.kernel.shape).astype(np.float32)
            layer.kernel.assign(kernel)
            # Keras: height, width, in, out, or (transposed) out, in; PyTorch: out, in, height, width, or in, out.
            weight = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel
            if kernel.ndim == 2:
                side = SIDE // 16
                weight = kernel.reshape(side, side, 8 * WIDTH, -1).transpose(3, 2, 0, 1).reshape(kernel.shape[1], -1)
            module.weight.data = torch.from_numpy(np.ascontiguousarray(weight))
    monkeypatch.setattr("models.noise.Noise.normal", lambda self, stream, shape: tf.zeros(shape))
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    x, y = (rng.random([BATCH, SIDE, SIDE, 3]).astype(np.float32) for _ in range(2))
    scaled = [torch.from_numpy((2 * images - 1).transpose(0, 3, 1, 2)) for images in (x, y)]
    with torch.no_grad():
        expected = float(theirs.loss(*scaled, annealing=1.0))
    found = {name: float(value) for name, value in ours.train_step((tf.constant(x), tf.constant(y))).items()}
    assert found["loss"] == pytest.approx(expected, rel=1e-4)
    assert found["divergence/shared_x"] > 0.1
    assert not math.isclose(found["divergence/shared_x"], found["divergence/shared_y"], rel_tol=1e-3)
