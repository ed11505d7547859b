"""An experiment: configuration, machine, data and model put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

import data_gen
from common.errors import UserError, near_matches
from data_gen.dataset import Dataset
from models.base import DisentanglementModel
from training.loop import TrainingLoop
from training.options import Configuration
from training.runtime import Runtime, prepare


@dataclass(frozen=True)
class Experiment:
    """Everything that a mode works with.

    Args:
        configuration: what the user asked for.
        runtime: what the machine gives.
        dataset: the data.
        model: the model, configured with its optimizers.
    """

    configuration: Configuration
    runtime: Runtime
    dataset: Dataset
    model: DisentanglementModel

    def loop(self) -> TrainingLoop:
        """The training loop, its data placed on the device."""
        options = self.configuration.experiment
        return TrainingLoop(
            self.model, self.runtime, self.dataset, options.global_batch, options.seed, options.resident_data
        )


def build(configuration: Configuration) -> Experiment:
    """Builds an experiment.

    Args:
        configuration: see `training.configuration.load`.

    Raises:
        UserError: devices, data or options that do not fit together.
    """
    options = configuration.experiment
    runtime = prepare(options)
    data = configuration.data
    dataset = data_gen.load(data.name, source=data.source, limit=data.limit, **data.options)
    if options.global_batch > dataset.num_examples:
        raise UserError(
            f"experiment.global_batch is {options.global_batch}, but {dataset.name} has {dataset.num_examples} images"
        )
    return Experiment(configuration, runtime, dataset, build_model(configuration, runtime, dataset.image_shape))


def build_model(
    configuration: Configuration, runtime: Runtime, image_shape: tuple[int, int, int]
) -> DisentanglementModel:
    """Builds the configured model for images of this shape, with its optimizers, under the strategy's scope.

    Raises:
        UserError: options or image shapes that the model refuses.
    """
    options = configuration.experiment
    with runtime.strategy.scope():
        try:
            model = options.model.build(image_shape, options.seed)
            model.configure(options.optimizers, jit_compile=False)
        except ValueError as error:
            raise UserError(str(error)) from None
    return model


def image_shape_of(configuration: Configuration) -> tuple[int, int, int]:
    """The image shape of the configured data without preparing them: that of their miniature."""
    data = configuration.data
    return data_gen.load(data.name, source="synthetic", **data.options).image_shape


def compiled_encoder(
    model: DisentanglementModel, representation: str | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """A representation of the model as a compiled function of arrays.

    Args:
        model: the model.
        representation: one of the model's `representations`; None: the published one, `encode`.

    Raises:
        UserError: the model has no such representation.
    """
    known = model.representations
    if representation is not None and representation not in known:
        raise UserError(f"evaluation.representation is {representation!r}{near_matches(representation, list(known))}")
    function = model.encode if representation is None else known[representation]

    @tf.function(reduce_retracing=True, autograph=False)
    def encode(images: tf.Tensor) -> tf.Tensor:
        return function(images)

    return lambda images: encode(tf.convert_to_tensor(images)).numpy()
