"""Penalties on the gradient of a discriminator's score with respect to its images, one value per example.

The gradients come from a tape inside the tape of the update: the penalty's own gradient is of second order.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

_TINY = 1e-24


def slopes(score: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> tf.Tensor:
    """The gradients of images' scores; to be called within the tape of an update.

    Args:
        score: images to scores `[batch]`, each a function of its own image.
        images: `[batch, height, width, channels]`.

    Returns:
        `[batch, height, width, channels]`.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        scores = score(images)
    return tape.gradient(scores, images)


def gradient_norms(gradients: tf.Tensor, per_pixel: bool = False) -> tf.Tensor:
    """Euclidean norms.

    Args:
        gradients: `[batch, height, width, channels]`.
        per_pixel: a norm over the channels for each pixel, as the community code of VDB has it, and not one over all of
            an image.

    Returns:
        `[batch]`, or per pixel `[batch, height, width]`; differentiable at 0 too, where the derivative is 0.
    """
    squares = tf.reduce_sum(tf.square(tf.cast(gradients, tf.float32)), axis=-1 if per_pixel else [1, 2, 3])
    return tf.sqrt(tf.maximum(squares, _TINY))


def two_sided(gradients: tf.Tensor, per_pixel: bool = False) -> tf.Tensor:
    """`(|gradient| - 1)^2`, per pixel their mean; arguments as in `gradient_norms`.

    Returns:
        `[batch]`.

    Source: WGAN-GP (Gulrajani et al. 2017), eq. 3.
    """
    penalties = tf.square(gradient_norms(gradients, per_pixel) - 1.0)
    return tf.reduce_mean(penalties, axis=[1, 2]) if per_pixel else penalties


def zero_centered(gradients: tf.Tensor) -> tf.Tensor:
    """`|gradient|^2`, `[batch]`: R1 at real images, R2 at fakes, without the factor 1/2.

    Source: Mescheder et al. 2018, eq. 9; their code has no 1/2.
    """
    return tf.reduce_sum(tf.square(tf.cast(gradients, tf.float32)), axis=[1, 2, 3])


def interpolates(reals: tf.Tensor, fakes: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """`weight * real + (1 - weight) * fake`.

    Args:
        reals, fakes: `[batch, height, width, channels]`.
        weights: `[batch]` in [0, 1].
    """
    weights = weights[:, None, None, None]
    return weights * reals + (1.0 - weights) * fakes
