"""Weight initialization by the schemes of the reference implementations, seeded per layer."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Literal

import keras

from models.options import check_choice, check_range

Scheme = Literal[
    "normal", "xavier", "kaiming", "orthogonal", "pytorch", "dcgan_tensorflow", "dcgan_pytorch", "tensorflow"
]
LayerKind = Literal["dense", "convolution", "deconvolution"]

_DCGAN_DEVIATION = 0.02


@dataclass(frozen=True)
class WeightInitialization:
    """How the weights of a network start.

    Args:
        scheme: `normal` is N(0, 0.02); `xavier`, `kaiming` are the normal forms with PyTorch's fans; `orthogonal` has
            gain 1; `pytorch` is U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for weight and bias, PyTorch's default; with
            `dcgan_tensorflow` convolutions are N(0, 0.02) cut off at two deviations, all others N(0, 0.02); with
            `dcgan_pytorch` convolutions and transposed ones are N(0, 0.02), linear layers and all biases PyTorch's
            default; `tensorflow` is U(-a, a) with a = sqrt(6 / (fan_in + fan_out)), TensorFlow's default. Schemes
            other than the two of PyTorch set biases to 0.
        seed: the run's seed; each layer derives its own from its name.
        gamma_deviation: batch normalization's scales start from N(1, gamma_deviation); 0: from 1.
    """

    scheme: Scheme = "normal"
    seed: int = 0
    gamma_deviation: float = 0.0

    def __post_init__(self) -> None:
        check_choice("scheme", self.scheme, Scheme)
        check_range("gamma_deviation", self.gamma_deviation)

    def layer_arguments(
        self, name: str, fan_in: int, fan_out: int, use_bias: bool = True, kind: LayerKind = "dense"
    ) -> dict[str, keras.initializers.Initializer]:
        """The initializer arguments of a Keras layer.

        Args:
            name: the layer's name, unique in the model.
            fan_in, fan_out: fans as PyTorch counts them (a transposed convolution's fan_in is out * k * k).
            use_bias: whether the layer has a bias.
            kind: of the layer; only the schemes of DCGAN tell them apart.

        Returns:
            `kernel_initializer` and, with a bias, `bias_initializer`.
        """
        arguments = {"kernel_initializer": self._kernel(name, fan_in, fan_out, kind)}
        if use_bias:
            arguments["bias_initializer"] = (
                self._uniform(name + "/bias", fan_in)
                if self.scheme in ("pytorch", "dcgan_pytorch")
                else keras.initializers.Zeros()
            )
        return arguments

    def gamma_arguments(self, name: str) -> dict[str, keras.initializers.Initializer]:
        """The initializer arguments of a batch normalization; none if its scales start from 1."""
        if not self.gamma_deviation:
            return {}
        seed = self.layer_seed(name)
        return {"gamma_initializer": keras.initializers.RandomNormal(1.0, self.gamma_deviation, seed=seed)}

    def layer_seed(self, name: str) -> int:
        """The seed of what has this name, which follows from the run's."""
        return zlib.crc32(f"{self.seed}/{name}".encode()) & 0x7FFFFFFF

    def _uniform(self, name: str, fan_in: int) -> keras.initializers.Initializer:
        bound = 1.0 / math.sqrt(fan_in)
        return keras.initializers.RandomUniform(-bound, bound, seed=self.layer_seed(name))

    def _kernel(self, name: str, fan_in: int, fan_out: int, kind: LayerKind) -> keras.initializers.Initializer:
        if self.scheme == "pytorch" or (self.scheme == "dcgan_pytorch" and kind == "dense"):
            return self._uniform(name, fan_in)
        seed = self.layer_seed(name)
        if self.scheme == "tensorflow":
            bound = math.sqrt(6.0 / (fan_in + fan_out))
            return keras.initializers.RandomUniform(-bound, bound, seed=seed)
        if self.scheme == "orthogonal":
            return keras.initializers.Orthogonal(gain=1.0, seed=seed)
        if self.scheme == "dcgan_tensorflow" and kind == "convolution":
            return keras.initializers.TruncatedNormal(0.0, _DCGAN_DEVIATION, seed=seed)
        deviation = {
            "normal": 0.02,
            "dcgan_tensorflow": _DCGAN_DEVIATION,
            "dcgan_pytorch": _DCGAN_DEVIATION,
            "xavier": math.sqrt(2.0 / (fan_in + fan_out)),
            "kaiming": math.sqrt(2.0 / fan_in),
        }[self.scheme]
        return keras.initializers.RandomNormal(0.0, deviation, seed=seed)
