"""VGAN's PyTorch contestant, where PyTorch is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.vgan import VGANOptions

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")


def contestant(style: Any, penalized: bool) -> Any:
    from benchmarks.pytorch_vgan import VGAN, pictures

    return VGAN(style, False, pictures(64), penalized)


@pytest.fixture(autouse=True)
def small_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    import benchmarks.pytorch_vgan

    monkeypatch.setattr(benchmarks.pytorch_vgan, "BATCH", 4)


@pytest.mark.parametrize("penalized", [False, True], ids=["VGAN", "VGAN-GP"])
@pytest.mark.parametrize("style", ["usual", "lean"])
def test_every_weight_is_trained(style: Any, penalized: bool) -> None:
    import torch

    model = contestant(style, penalized)
    networks = {**model.networks, "average": model.average}
    before = {
        (key, name): parameter.detach().clone()
        for key, network in networks.items()
        for name, parameter in network.named_parameters()
    }
    assert all(torch.isfinite(loss) for loss in model.step())
    after = {(key, name): p for key, network in networks.items() for name, p in network.named_parameters()}
    # The label's only number is scaled to length 1: there is nothing to learn.
    unmoved = {key for key, old in before.items() if torch.equal(old, after[key]) and key[1] != "label"}
    assert not unmoved
    assert float(model.beta) != pytest.approx(0.1, abs=1e-9)


@pytest.mark.parametrize("penalized", [False, True], ids=["VGAN", "VGAN-GP"])
def test_both_styles_take_the_same_step(penalized: bool) -> None:
    losses = []
    for style in ("usual", "lean"):
        # The constructor seeds the noise too, so one model must step before the next is built.
        losses.append([float(loss) for loss in contestant(style, penalized).step()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def theirs_by_ours(weight: np.ndarray) -> np.ndarray:
    """A Keras kernel in PyTorch's order of axes."""
    return weight.transpose(3, 2, 0, 1) if weight.ndim == 4 else weight.T


def test_the_layers_are_ours() -> None:
    """With our weights PyTorch's networks make our images, and our divergences and means of them."""
    import torch

    ours, theirs = VGANOptions(average_decay=0.0).build((32, 32, 3), 0), contestant("usual", False)
    rng = np.random.default_rng(0)
    layers: dict[str, Any] = {layer.name: layer for network in ours.networks.values() for layer in network.layers}

    def copy(name: str, module: Any) -> None:
        layer = layers[name]
        drawn = rng.normal(0.0, np.prod(layer.kernel.shape[:-1]) ** -0.5, layer.kernel.shape).astype(np.float32)
        layer.kernel.assign(drawn)
        module.weight.data = torch.from_numpy(np.ascontiguousarray(theirs_by_ours(drawn)))
        if module.bias is not None:
            module.bias.data = torch.from_numpy(layer.bias.numpy())

    def copy_block(name: str, module: Any, first: int = 1) -> None:
        convolutions = [module.first, module.second]
        if hasattr(module.shortcut, "weight"):
            convolutions.append(module.shortcut)
        for index, convolution in enumerate(convolutions, first):
            copy(f"{name}_conv{index}", convolution)

    generator, discriminator = theirs.generator, theirs.discriminator
    blocks = [module for module in generator.maps if type(module).__name__ == "Block"]
    for name, block in zip(["block4", "block8", "block16", "image32"], blocks, strict=True):
        copy_block(f"generator_{name}", block)
    copy("generator_image32_conv4", generator.maps[-2])
    blocks = [module for module in discriminator.maps if type(module).__name__ == "Block"]
    copy("encoder_image32_conv1", discriminator.maps[0])
    for name, block, first in zip(["image32", "block16", "block8", "block4"], blocks, [2, 1, 1, 1], strict=True):
        copy_block(f"encoder_{name}", block, first)
    # The dense layer's outputs are a map: height, width, channels here, channels first there.
    copy("generator_input_dense2", generator.dense)
    for tensor in (generator.dense.weight, generator.dense.bias):
        rest = tensor.shape[1:]
        tensor.data = tensor.data.reshape(4, 4, 256, *rest).movedim(2, 0).reshape(4096, *rest).contiguous()
    label = layers["generator_input_label1"].embedding.numpy()
    generator.label.data = torch.from_numpy(label)
    both = layers["encoder_bottleneck_conv1"]
    for module, half in ((discriminator.mean, slice(0, 256)), (discriminator.log_deviation, slice(256, 512))):
        kernel = both.kernel.numpy()[..., half]
        module.weight.data = torch.from_numpy(np.ascontiguousarray(theirs_by_ours(kernel)))
        module.bias.data = torch.from_numpy(both.bias.numpy()[half].copy())

    z = rng.normal(size=[2, 256]).astype(np.float32)
    with torch.no_grad():
        images = generator(torch.from_numpy(z))
        maps = discriminator.maps(images)
        mean = discriminator.mean(maps).numpy().transpose(0, 2, 3, 1)
        divergence = discriminator(images)[1].numpy()
    found = ours.generator(tf.constant(z)).numpy()
    expected = images.numpy().transpose(0, 2, 3, 1)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-4)
    ours_mean, _, ours_divergence = ours.posterior(tf.constant(expected), training=False)
    np.testing.assert_allclose(ours_mean, mean, atol=1e-4)
    np.testing.assert_allclose(ours_divergence, divergence, rtol=1e-4)
