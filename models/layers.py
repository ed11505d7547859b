"""Layers that compute what Keras computes, with the kernels that are fast: same numbers, same weights."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import keras
import tensorflow as tf

from models.distribution import replica_count

_FREE_BATCH_STATISTICS: contextvars.ContextVar[bool] = contextvars.ContextVar("free_batch_statistics", default=False)


@contextlib.contextmanager
def batch_statistics() -> Iterator[None]:
    """Within this context batch normalization uses the statistics of its input and leaves the moving ones alone.

    The community code of IB-GAN and IIAE draws its pictures this way (networks never switched to evaluation mode).
    """
    token = _FREE_BATCH_STATISTICS.set(True)
    try:
        yield
    finally:
        _FREE_BATCH_STATISTICS.reset(token)


@keras.saving.register_keras_serializable(package="spout")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization over the last axis, by TensorFlow's fused kernel, synchronized over replicas.

    Keras 3 composes the training pass of moments and arithmetic, which is several times slower on a CPU. On one
    replica this layer calls `FusedBatchNormV3`; on several it falls back to Keras' synchronized moments, so that a
    global batch gives the same numbers however it is split. The moving variance is the biased one, as in Keras
    (PyTorch keeps the unbiased one; only inference sees the difference).

    Args:
        momentum: decay of the moving statistics, default 0.9 (PyTorch's momentum 0.1).
        epsilon: added to the variance, default 1e-5 (PyTorch's default).
        **kwargs: as in `keras.layers.BatchNormalization`.
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs) -> None:
        kwargs.setdefault("synchronized", True)
        super().__init__(momentum=momentum, epsilon=epsilon, **kwargs)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        free = _FREE_BATCH_STATISTICS.get()
        if not (training or free):
            return super().call(inputs, training=False, mask=mask)
        if replica_count() > 1 and not free:
            return super().call(inputs, training=True, mask=mask)
        shape = tf.shape(inputs)
        images = inputs if inputs.shape.rank == 4 else tf.reshape(inputs, [-1, 1, 1, inputs.shape[-1]])
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=images,
            scale=tf.cast(self.gamma, tf.float32),
            offset=tf.cast(self.beta, tf.float32),
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
            is_training=True,
        )
        if not free:
            count = tf.cast(tf.size(images) // images.shape[-1], tf.float32)
            # The kernel returns Bessel's unbiased variance; Keras keeps the biased one.
            variance *= (count - 1.0) / count
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + tf.stop_gradient(batch) * (1.0 - self.momentum))
        return outputs if inputs.shape.rank == 4 else tf.reshape(outputs, shape)


@keras.saving.register_keras_serializable(package="spout")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """Transposed convolution; at stride 1 computed as the equal convolution with the flipped kernel.

    TensorFlow runs a transposed convolution as the gradient of a convolution, which its CPU kernels do slowly.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if tuple(self.strides) != (1, 1) or self.padding != "same" or self.kernel_size[0] % 2 == 0:
            return super().call(inputs)
        kernel = tf.transpose(tf.convert_to_tensor(self.kernel)[::-1, ::-1], [0, 1, 3, 2])
        outputs = tf.nn.conv2d(inputs, kernel, strides=1, padding="SAME")
        if self.use_bias:
            outputs = tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias))
        return self.activation(outputs) if self.activation is not None else outputs


@keras.saving.register_keras_serializable(package="spout")
class WholeMapConv2D(keras.layers.Conv2D):
    """A 'valid' convolution whose kernel covers its whole input: one output pixel, computed as a matrix product."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if self.padding != "valid" or tuple(input_shape[1:3]) != tuple(self.kernel_size):
            raise ValueError(
                f"WholeMapConv2D {self.name!r} needs padding 'valid' and a kernel of the input's height and width; "
                f"got padding {self.padding!r}, kernel {self.kernel_size}, input {tuple(input_shape[1:3])}"
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        features = inputs.shape[1] * inputs.shape[2] * inputs.shape[3]
        kernel = tf.reshape(tf.convert_to_tensor(self.kernel), [features, self.filters])
        outputs = tf.reshape(inputs, [-1, features]) @ kernel
        if self.use_bias:
            outputs = tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias))
        outputs = tf.reshape(outputs, [-1, 1, 1, self.filters])
        return self.activation(outputs) if self.activation is not None else outputs
