"""Convolutions of many channels whose kernels' gradients are matrix products: same numbers up to rounding, less time.

oneDNN computes the gradient of a 4 x 4 kernel at stride 2 at half the speed of its matrix products (on a processor with
AVX2). With blocks of 2 x 2 pixels taken as channels it is one such product.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers import SPARE_COLUMNS, Conv2D, Conv2DTranspose, finish, is_halving

_WIDE = 64 * 128
"""Channels in times channels out from which on the product is faster."""


@keras.saving.register_keras_serializable(package="spout")
class WideConv2D(Conv2D):
    """`Conv2D` with a fast gradient of kernels 4 x 4 at stride 2 between many channels, on a CPU in float32."""

    def convolve(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if not _is_wide(self, inputs, kernel):
            return super().convolve(inputs, kernel)
        return finish(self, _halved(inputs, kernel))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.kernel)
        return self.convolve(inputs, kernel) if _is_wide(self, inputs, kernel) else super().call(inputs)


@keras.saving.register_keras_serializable(package="spout")
class WideConv2DTranspose(Conv2DTranspose):
    """`Conv2DTranspose` with the same fast gradient of the kernel."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.kernel)
        if not _is_wide(self, inputs, kernel):
            return super().call(inputs)
        return finish(self, _doubled(inputs, kernel))


def _is_wide(layer: keras.layers.Layer, inputs: tf.Tensor, kernel: tf.Tensor) -> bool:
    """Whether the product is faster and gives the same: as measured, and for sides of whole blocks."""
    return (
        is_halving(layer)
        and kernel.shape[2] * kernel.shape[3] >= _WIDE
        and inputs.dtype == kernel.dtype == tf.float32
        and None not in inputs.shape[1:3]
        and (isinstance(layer, keras.layers.Conv2DTranspose) or all(side % 2 == 0 for side in inputs.shape[1:3]))
        and not tf.config.list_physical_devices("GPU")
    )


@tf.custom_gradient
def _halved(images: tf.Tensor, kernel: tf.Tensor) -> Any:
    """The 'same' convolution with kernel `[4, 4, in, out]` at stride 2 of images with even sides."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        back = tf.nn.conv2d_transpose(upstream, kernel, tf.shape(images), strides=2, padding="SAME")
        return back, _kernel_gradient(images, upstream)

    return tf.nn.conv2d(images, kernel, strides=2, padding="SAME"), gradient


@tf.custom_gradient
def _doubled(features: tf.Tensor, kernel: tf.Tensor) -> Any:
    """The 'same' transposed convolution with kernel `[4, 4, out, in]` at stride 2: the transpose of the above."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        back = tf.nn.conv2d(upstream, kernel, strides=2, padding="SAME")
        return back, _kernel_gradient(upstream, features)

    height, width = features.shape[1:3]
    shape = tf.stack([tf.shape(features)[0], 2 * height, 2 * width, kernel.shape[2]])
    return tf.nn.conv2d_transpose(features, kernel, shape, strides=2, padding="SAME"), gradient


def _kernel_gradient(images: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
    """The gradient `[4, 4, in, out]` of a kernel from images `[b, 2h, 2w, in]` to features `[b, h, w, out]`.

    Tap `2 * a + d` of an axis leads to feature n from pixel d of block n + a, the images being padded by 1: a product
    of all blocks and of the features shifted by a. With a row and a column of zeros behind each map, and a map of zeros
    before the first, a shift is another start in the list of all features.
    """
    channels, outputs = images.shape[-1], features.shape[-1]
    height, width = features.shape[1] + 1, features.shape[2] + 1
    blocks = tf.nn.space_to_depth(tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]]), 2)
    pixels = tf.reshape(blocks, [-1, 4 * channels])
    count = tf.shape(pixels)[0]
    listed = tf.reshape(tf.pad(features, [[1, 0], [0, 1], [0, 1], [0, 0]]), [-1, outputs])
    starts = [height * width - (a * width + b) for a in (0, 1) for b in (0, 1)]
    columns = [listed[start : start + count] for start in starts] + [tf.zeros([count, SPARE_COLUMNS])]
    taps = tf.matmul(pixels, tf.concat(columns, axis=1), transpose_a=True)[:, : 4 * outputs]
    taps = tf.reshape(taps, [2, 2, channels, 2, 2, outputs])
    return tf.reshape(tf.transpose(taps, [3, 0, 4, 1, 2, 5]), [4, 4, channels, outputs])
