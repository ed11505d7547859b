"""Chains of layers under construction: every layer named after its network and its place in it, its weights seeded."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import keras

from models.initializers import LayerKind, WeightInitialization
from models.layers import BatchNormalization, Conv2D, Conv2DTranspose, Dense


@dataclass
class Stack:
    """A chain of layers under construction.

    Args:
        name: the network's name; layers are called `<name>_<kind><place>`.
        tensor: the output so far.
        initialization: scheme of the weights.
        slope: negative slope of the leaky ReLU that `activate` appends; 0 is ReLU.
    """

    name: str
    tensor: keras.KerasTensor
    initialization: WeightInitialization
    slope: float = 0.0
    _count: int = field(default=0, init=False)

    def _next(self, kind: str) -> str:
        self._count += 1
        return f"{self.name}_{kind}{self._count}"

    def _arguments(self, kind: LayerKind, fan_in: int, fan_out: int, use_bias: bool) -> dict[str, Any]:
        name = self._next({"convolution": "conv", "deconvolution": "deconv"}.get(kind, kind))
        arguments = self.initialization.layer_arguments(name, fan_in, fan_out, use_bias, kind)
        return {"name": name, "use_bias": use_bias, **arguments}

    def dense(self, units: int, use_bias: bool = True, dtype: str | None = None) -> None:
        """Appends a linear layer."""
        arguments = self._arguments("dense", self.tensor.shape[-1], units, use_bias)
        self.tensor = Dense(units, dtype=dtype, **arguments)(self.tensor)

    def convolve(self, filters: int, kernel: int, stride: int, use_bias: bool = True, dtype: str | None = None) -> None:
        """Appends a 'same' convolution."""
        self._convolve_by(Conv2D, filters, kernel, stride, use_bias, dtype)

    def _convolve_by(
        self,
        layer: type[keras.layers.Layer],
        filters: int,
        kernel: int,
        stride: int,
        use_bias: bool = True,
        dtype: str | None = None,
    ) -> None:
        area, channels = kernel * kernel, self.tensor.shape[-1]
        arguments = self._arguments("convolution", channels * area, filters * area, use_bias)
        self.tensor = layer(filters, kernel, stride, padding="same", dtype=dtype, **arguments)(self.tensor)

    def deconvolve(self, filters: int, kernel: int, stride: int, use_bias: bool = True) -> None:
        """Appends a 'same' transposed convolution."""
        area, channels = kernel * kernel, self.tensor.shape[-1]
        # Fans as PyTorch counts them: of the convolution that this one transposes.
        arguments = self._arguments("deconvolution", filters * area, channels * area, use_bias)
        self.tensor = Conv2DTranspose(filters, kernel, stride, padding="same", **arguments)(self.tensor)

    def batch_norm(self, **arguments: Any) -> None:
        """Appends batch normalization alone; arguments as in `models.layers.BatchNormalization`."""
        name = self._next("batch_norm")
        self.tensor = BatchNormalization(name=name, **self.initialization.gamma_arguments(name), **arguments)(
            self.tensor
        )

    def activate(self, slope: float | None = None) -> None:
        """Appends the activation."""
        slope = self.slope if slope is None else slope
        if slope:
            self.tensor = keras.layers.LeakyReLU(negative_slope=slope)(self.tensor)
        else:
            self.tensor = keras.layers.ReLU()(self.tensor)

    def reshape(self, *shape: int) -> None:
        """Appends a change of shape, channels last, such as `reshape(4, 4, 64)`."""
        self.tensor = keras.layers.Reshape(shape)(self.tensor)

    def flatten(self) -> None:
        """Appends the map as one vector, row by row, channels fastest (as TensorFlow's references have it)."""
        if len(self.tensor.shape) > 2:
            self.reshape(math.prod(self.tensor.shape[1:]))

    def function(self, name: str) -> None:
        """Appends a Keras activation such as `sigmoid` or `tanh`, in float32: for the images that come out."""
        self.tensor = keras.layers.Activation(name, dtype="float32")(self.tensor)

    def model(self, inputs: keras.KerasTensor) -> keras.Model:
        """Closes the chain."""
        return keras.Model(inputs, self.tensor, name=self.name)
