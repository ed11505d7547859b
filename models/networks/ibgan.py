"""Networks of IB-GAN: stochastic encoder e(r|z), generator p(x|r), reconstructor q(z|x), discriminator D(x).

Source: IB-GAN (AAAI 2021) and its authors' code, `model/model.py` (separate towers) and `model2.py` (shared front).
All networks work on 64 x 64 images: the 8 x 8 maps and the 8 x 8 convolution are part of the architecture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import keras

from models.initializers import LayerKind, WeightInitialization
from models.layers import WholeMapConv2D
from models.networks.stack import Stack

EncoderSize = Literal["small", "large"]
ENCODER_WIDTHS: dict[str, tuple[int, ...]] = {"small": (32, 32), "large": (64, 64, 32)}
IMAGE_SIZE = 64
_MAP_SIZE = 8


@dataclass
class _Stack(Stack):
    """A chain of layers under construction, with what only IB-GAN has.

    Args:
        broken_scope: reproduce the community code's initializer, which raises at the first convolution without a
            bias: everything after that layer keeps PyTorch's default.
    """

    broken_scope: bool = False

    def _arguments(self, kind: LayerKind, fan_in: int, fan_out: int, use_bias: bool) -> dict[str, Any]:
        arguments = super()._arguments(kind, fan_in, fan_out, use_bias)
        if self.broken_scope and not use_bias:
            self.initialization = WeightInitialization("pytorch", self.initialization.seed)
        return arguments

    def normalize(self, slope: float | None = None) -> None:
        """Appends batch normalization and the activation."""
        self.batch_norm()
        self.activate(slope)

    def collapse(self, filters: int) -> None:
        """Appends the 'valid' convolution that covers the whole map, without bias."""
        area = _MAP_SIZE * _MAP_SIZE
        arguments = self._arguments("convolution", self.tensor.shape[-1] * area, filters * area, False)
        self.tensor = WholeMapConv2D(filters, _MAP_SIZE, padding="valid", **arguments)(self.tensor)


def build_encoder(
    z_dim: int, r_dim: int, size: EncoderSize, initialization: WeightInitialization, name: str = "encoder"
) -> keras.Model:
    """The stochastic encoder e(r|z): the first `r_dim` outputs are the mean, the others the log variance.

    Args:
        z_dim: size of the noise z.
        r_dim: size of the bottleneck r.
        size: `small` (two layers of 32, dSprites) or `large` (64, 64, 32 with batch normalization).
        initialization: scheme of the weights.
        name: the network's name.

    Returns:
        `[batch, z_dim]` to `[batch, 2 * r_dim]`.
    """
    inputs = keras.Input([z_dim], name="z")
    stack = _Stack(name, inputs, initialization)
    for width in ENCODER_WIDTHS[size]:
        stack.dense(width)
        if size == "large":
            stack.normalize()
        else:
            stack.activate()
    stack.dense(2 * r_dim, dtype="float32")
    return stack.model(inputs)


def build_generator(
    r_dim: int,
    channels: int,
    width: int,
    initialization: WeightInitialization,
    deconvolution_initialization: WeightInitialization,
    name: str = "generator",
) -> keras.Model:
    """The generator p(x|r).

    Args:
        r_dim: size of the bottleneck r.
        channels: channels of the image.
        width: `ngf`, the base width.
        initialization: scheme of the linear layers.
        deconvolution_initialization: scheme of the transposed convolutions (the community code skips them).
        name: the network's name.

    Returns:
        `[batch, r_dim]` to images `[batch, 64, 64, channels]` in [-1, 1].
    """
    inputs = keras.Input([r_dim], name="r")
    stack = _Stack(name, inputs, initialization)
    stack.dense(16 * width)
    stack.normalize()
    stack.dense(_MAP_SIZE * _MAP_SIZE * 4 * width)
    stack.normalize()
    stack.tensor = keras.layers.Reshape([_MAP_SIZE, _MAP_SIZE, 4 * width])(stack.tensor)
    stack.initialization = deconvolution_initialization
    for filters, kernel, stride in ((4, 3, 1), (4, 3, 1), (2, 4, 2), (1, 4, 2)):
        stack.deconvolve(filters * width, kernel, stride, use_bias=False)
        stack.normalize()
    stack.deconvolve(channels, 4, 2, use_bias=True)
    stack.tensor = keras.layers.Activation("tanh", dtype="float32")(stack.tensor)
    return stack.model(inputs)


def _finish(stack: _Stack, inputs: keras.KerasTensor, outputs: int) -> keras.Model:
    stack.convolve(outputs, 1, 1, use_bias=True, dtype="float32")
    stack.tensor = keras.layers.Flatten(dtype="float32")(stack.tensor)
    return stack.model(inputs)


def build_tower(
    outputs: int,
    channels: int,
    width: int,
    initialization: WeightInitialization,
    name: str,
    hidden_slope: float | None = None,
    broken_scope: bool = False,
) -> keras.Model:
    """A whole tower on the image: D with one logit, or q, which has one hidden layer more.

    Args:
        outputs: 1 for the discriminator, `z_dim` for the reconstructor.
        channels: channels of the image.
        width: `ndf`, the base width.
        initialization: scheme of the weights.
        name: the network's name.
        hidden_slope: slope of the leaky ReLU after the reconstructor's additional hidden layer; None: no such layer.
        broken_scope: see `_Stack`.

    Returns:
        images `[batch, 64, 64, channels]` in [-1, 1] to `[batch, outputs]`.
    """
    inputs = keras.Input([IMAGE_SIZE, IMAGE_SIZE, channels], name="image")
    stack = _Stack(name, inputs, initialization, slope=0.2, broken_scope=broken_scope)
    stack.convolve(width, 4, 2, use_bias=True)
    stack.activate()
    for filters, kernel, stride in ((2, 4, 2), (4, 4, 2), (8, 3, 1)):
        stack.convolve(filters * width, kernel, stride, use_bias=False)
        stack.normalize()
    stack.collapse(16 * width)
    stack.normalize()
    if hidden_slope is not None:
        stack.convolve(16 * width, 1, 1, use_bias=True)
        stack.normalize(hidden_slope)
    return _finish(stack, inputs, outputs)


def build_front(
    channels: int, width: int, initialization: WeightInitialization, broken_scope: bool = False, name: str = "front"
) -> keras.Model:
    """The front that D and q share on CelebA and 3D Chairs: images to `[batch, 8, 8, 4 * width]` features.

    Arguments as in `build_tower`.
    """
    inputs = keras.Input([IMAGE_SIZE, IMAGE_SIZE, channels], name="image")
    stack = _Stack(name, inputs, initialization, slope=0.2, broken_scope=broken_scope)
    stack.convolve(width, 4, 2, use_bias=True)
    stack.activate()
    for filters in (2, 4):
        stack.convolve(filters * width, 4, 2, use_bias=False)
        stack.normalize()
    return stack.model(inputs)


def build_head(
    outputs: int, width: int, initialization: WeightInitialization, name: str, broken_scope: bool = False
) -> keras.Model:
    """A head on the shared front's features: `[batch, 8, 8, 4 * width]` to `[batch, outputs]`.

    Arguments as in `build_tower`.
    """
    inputs = keras.Input([_MAP_SIZE, _MAP_SIZE, 4 * width], name="features")
    stack = _Stack(name, inputs, initialization, slope=0.2, broken_scope=broken_scope)
    for _ in range(2):
        stack.convolve(4 * width, 3, 1, use_bias=False)
        stack.normalize()
    stack.collapse(16 * width)
    stack.normalize()
    return _finish(stack, inputs, outputs)
