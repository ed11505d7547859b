"""FactorVAE's PyTorch contestant, where PyTorch is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.factor_vae import FactorVAEOptions

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")


def contestant(style: Any) -> Any:
    from benchmarks.pytorch_factor_vae import FactorVAE, blobs

    return FactorVAE(style, False, blobs(64))


@pytest.mark.parametrize("style", ["usual", "lean"])
def test_every_weight_is_trained(style: Any) -> None:
    import torch

    model = contestant(style)
    before = [parameter.detach().clone() for network in model.networks.values() for parameter in network.parameters()]
    assert all(torch.isfinite(loss) for loss in model.step())
    after = [parameter for network in model.networks.values() for parameter in network.parameters()]
    assert sum(not torch.equal(old, new) for old, new in zip(before, after, strict=True)) == len(before)


def test_both_styles_take_the_same_step() -> None:
    models = []
    for style in ("usual", "lean"):
        # The constructor seeds the noise too, so one model must step before the next is built.
        models.append(contestant(style))
        models[-1].step()
    for name in models[0].networks:
        first, second = (model.networks[name].named_parameters() for model in models)
        for (parameter, left), (_, right) in zip(first, second, strict=True):
            if name != "discriminator":
                difference = float((left.grad - right.grad).norm())
                assert difference < 1e-3 * float(left.grad.norm()) + 1e-6, f"{name}.{parameter}"
            assert float((left - right).detach().abs().max()) <= 2.1e-4, f"{name}.{parameter}"


def test_the_layers_are_ours() -> None:
    import torch

    ours, theirs = FactorVAEOptions().build((64, 64, 1), 0), contestant("usual")
    rng = np.random.default_rng(0)
    for name, network in theirs.networks.items():
        layers = [layer for layer in ours.networks[name].layers if hasattr(layer, "kernel")]
        modules = [module for module in network if hasattr(module, "weight")]
        for layer, module in zip(layers, modules, strict=True):
            kernel = rng.normal(0.0, np.prod(layer.kernel.shape[:-1]) ** -0.5, layer.kernel.shape).astype(np.float32)
            layer.kernel.assign(kernel)
            # Keras: height, width, in, out, or (transposed) out, in; PyTorch: out, in, height, width, or in, out.
            weight = kernel.T if kernel.ndim == 2 else kernel.transpose(3, 2, 0, 1)
            if name == "encoder" and kernel.shape[0] == 1024:
                weight = kernel.reshape(4, 4, 64, -1).transpose(3, 2, 0, 1).reshape(-1, 1024)
            if name == "decoder" and kernel.shape[-1] == 1024:
                weight = kernel.reshape(-1, 4, 4, 64).transpose(3, 1, 2, 0).reshape(1024, -1)
            module.weight.data = torch.from_numpy(np.ascontiguousarray(weight))
    images, z = rng.random([4, 64, 64, 1], np.float32), rng.normal(size=[4, 10]).astype(np.float32)
    with torch.no_grad():
        encoded = theirs.networks["encoder"](torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
        decoded = theirs.networks["decoder"](torch.from_numpy(z)).numpy().transpose(0, 2, 3, 1)
        judged = theirs.networks["discriminator"](torch.from_numpy(z)).numpy()
    for found, expected in (
        (ours.encoder(tf.constant(images)), encoded),
        (ours.decoder(tf.constant(z)), decoded),
        (ours.discriminator(tf.constant(z)), judged),
    ):
        assert np.abs(expected).max() > 0.05
        np.testing.assert_allclose(found, expected, atol=1e-4)
