"""Weight initialization by the schemes of the reference implementations, seeded per layer."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Literal, get_args

import keras

Scheme = Literal["normal", "xavier", "kaiming", "orthogonal", "pytorch"]


@dataclass(frozen=True)
class WeightInitialization:
    """How the weights of a network start.

    Args:
        scheme: `normal` is N(0, 0.02); `xavier`, `kaiming` are the normal forms with PyTorch's fans; `orthogonal` has
            gain 1; `pytorch` is U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for weight and bias, PyTorch's default. All
            but the last set biases to 0.
        seed: the run's seed; each layer derives its own from its name.
    """

    scheme: Scheme = "normal"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scheme not in get_args(Scheme):
            raise ValueError(f"weight initialization is {self.scheme!r}; allowed: {', '.join(get_args(Scheme))}")

    def layer_arguments(self, name: str, fan_in: int, fan_out: int, use_bias: bool = True) -> dict:
        """The initializer arguments of a Keras layer.

        Args:
            name: the layer's name, unique in the model.
            fan_in, fan_out: fans as PyTorch counts them (a transposed convolution's fan_in is out * k * k).
            use_bias: whether the layer has a bias.

        Returns:
            `kernel_initializer` and, with a bias, `bias_initializer`.
        """
        arguments = {"kernel_initializer": self._kernel(name, fan_in, fan_out)}
        if use_bias:
            arguments["bias_initializer"] = (
                self._uniform(name + "/bias", fan_in) if self.scheme == "pytorch" else keras.initializers.Zeros()
            )
        return arguments

    def _layer_seed(self, name: str) -> int:
        return zlib.crc32(f"{self.seed}/{name}".encode()) & 0x7FFFFFFF

    def _uniform(self, name: str, fan_in: int) -> keras.initializers.Initializer:
        bound = 1.0 / math.sqrt(fan_in)
        return keras.initializers.RandomUniform(-bound, bound, seed=self._layer_seed(name))

    def _kernel(self, name: str, fan_in: int, fan_out: int) -> keras.initializers.Initializer:
        if self.scheme == "pytorch":
            return self._uniform(name, fan_in)
        seed = self._layer_seed(name)
        if self.scheme == "orthogonal":
            return keras.initializers.Orthogonal(gain=1.0, seed=seed)
        deviation = {
            "normal": 0.02,
            "xavier": math.sqrt(2.0 / (fan_in + fan_out)),
            "kaiming": math.sqrt(2.0 / fan_in),
        }[self.scheme]
        return keras.initializers.RandomNormal(0.0, deviation, seed=seed)
