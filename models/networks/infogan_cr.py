"""Networks of InfoGAN-CR: generator, the trunk that D and Q share, their heads, and the contrastive discriminator H.

Source: InfoGAN-CR (ICML 2020), the authors' code: `gan/network.py` of its dSprites, 3D Teapot and CelebA folders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import keras

from models.initializers import LayerKind, WeightInitialization
from models.networks.stack import Stack
from models.spectral import SpectralConv2D, SpectralDense

Network = Literal["dsprites", "teapot", "celeba"]
Normalization = Literal["none", "spectral", "batch"]
_SLOPE = 0.2
# TensorFlow 1's fused kernel raised an epsilon of 1e-5 to this.
_BATCH_NORM: dict[str, Any] = {"momentum": 0.9, "epsilon": 1.001e-5, "unbiased": True}


@dataclass(frozen=True)
class Plan:
    """What is special about one data set's networks.

    Args:
        side: height and width of the images.
        kernel: of all convolutions.
        activation_first: whether activations come before batch normalization.
        stem: units of G's first linear layer.
        map_shape: height, width and channels of the map that G's second linear layer makes.
        deconvolutions: filters of G's transposed convolutions, without the last one.
        generator_slope: of their activations; 0 is ReLU.
        last: activation of the image: `sigmoid` for [0, 1], `tanh` for [-1, 1].
        convolutions: filters of the trunk and of H.
        features: units of the linear layer after them; None: there is none, and Q has no hidden layer either.
        contrastive: normalization of H's hidden layers; batch normalization leaves the first one out.
    """

    side: int
    kernel: int
    activation_first: bool
    stem: int
    map_shape: tuple[int, int, int]
    deconvolutions: tuple[int, ...]
    generator_slope: float
    last: Literal["sigmoid", "tanh"]
    convolutions: tuple[int, ...]
    features: int | None
    contrastive: Normalization


def _plan_of_64_pixels(contrastive: Normalization) -> Plan:
    return Plan(
        side=64,
        kernel=4,
        activation_first=True,
        stem=128,
        map_shape=(4, 4, 64),
        deconvolutions=(64, 32, 32),
        generator_slope=_SLOPE,
        last="sigmoid",
        convolutions=(32, 32, 64, 64),
        features=128,
        contrastive=contrastive,
    )


PLANS: dict[str, Plan] = {
    "dsprites": _plan_of_64_pixels("spectral"),
    "teapot": _plan_of_64_pixels("batch"),
    "celeba": Plan(
        side=32,
        kernel=5,
        activation_first=False,
        stem=1024,
        map_shape=(4, 4, 256),
        deconvolutions=(128, 64),
        generator_slope=0.0,
        last="tanh",
        convolutions=(64, 128, 256, 512),
        features=None,
        contrastive="batch",
    ),
}


@dataclass
class _Stack(Stack):
    """A chain of layers under construction, with what only InfoGAN-CR has.

    Args:
        normalization: of what `finish` finishes; spectral: also of every kernel.
        activation_first: see `Plan`.
    """

    normalization: Normalization = "none"
    activation_first: bool = True

    def _spectral_arguments(self, kind: LayerKind, fan_in: int, fan_out: int, dtype: str | None) -> dict[str, Any]:
        arguments = self._arguments(kind, fan_in, fan_out, True)
        return {**arguments, "dtype": dtype, "u_seed": self.initialization.layer_seed(arguments["name"] + "/u")}

    def dense(self, units: int, use_bias: bool = True, dtype: str | None = None) -> None:
        """Appends a linear layer."""
        if self.normalization != "spectral":
            super().dense(units, use_bias, dtype)
            return
        arguments = self._spectral_arguments("dense", self.tensor.shape[-1], units, dtype)
        self.tensor = SpectralDense(units, **arguments)(self.tensor)

    def convolve(self, filters: int, kernel: int, stride: int, use_bias: bool = True, dtype: str | None = None) -> None:
        """Appends a 'same' convolution."""
        if self.normalization != "spectral":
            super().convolve(filters, kernel, stride, use_bias, dtype)
            return
        area = kernel * kernel
        arguments = self._spectral_arguments("convolution", self.tensor.shape[-1] * area, filters * area, dtype)
        self.tensor = SpectralConv2D(filters, kernel, stride, padding="same", **arguments)(self.tensor)

    def finish(self, slope: float, normalized: bool = True) -> None:
        """Appends activation and batch normalization, in the plan's order."""
        batch_norm = normalized and self.normalization == "batch"
        if batch_norm and not self.activation_first:
            self.batch_norm(**_BATCH_NORM)
        self.activate(slope)
        if batch_norm and self.activation_first:
            self.batch_norm(**_BATCH_NORM)

    def convolve_all(self, plan: Plan) -> None:
        """Appends the convolutions of the trunk or of H, and what follows up to the features, as one vector."""
        for index, filters in enumerate(plan.convolutions):
            self.convolve(filters, plan.kernel, 2)
            self.finish(_SLOPE, normalized=index > 0)
        self.flatten()
        if plan.features is not None:
            self.dense(plan.features)
            self.finish(_SLOPE)


