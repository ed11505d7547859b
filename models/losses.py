"""Objectives as pure functions: each returns one value per example; the caller averages over the global batch."""

from __future__ import annotations

import math

import tensorflow as tf


def sigmoid_cross_entropy(logits: tf.Tensor, labels: tf.Tensor | float) -> tf.Tensor:
    """Binary cross-entropy of logits; with labels 1 for fakes it is the non-saturating GAN loss.

    Args:
        logits: `[batch, 1]` or `[batch]`.
        labels: targets, usually in [0, 1] (smoothed ones may exceed 1), a scalar or `[batch]`.

    Returns:
        `[batch]` float32.

    Source: Goodfellow et al. 2014, eq. 1.
    """
    flat = tf.reshape(tf.cast(logits, tf.float32), [-1])
    targets = tf.broadcast_to(tf.cast(labels, tf.float32), tf.shape(flat))
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=flat)


def gaussian_information_lower_bound(z: tf.Tensor, reconstruction: tf.Tensor) -> tf.Tensor:
    """I_L(z, x) of IB-GAN with a unit-variance Gaussian q(z|x) and prior N(0, I); the constants cancel.

    Args:
        z: the latents `[batch, z_dim]`.
        reconstruction: the mean of q(z|x), `[batch, z_dim]`.

    Returns:
        `[batch]`: `0.5 * sum_j (z_j^2 - (z_j - zhat_j)^2)`; positive when the reconstruction tells something of z.

    Source: IB-GAN (AAAI 2021), the lower bound of the mutual information; authors' code `solver.py`.
    """
    return 0.5 * tf.reduce_sum(tf.square(z) - tf.square(z - reconstruction), axis=1)


def standard_normal_divergence(mean: tf.Tensor, log_variance: tf.Tensor) -> tf.Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)), dimension by dimension.

    Args:
        mean, log_variance: `[batch, size]`.

    Returns:
        `[batch, size]` in nats; sum over the last axis for the divergence.

    Source: Kingma and Welling 2014, appendix B.
    """
    return 0.5 * (tf.square(mean) + tf.exp(log_variance) - 1.0 - log_variance)


def bernoulli_reconstruction(logits: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """-log p(x|z) of independent Bernoulli pixels, summed over the pixels.

    Args:
        logits: of the pixels, `[batch, height, width, channels]`, in any float type.
        images: in [0, 1], of the same shape; gray values and colors are taken as probabilities.

    Returns:
        `[batch]` float32, in nats.

    Source: Kingma and Welling 2014, appendix C.1.
    """
    pixels = tf.nn.sigmoid_cross_entropy_with_logits(labels=images, logits=tf.cast(logits, tf.float32))
    return tf.reduce_sum(pixels, axis=[1, 2, 3])


def least_squares(logits: tf.Tensor, labels: tf.Tensor | float) -> tf.Tensor:
    """The least-squares GAN loss `(logit - label)^2 / 2`; arguments and result as in `sigmoid_cross_entropy`.

    Source: Mao et al. 2017, eq. 2 with a = 0, b = c = 1.
    """
    flat = tf.reshape(tf.cast(logits, tf.float32), [-1])
    return 0.5 * tf.square(flat - tf.cast(labels, tf.float32))


def categorical_log_likelihood(one_hot: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """log Q(c) of a categorical Q.

    Args:
        one_hot: the categories `[batch, categories]`.
        logits: of Q, likewise.

    Returns:
        `[batch]` float32 in nats.

    Source: InfoGAN (NIPS 2016), eq. 5.
    """
    return -tf.nn.softmax_cross_entropy_with_logits(labels=one_hot, logits=tf.cast(logits, tf.float32))


def gaussian_log_likelihood(
    values: tf.Tensor, mean: tf.Tensor, log_variance: tf.Tensor | float, epsilon: float = 0.0
) -> tf.Tensor:
    """log N(values; mean, exp(log_variance)), value by value.

    Args:
        values, mean, log_variance: `[...]`.
        epsilon: added to twice the variance and to 2 pi times the variance, default 0.

    Returns:
        `[...]` float32 in nats.

    Source: InfoGAN (NIPS 2016), appendix C: Q of a continuous code.
    """
    variance = tf.exp(tf.cast(log_variance, tf.float32))
    distance = tf.square(values - mean) / (2.0 * variance + epsilon)
    return -distance - 0.5 * tf.math.log(2.0 * math.pi * variance + epsilon)


def categorical_entropy(categories: int) -> float:
    """H(c) in nats of a uniform categorical variable."""
    return math.log(categories)


def uniform_entropy(low: float, high: float) -> float:
    """H(c) in nats of a variable uniform in [low, high]: a differential entropy, negative for ranges below 1."""
    return math.log(high - low)


def guarded_cross_entropy(logits: tf.Tensor, real: bool, epsilon: float = 1e-8) -> tf.Tensor:
    """-log(D + epsilon) or -log(1 - D + epsilon) of D = sigmoid(logits): a cross-entropy that ends somewhere.

    Args:
        logits: `[batch, 1]`.
        real: whether D should call the images real.
        epsilon: above 0; the default ends it at 18.4 nats.

    Returns:
        `[batch]` float32 in nats.

    Source: InfoGAN-CR (ICML 2020), the authors' code.
    """
    flat = tf.reshape(tf.cast(logits, tf.float32), [-1])
    return -tf.math.log(tf.sigmoid(flat if real else -flat) + epsilon)


ADVERSARIAL_LOSSES = {"cross_entropy": sigmoid_cross_entropy, "least_squares": least_squares}
