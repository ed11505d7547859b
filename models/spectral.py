"""Spectral normalization as InfoGAN-CR has it: differentiated through the power iteration, its vector kept by hand."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers import Conv2D, finish

_TINY = 1e-12


def power_iteration(matrix: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
    """One power iteration: the product `n(left matrix^T) matrix` with n(a) = a / (|a| + 1e-12).

    Its norm approaches the largest singular value of the matrix, its direction the right singular vector.

    Args:
        matrix: `[rows, columns]`.
        left: `[1, columns]`, from the iteration before.

    Returns:
        `[1, columns]`.

    Source: InfoGAN-CR (ICML 2020), the authors' code.
    """
    return tf.matmul(_unit(tf.matmul(left, matrix, transpose_b=True)), matrix)


def _unit(vector: tf.Tensor) -> tf.Tensor:
    return vector / (tf.sqrt(tf.reduce_sum(tf.square(vector))) + _TINY)


class _Spectral(keras.layers.Layer):
    """Mix-in of a layer with a kernel: divides it by an estimate of its largest singular value, in every pass.

    The kernel itself stays as it is. `u`, the vector of the power iteration, changes only by `update_u`, once in a
    training step. Gradients flow through the estimate and through the power iteration; many implementations stop them
    there (and Keras' own writes the divided kernel back), which is another algorithm.

    Args:
        u_seed: of the initial `u`, which is normal, cut off at two deviations, and not of length 1.
    """

    def __init__(self, *args: Any, u_seed: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.u_seed = u_seed

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "u_seed": self.u_seed}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        self.u = self.add_weight(
            shape=(1, self.kernel.shape[-1]),
            initializer=keras.initializers.TruncatedNormal(0.0, 1.0, seed=self.u_seed),
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name="u",
        )

    def add_weight(self, *args: Any, **kwargs: Any) -> keras.Variable:
        if kwargs.get("name") == "kernel":
            # The estimate is made in float32, whatever the layer computes in.
            kwargs["autocast"] = False
        return super().add_weight(*args, **kwargs)

    def save_own_variables(self, store: Any) -> None:
        # Keras' linear layers and convolutions save what they know of by name: not `u`.
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: Any) -> None:
        keras.layers.Layer.load_own_variables(self, store)

    def _matrix(self) -> tf.Tensor:
        return tf.reshape(tf.convert_to_tensor(self.kernel), [-1, self.kernel.shape[-1]])

    def normalized_kernel(self) -> tf.Tensor:
        """The kernel divided by sigma, in the type that the layer computes in."""
        product = power_iteration(self._matrix(), tf.convert_to_tensor(self.u))
        sigma = tf.reduce_sum(product * _unit(product))
        return tf.cast(tf.convert_to_tensor(self.kernel) / sigma, self.compute_dtype)

    def update_u(self) -> None:
        """Keeps the vector that one power iteration gives with the present kernel."""
        self.u.assign(_unit(power_iteration(self._matrix(), tf.convert_to_tensor(self.u))))


@keras.saving.register_keras_serializable(package="spout")
class SpectralDense(_Spectral, keras.layers.Dense):
    """Linear layer with a spectrally normalized kernel; the bias is not.

    Args:
        *args, **kwargs: as in `keras.layers.Dense`.
        u_seed: see `update_u`: the seed of the vector before the first one.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        del training
        return finish(self, tf.matmul(inputs, self.normalized_kernel()))


@keras.saving.register_keras_serializable(package="spout")
class SpectralConv2D(_Spectral, Conv2D):
    """Convolution with a spectrally normalized kernel, taken as the matrix `[height * width * in, out]`.

    Args:
        *args, **kwargs: as in `keras.layers.Conv2D`.
        u_seed: see `update_u`: the seed of the vector before the first one.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.convolve(inputs, self.normalized_kernel(), training)


def update_spectral_vectors(network: keras.Model) -> None:
    """Updates the vectors of all spectrally normalized layers of a network, once."""
    for layer in network.layers:
        if isinstance(layer, _Spectral):
            layer.update_u()
