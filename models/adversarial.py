"""Objectives of GANs as functions of the scores of a batch of reals and a batch of fakes.

Each returns a part for the reals and a part for the fakes, one value per example or one for all; the objective is the
sum of their means over the global batch (`models.distribution.global_mean`). Means that an objective has inside are
over the global batch too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import tensorflow as tf

from models.distribution import all_replicas_mean
from models.losses import least_squares, sigmoid_cross_entropy

AdversarialLoss = Literal["standard", "hinge", "relativistic_hinge", "least_squares", "wasserstein"]
Parts: TypeAlias = tuple[tf.Tensor, tf.Tensor]


@dataclass(frozen=True)
class AdversarialOptions:
    """Which objective.

    Args:
        kind: `standard` (cross-entropy, non-saturating), `hinge`, `relativistic_hinge` (each score against the mean of
            the other kind), `least_squares` or `wasserstein`.
        discriminator_scale: factor of the discriminator's standard objective.
        drift: `wasserstein`: weight of the squared scores of reals.
        double_sigmoid: `standard`: scores pass a sigmoid and are then taken for logits, a slip of the community code of
            VDB (`standard-gan_with-sigmoid`).
        squares_of_means: `least_squares`: squares of a batch's mean and not means of squares, another of its slips.
    """

    kind: AdversarialLoss = "standard"
    discriminator_scale: float = 1.0
    drift: float = 0.0
    double_sigmoid: bool = False
    squares_of_means: bool = False


def _mean(scores: tf.Tensor) -> tf.Tensor:
    """The mean over the global batch, differentiable, the same on all replicas."""
    return all_replicas_mean(tf.reduce_mean(scores))


def _prepared(options: AdversarialOptions, scores: tf.Tensor) -> tf.Tensor:
    if options.kind == "standard" and options.double_sigmoid:
        return tf.sigmoid(scores)
    if options.kind == "least_squares" and options.squares_of_means:
        return _mean(scores)
    return scores


def _standard_d(options: AdversarialOptions, real: tf.Tensor, fake: tf.Tensor) -> Parts:
    scale = options.discriminator_scale
    return scale * sigmoid_cross_entropy(real, 1.0), scale * sigmoid_cross_entropy(fake, 0.0)


def _hinge_d(options: AdversarialOptions, real: tf.Tensor, fake: tf.Tensor) -> Parts:
    del options
    return tf.nn.relu(1.0 - real), tf.nn.relu(1.0 + fake)


def _relativistic_d(options: AdversarialOptions, real: tf.Tensor, fake: tf.Tensor) -> Parts:
    return _hinge_d(options, real - _mean(fake), fake - _mean(real))


def _least_squares_d(options: AdversarialOptions, real: tf.Tensor, fake: tf.Tensor) -> Parts:
    del options
    return least_squares(real, 1.0), least_squares(fake, 0.0)


def _wasserstein_d(options: AdversarialOptions, real: tf.Tensor, fake: tf.Tensor) -> Parts:
    return options.drift * tf.square(real) - real, fake


_DISCRIMINATOR: dict[str, Callable[[AdversarialOptions, tf.Tensor, tf.Tensor], Parts]] = {
    "standard": _standard_d,
    "hinge": _hinge_d,
    "relativistic_hinge": _relativistic_d,
    "least_squares": _least_squares_d,
    "wasserstein": _wasserstein_d,
}


def discriminator_parts(options: AdversarialOptions, real: tf.Tensor, fake: tf.Tensor) -> Parts:
    """What the discriminator minimizes.

    Args:
        options: which objective.
        real, fake: scores `[batch]`.

    Returns:
        the parts of the reals and of the fakes, each `[batch]` or a scalar.

    Source: Goodfellow et al. 2014; Lim and Ye 2017 (hinge); Jolicoeur-Martineau 2019 (relativistic, average);
        Mao et al. 2017; Gulrajani et al. 2017; drift: Karras et al. 2018.
    """
    return _DISCRIMINATOR[options.kind](options, _prepared(options, real), _prepared(options, fake))


def generator_parts(options: AdversarialOptions, real: tf.Tensor | None, fake: tf.Tensor) -> Parts:
    """What the generator minimizes; arguments and result as in `discriminator_parts`.

    Only the relativistic objective needs `real` (see `needs_real`); of the others the part of the reals is 0.
    """
    fake = _prepared(options, fake)
    if options.kind == "relativistic_hinge":
        if real is None:
            raise ValueError("the relativistic objective of the generator needs the scores of reals")
        # The discriminator's objective with the signs exchanged.
        return tf.nn.relu(1.0 + (real - _mean(fake))), tf.nn.relu(1.0 - (fake - _mean(real)))
    nothing = tf.zeros([])
    if options.kind == "standard":
        return nothing, sigmoid_cross_entropy(fake, 1.0)
    if options.kind == "least_squares":
        return nothing, least_squares(fake, 1.0)
    return nothing, -fake


def needs_real(options: AdversarialOptions) -> bool:
    """Whether the generator's objective depends on the scores of reals."""
    return options.kind == "relativistic_hinge"