def build_generator(plan: Plan, latents: int, channels: int, initialization: WeightInitialization) -> keras.Model:
    """The generator.

    Args:
        plan: of the networks.
        latents: columns of the latent vector.
        channels: channels of the image.
        initialization: scheme of the weights.

    Returns:
        `[batch, latents]` to images `[batch, side, side, channels]`, in the range of `plan.last`.
    """
    inputs = keras.Input([latents], name="latents")
    stack = _Stack("generator", inputs, initialization, normalization="batch", activation_first=plan.activation_first)
    for units in (plan.stem, plan.map_shape[0] * plan.map_shape[1] * plan.map_shape[2]):
        stack.dense(units)
        stack.finish(0.0)
    stack.reshape(*plan.map_shape)
    for filters in plan.deconvolutions:
        stack.deconvolve(filters, plan.kernel, 2)
        stack.finish(plan.generator_slope)
    stack.deconvolve(channels, plan.kernel, 2)
    stack.function(plan.last)
    return stack.model(inputs)


def build_front(plan: Plan, channels: int, initialization: WeightInitialization) -> keras.Model:
    """The trunk of D and Q: images to features `[batch, features]`; arguments as in `build_generator`."""
    inputs = keras.Input([plan.side, plan.side, channels], name="image")
    stack = _Stack("front", inputs, initialization, normalization="spectral")
    stack.convolve_all(plan)
    return stack.model(inputs)


def build_discriminator(features: int, initialization: WeightInitialization) -> keras.Model:
    """D's head: features to one logit."""
    inputs = keras.Input([features], name="features")
    stack = _Stack("discriminator", inputs, initialization, normalization="spectral")
    stack.dense(1, dtype="float32")
    return stack.model(inputs)


def build_recognition(plan: Plan, features: int, codes: int, initialization: WeightInitialization) -> keras.Model:
    """Q's own layers: features to the means `[batch, codes]`."""
    inputs = keras.Input([features], name="features")
    stack = _Stack("recognition", inputs, initialization, normalization="spectral")
    if plan.features is not None:
        stack.dense(plan.features)
        stack.activate(_SLOPE)
    stack.dense(codes, dtype="float32")
    return stack.model(inputs)


def build_contrastive(plan: Plan, channels: int, codes: int, initialization: WeightInitialization) -> keras.Model:
    """H: the two images of a pair, one behind the other in the channels, to a logit for each code."""
    inputs = keras.Input([plan.side, plan.side, 2 * channels], name="pair")
    stack = _Stack(
        "contrastive",
        inputs,
        initialization,
        normalization=plan.contrastive,
        activation_first=plan.activation_first,
    )
    stack.convolve_all(plan)
    # The last layer is a plain one in all variants.
    stack.normalization = "none"
    stack.dense(codes, dtype="float32")
    return stack.model(inputs)
