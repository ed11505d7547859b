"""Objectives as pure functions: each returns one value per example; the caller averages over the global batch."""

from __future__ import annotations

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


def least_squares(logits: tf.Tensor, labels: tf.Tensor | float) -> tf.Tensor:
    """The least-squares GAN loss `(logit - label)^2 / 2`; arguments and result as in `sigmoid_cross_entropy`.

    Source: Mao et al. 2017, eq. 2 with a = 0, b = c = 1.
    """
    flat = tf.reshape(tf.cast(logits, tf.float32), [-1])
    return 0.5 * tf.square(flat - tf.cast(labels, tf.float32))


ADVERSARIAL_LOSSES = {"cross_entropy": sigmoid_cross_entropy, "least_squares": least_squares}
