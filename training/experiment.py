"""An experiment: configuration, machine, data and model put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

import data_gen
from common.errors import UserError, near_matches
from data_gen.dataset import Dataset
from data_gen.features import FeatureDataset
from data_gen.pairs import AUGMENTATIONS, PairedDataset, PairFeed
from models.base import DisentanglementModel
from models.pairs import PairModel
from training.evaluation_kinds import refuse_misfits
from training.loop import TrainingLoop
from training.options import Configuration
from training.runtime import Runtime, prepare
from training.validation import with_validation

_PAIRED = ("mnist_cdcb", "cars", "facades", "maps", "afhq", "sketchy")


@dataclass(frozen=True)
class Trained:
    """What a mode works with that uses a trained model and no data.

    Args:
        configuration: what the user asked for.
        runtime: what the machine gives.
        model: the model.
    """

    configuration: Configuration
    runtime: Runtime
    model: DisentanglementModel


@dataclass(frozen=True)
class Experiment(Trained):
    """Everything that a mode works with.

    Args:
        configuration, runtime: see `Trained`.
        model: the model; configured with its optimizers where it is trained.
        dataset: the data.
        validation: pairs to choose the best checkpoint by; None: there are none.
    """

    dataset: Dataset
    validation: PairedDataset | None = None

    def loop(self) -> TrainingLoop:
        """The training loop, its data placed on the device."""
        options = self.configuration.experiment
        return TrainingLoop(
            self.model, self.runtime, self.training_data(), options.global_batch, options.seed, options.resident_data
        )

    def training_data(self) -> Dataset | PairFeed:
        """The data as the training loop takes them: for a model of pairs in tuples (x, y)."""
        if not isinstance(self.model, PairModel) or not isinstance(self.dataset, PairedDataset):
            return self.dataset
        name = self.configuration.data.augmentation
        return self.dataset.feed(augment=AUGMENTATIONS[name]() if name else None)


def build(configuration: Configuration, optimizers: bool = True) -> Experiment:
    """Builds an experiment.

    Args:
        configuration: see `training.configuration.load`.
        optimizers: see `build_model`.

    Raises:
        UserError: devices, data or options that do not fit together.
    """
    options = configuration.experiment
    runtime = prepare(options)
    data = configuration.data
    dataset = data_gen.load(data.name, source=data.source, limit=data.limit, **data.options)
    _check_batch(options.global_batch, dataset)
    model = build_model(configuration, runtime, _input_shape(configuration, dataset), optimizers)
    dataset, validation = with_validation(dataset, data)
    _check_batch(options.global_batch, dataset)
    return Experiment(configuration, runtime, model, dataset, validation)


def _check_batch(batch: int, dataset: Dataset) -> None:
    if batch > dataset.num_examples:
        raise UserError(
            f"experiment.global_batch is {batch}, but {dataset.name} has {dataset.num_examples:,} images; choose at "
            "most so many"
        )


def _input_shape(configuration: Configuration, dataset: Dataset) -> tuple[int, ...]:
    """The shape of what the model learns from: an image, or one of a pair, or a vector of a pair.

    Raises:
        UserError: data that the model cannot learn from, or what pairs cannot do.
    """
    is_features = isinstance(dataset, FeatureDataset)
    refuse_misfits(configuration.evaluation.metrics, configuration.experiment.model.takes_pairs)
    if not configuration.experiment.model.takes_pairs:
        if is_features:
            raise UserError(f"{dataset.name} has vectors in pairs and no images; choose a model of pairs, such as iiae")
        if configuration.data.augmentation is not None:
            raise UserError("data.augmentation is for models of pairs, such as iiae; leave it out")
        return dataset.image_shape
    if not is_features and not isinstance(dataset, PairedDataset):
        raise UserError(
            f"{dataset.name} has no pairs, which this model learns from; choose data.name from {', '.join(_PAIRED)}"
        )
    if is_features and configuration.data.augmentation is not None:
        raise UserError(f"data.augmentation changes images, and {dataset.name} has vectors; leave it out")
    return dataset.x_shape  # type: ignore[attr-defined, no-any-return]


def build_model(
    configuration: Configuration, runtime: Runtime, image_shape: tuple[int, ...], optimizers: bool = True
) -> DisentanglementModel:
    """Builds the configured model for images of this shape, with its optimizers, under the strategy's scope.

    Args:
        configuration, runtime: see `Trained`.
        image_shape: of an image.
        optimizers: False: without them, for a model that is used and not trained.

    Raises:
        UserError: options or image shapes that the model refuses.
    """
    options = configuration.experiment
    with runtime.strategy.scope():
        try:
            model = options.model.build(image_shape, options.seed)
            if optimizers:
                model.configure(options.optimizers, jit_compile=False)
        except ValueError as error:
            raise UserError(str(error)) from None
    return model


def image_shape_of(configuration: Configuration) -> tuple[int, ...]:
    """The shape that the model is built for, without preparing the configured data: that of their miniature."""
    data = configuration.data
    data_gen.check_source(data.name, data.source)
    return _input_shape(configuration, data_gen.load(data.name, source="synthetic", **data.options))


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
