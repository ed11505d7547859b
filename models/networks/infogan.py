"""Networks of InfoGAN: generator, the trunk that D and Q share, D's head, Q's own layers and its heads.

Sources: the appendix of InfoGAN (NIPS 2016), tables 1 to 7; its authors' code for MNIST (`mnist_official`); its
best-known community re-implementation (`mnist_community`; `mnist_small` has half its channels and a quarter of its
linear units, for two CPU cores). The networks of the other data were never published as code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import keras

from models.initializers import Scheme, WeightInitialization
from models.networks.stack import Stack

Network = Literal["mnist_community", "mnist_small", "mnist_official", "svhn", "celeba", "faces", "chairs"]
_KERNEL = 4
_GAMMA_DEVIATION = 0.02


@dataclass(frozen=True)
class Convolution:
    """One (transposed) convolution with kernel 4.

    Args:
        filters: output channels.
        stride: 2 halves (doubles) the map, 1 keeps it.
        normalized: whether batch normalization follows.
    """

    filters: int
    stride: int = 2
    normalized: bool = True


@dataclass(frozen=True)
class Plan:
    """What the tables of the paper say of one data set's networks.

    Args:
        side: height and width of the images.
        stem: units of G's hidden linear layer; None: the latents go straight to the map.
        stem_bias: whether G's linear layers have biases.
        map_shape: height, width and channels of the map that G's transposed convolutions begin with.
        deconvolutions: all of G's but the last, which makes the image.
        last: activation of the image: `sigmoid` for values in [0, 1], `tanh` for values in [-1, 1].
        convolutions: of the trunk.
        features: units of the trunk's linear layer; None: the map itself is what D and Q see.
        recognition: units of Q's own hidden layer; None: Q's heads sit on the trunk.
        slope: of the leaky ReLUs of the trunk and Q.
        scheme: of the weights.
        unbiased: whether moving variances are unbiased, as in PyTorch.
    """

    side: int
    stem: int | None
    map_shape: tuple[int, int, int]
    deconvolutions: tuple[Convolution, ...]
    last: Literal["sigmoid", "tanh"]
    convolutions: tuple[Convolution, ...]
    features: int | None
    recognition: int | None
    stem_bias: bool = True
    slope: float = 0.1
    scheme: Scheme = "dcgan_tensorflow"
    unbiased: bool = False


_MNIST_TRUNK = (Convolution(64, normalized=False), Convolution(128))
_COLOR = Plan(
    side=32,
    stem=None,
    map_shape=(2, 2, 448),
    deconvolutions=(Convolution(256), Convolution(128, normalized=False), Convolution(64, normalized=False)),
    last="tanh",
    convolutions=(*_MNIST_TRUNK, Convolution(256)),
    features=None,
    recognition=128,
)

_MNIST = Plan(
    side=28,
    stem=1024,
    stem_bias=False,
    map_shape=(7, 7, 128),
    deconvolutions=(Convolution(64),),
    last="sigmoid",
    convolutions=_MNIST_TRUNK,
    features=1024,
    recognition=128,
    scheme="dcgan_pytorch",
    unbiased=True,
)

PLANS: dict[str, Plan] = {
    "mnist_community": _MNIST,
    "mnist_small": replace(
        _MNIST,
        stem=256,
        map_shape=(7, 7, 64),
        deconvolutions=(Convolution(32),),
        convolutions=(Convolution(32, normalized=False), Convolution(64)),
        features=256,
    ),
    "mnist_official": replace(_MNIST, stem_bias=True, slope=0.01, scheme="dcgan_tensorflow", unbiased=False),
    "svhn": _COLOR,
    "celeba": _COLOR,
    "faces": Plan(
        side=32,
        stem=1024,
        map_shape=(8, 8, 128),
        deconvolutions=(Convolution(64),),
        last="sigmoid",
        convolutions=_MNIST_TRUNK,
        features=1024,
        recognition=None,
    ),
    "chairs": Plan(
        side=64,
        stem=1024,
        map_shape=(8, 8, 256),
        deconvolutions=(Convolution(256, 1), Convolution(256, 1), Convolution(128), Convolution(64)),
        last="sigmoid",
        convolutions=(*_MNIST_TRUNK, Convolution(256), Convolution(256, 1), Convolution(256, 1)),
        features=1024,
        recognition=None,
    ),
}
"""The networks by name. That the last transposed convolution of G doubles the map is left out in the tables."""


@dataclass(frozen=True)
class Builder:
    """Builds the networks of a plan.

    Args:
        plan: sizes.
        channels: of the images.
        slope: of the leaky ReLUs of the trunk and Q.
        seed: the run's seed.
    """

    plan: Plan
    channels: int
    slope: float
    seed: int

    def _stack(self, name: str, inputs: keras.KerasTensor, slope: float = 0.0) -> Stack:
        initialization = WeightInitialization(self.plan.scheme, self.seed, _GAMMA_DEVIATION)
        return Stack(name, inputs, initialization, slope)

    def _finish(self, stack: Stack, normalized: bool) -> None:
        if normalized:
            stack.batch_norm(unbiased=self.plan.unbiased)
        stack.activate()

    def generator(self, latents: int, name: str = "generator") -> keras.Model:
        """Latents `[batch, latents]` to images `[batch, side, side, channels]` in the range of the plan's `last`."""
        plan = self.plan
        inputs = keras.Input([latents], name="latents")
        stack = self._stack(name, inputs)
        if plan.stem is not None:
            stack.dense(plan.stem, use_bias=plan.stem_bias)
            self._finish(stack, True)
        height, width, channels = plan.map_shape
        stack.dense(height * width * channels, use_bias=plan.stem_bias)
        self._finish(stack, True)
        stack.reshape(height, width, channels)
        for layer in plan.deconvolutions:
            stack.deconvolve(layer.filters, _KERNEL, layer.stride)
            self._finish(stack, layer.normalized)
        stack.deconvolve(self.channels, _KERNEL, 2)
        stack.function(plan.last)
        return stack.model(inputs)

    def trunk(self, name: str = "trunk") -> keras.Model:
        """Images in the range of the plan's `last` to features `[batch, size]`."""
        plan = self.plan
        inputs = keras.Input([plan.side, plan.side, self.channels], name="image")
        stack = self._stack(name, inputs, self.slope)
        for layer in plan.convolutions:
            stack.convolve(layer.filters, _KERNEL, layer.stride)
            self._finish(stack, layer.normalized)
        stack.flatten()
        if plan.features is not None:
            stack.dense(plan.features)
            self._finish(stack, True)
        return stack.model(inputs)

    def recognition(self, features: int, name: str = "recognition") -> keras.Model | None:
        """Q's own hidden layer on the trunk's features, or None if the plan has none."""
        if self.plan.recognition is None:
            return None
        inputs = keras.Input([features], name="features")
        stack = self._stack(name, inputs, self.slope)
        stack.dense(self.plan.recognition)
        self._finish(stack, True)
        return stack.model(inputs)

    def head(self, name: str, features: int, outputs: int) -> keras.Model:
        """One linear layer: features to `[batch, outputs]` float32."""
        inputs = keras.Input([features], name="features")
        stack = self._stack(name, inputs)
        stack.dense(outputs, dtype="float32")
        return stack.model(inputs)
