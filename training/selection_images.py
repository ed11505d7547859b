"""A model as ModelCentrality sees it: images with one code fixed, and an encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from common.errors import UserError
from common.progress import progress
from metrics.model_centrality import GROUP_SIZE, NUM_SPREAD_IMAGES, CentralityModel, Generated, fixed_code_images
from models.base import DisentanglementModel
from models.latents import Categorical
from models.noise import Noise
from training.experiment import Experiment, compiled_encoder

_Function = Callable[[np.ndarray], np.ndarray]
Encoder = _Function
"""Images `[b, H, W, C]` in [0, 1] to codes `[b, D]`."""


@dataclass(frozen=True)
class Protocol:
    """How many images models are compared on.

    Args:
        groups_per_code: groups of images for each code; 100 are published, for 5 and for 10 codes.
        group_size: images in a group, which share one value of one code.
        spread_images: images of the prior for the spread of the codes.
        real_images: images of the data set for UDR; how many were used is not published.
        seed: of all of them.
    """

    groups_per_code: int = 100
    group_size: int = GROUP_SIZE
    spread_images: int = NUM_SPREAD_IMAGES
    real_images: int = 10_000
    seed: int = 0


PRESETS = {
    "paper": Protocol(),
    "fast": Protocol(groups_per_code=20, group_size=50, spread_images=5_000, real_images=2_000),
}


def code_columns(model: DisentanglementModel) -> list[list[int]]:
    """The columns of the latents that belong to each code: one for a number, all of a category's."""
    return [
        list(range(code.column, code.column + (code.block.size if isinstance(code.block, Categorical) else 1)))
        for code in model.latent_space.traversals()
    ]


def encoder_of(name: str, experiment: Experiment, batch: int) -> Encoder:
    """The run's representation as a compiled function of images `[b, H, W, C]` in [0, 1], b at most `batch`.

    Raises:
        UserError: when called, if codes are not finite.
    """
    encode = _whole_batches(
        compiled_encoder(experiment.model, experiment.configuration.evaluation.representation), batch
    )

    def checked(images: np.ndarray) -> np.ndarray:
        codes = np.asarray(encode(images), np.float32)
        if not np.isfinite(codes).all():
            raise UserError(
                f"the encoder of {name} gives codes that are NaN or infinite; it has probably diverged: "
                "leave this run out"
            )
        return codes

    return checked


def centrality_model(name: str, experiment: Experiment, encode: Encoder, protocol: Protocol) -> CentralityModel:
    """A run as `metrics.model_centrality.model_centrality` takes it.

    The latents are drawn as in training (`sample_latents`), from TensorFlow's stateless noise, so that a model's images
    are the same every time.

    Args:
        name: of the run.
        experiment: the restored run.
        encode: see `encoder_of`.
        protocol: how many images.
    """
    model = experiment.model
    columns = code_columns(model)
    groups = protocol.groups_per_code * len(columns)
    parts = groups + -(-protocol.spread_images // protocol.group_size)
    sample, decode = _sampler(model), _whole_batches(_generator(model), protocol.group_size)

    def draw(rng: np.random.Generator, count: int) -> np.ndarray:
        return sample(int(rng.integers(2**31)), count)

    def generate() -> Iterable[Generated]:
        images = fixed_code_images(
            decode,
            draw,
            len(columns),
            code_columns=columns,
            num_groups=groups,
            group_size=protocol.group_size,
            num_spread_images=protocol.spread_images,
            seed=protocol.seed,
        )
        return progress(images, f"images of {name}", parts, "part")

    return CentralityModel(name, generate, encode)


def _sampler(model: DisentanglementModel) -> Callable[[int, int], np.ndarray]:
    @tf.function(autograph=False)
    def sample(seed: tf.Tensor, count: int) -> tf.Tensor:
        return tf.cast(model.sample_latents(count, Noise(seed, 0)), tf.float32)

    return lambda seed, count: sample(tf.constant(seed, tf.int64), count).numpy()


def _generator(model: DisentanglementModel) -> _Function:
    @tf.function(reduce_retracing=True, autograph=False)
    def generate(latents: tf.Tensor) -> tf.Tensor:
        return tf.cast(model.generate(latents), tf.float32)

    return lambda latents: generate(tf.convert_to_tensor(latents)).numpy()


def _whole_batches(function: _Function, size: int) -> _Function:
    """The function, always called with `size` rows: one graph, and so the same numbers in whatever order."""

    def padded(rows: np.ndarray) -> np.ndarray:
        return function(rows[np.arange(size) % len(rows)])[: len(rows)] if len(rows) < size else function(rows)

    return padded
