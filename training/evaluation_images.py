"""Scores of generated images: those that the model makes from its prior, as a network sees them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from common.errors import UserError
from data_gen.dataset import Dataset
from data_gen.features import FeatureDataset
from metrics.features import INCEPTION_FEATURES, Extractor, from_keras_file, inception_v3, qualified
from metrics.fid import KID_SUBSET_SIZE, STANDARD_IMAGES
from metrics.generation import VGAN_BATCH, Memory, score_classes, score_generator, vgan_compat_fid, vgan_counts
from metrics.inception_score import SPLITS
from metrics.precision_recall import NEIGHBORS
from metrics.results import MetricResult
from metrics.shape_classifier import IMAGE_SHAPE, ShapeClassifier
from models.base import DisentanglementModel
from models.noise import Noise
from training.evaluation_kinds import OF_IMAGES, Kind, of_kinds
from training.options import EvaluationOptions

Progress = Callable[[int, int], None]
Network = Extractor | ShapeClassifier

_RANGE_OF_VGAN = (-1.0, 1.0 + 1 / 128)
_PROBABILITY_TOLERANCE = 1e-3


class ImageMetrics:
    """Measures what of `evaluation.metrics` is of generated images; networks are loaded once, when first needed.

    Args:
        model: makes the images from its prior.
        dataset: real images to hold against them.
        options: metrics, extractor, and numbers of images.
    """

    def __init__(self, model: DisentanglementModel, dataset: Dataset, options: EvaluationOptions) -> None:
        self._model, self._dataset, self._options = model, dataset, options
        self._ids = {kind: of_kinds(options.metrics, kind) for kind in OF_IMAGES}
        self._networks: dict[Kind, Network] = {}
        self._feature_counts: dict[Kind, int] = {}
        self._memories: dict[Kind, Memory] = {kind: {} for kind in OF_IMAGES}
        self._compiled = tf.function(model.generate, reduce_retracing=True, autograph=False)

    @property
    def metrics(self) -> list[str]:
        """The metrics that are measured here."""
        return of_kinds(self._options.metrics, *OF_IMAGES)

    def refuse_impossible(self, presets: Sequence[str]) -> None:
        """Loads the networks, and refuses what they or the numbers of images do not suffice for.

        Raises:
            UserError: weights that are not to be had, data without images, too few images.
        """
        if not self.metrics:
            return
        if isinstance(self._dataset, FeatureDataset):
            raise UserError(
                f"evaluation.metrics: {self.metrics[0]} is of images, and {self._dataset.name} has none; leave it out"
            )
        for kind, ids in self._ids.items():
            if ids:
                self._network(kind)
        for preset in presets:
            self._refuse_too_few(preset)

    def identity(self, preset: str) -> dict[str, Any]:
        """What the scores depend on, beyond the weights and the data; nothing if nothing is measured."""
        if not self.metrics:
            return {}
        networks = sorted(self._network(kind).id for kind, ids in self._ids.items() if ids)
        return {"extractors": networks, "generated_images": self._generated_images(preset)}

    def scores(self, preset: str, cache: Path | None, progress: Progress | None) -> dict[str, dict[str, MetricResult]]:
        """The results of each metric, by the metric's id and then by the id that names the network too.

        Args:
            preset: `paper` or `fast`.
            cache: a folder for the statistics of real images; None: only memory keeps them.
            progress: told how many images the network has seen, and of how many.

        Raises:
            UserError: as `refuse_impossible`; images that are not finite.
        """
        self.refuse_impossible([preset])
        found: dict[str, MetricResult] = {}
        for kind, ids in self._ids.items():
            if ids:
                try:
                    found |= self._measured(kind, ids, preset, cache, progress)
                except (TypeError, ValueError) as error:
                    raise UserError(f"{', '.join(ids)}: {error}") from None
        full = {name: qualified(name, self._network(kind).id) for kind, ids in self._ids.items() for name in ids}
        return {name: {full[name]: found[full[name]]} for name in self.metrics}

    def _measured(
        self, kind: Kind, ids: list[str], preset: str, cache: Path | None, progress: Progress | None
    ) -> dict[str, MetricResult]:
        network, seed, memory = self._network(kind), self._options.seed, self._memories[kind]
        fakes, reals = self._generated_images(preset), self._real_images(preset)
        if kind == "probabilities":
            return score_classes(self.generate, network, network.id, ids, fakes, progress)
        if not isinstance(network, Extractor):
            raise TypeError(f"{network.id} gives probabilities, no features")
        if kind == "vgan_features":
            return vgan_compat_fid(
                self._dataset, self.generate, network, seed, progress=progress, cache=cache, memory=memory
            )
        results = score_generator(
            self._dataset, self.generate, network, ids, fakes, reals, seed, cache, progress, memory
        )
        if reals >= min(STANDARD_IMAGES, self._dataset.num_examples):
            return results
        note = f"{reals:,} of the {self._dataset.num_examples:,} real images (preset {preset})"
        return {name: result.with_notes((note,)) for name, result in results.items()}

    def generate(self, start: int, count: int) -> np.ndarray:
        """The generated images `[count, H, W, C]` in [0, 1] from number `start` on, a function of weights and seed."""
        batch = self._options.batch
        latents = self._model.sample_latents(count, Noise(self._options.seed, start)).numpy()
        whole = latents[np.arange(-(-count // batch) * batch) % count]
        parts = [self._compiled(tf.constant(whole[i : i + batch])).numpy() for i in range(0, len(whole), batch)]
        return np.concatenate(parts)[:count].astype(np.float32)

    def _generated_images(self, preset: str) -> int:
        options = self._options
        return options.generated_images if preset == "paper" else options.generated_images_fast

    def _real_images(self, preset: str) -> int:
        most = STANDARD_IMAGES if preset == "paper" else self._options.generated_images_fast
        return min(most, self._dataset.num_examples)

    def _network(self, kind: Kind) -> Network:
        if kind not in self._networks:
            network = load_network(self._options.extractor, kind, self._dataset)
            is_inception = self._options.extractor.endswith(("inception", ".h5"))
            self._feature_counts[kind] = INCEPTION_FEATURES if is_inception else self._probed(network, kind)
            self._networks[kind] = network
        return self._networks[kind]

    def _probed(self, network: Network, kind: Kind) -> int:
        """How many numbers the network makes of an image, after a look at a black one."""
        try:
            outputs = np.asarray(network(np.zeros((1, *self._dataset.image_shape), np.float32)))
        except (TypeError, ValueError) as error:
            raise UserError(f"evaluation.extractor {self._options.extractor!r}: {error}") from None
        adds_up = abs(float(outputs.sum()) - 1.0) <= _PROBABILITY_TOLERANCE and float(outputs.min()) >= 0.0
        if kind == "probabilities" and not adds_up:
            raise UserError(
                f"evaluation.extractor {self._options.extractor!r} gives no probabilities (of a black image they add "
                f"up to {float(outputs.sum()):.4g}), which {self._ids[kind][0]} needs; end it in a softmax"
            )
        return int(outputs.shape[1])

    def _refuse_too_few(self, preset: str) -> None:
        option = "evaluation.generated_images" + ("" if preset == "paper" else "_fast")
        fakes, reals = self._generated_images(preset), self._real_images(preset)
        needed = {
            "fid": self._feature_counts.get("features", 0) + 1,
            "kid": KID_SUBSET_SIZE,
            "kid_all": 2,
            "improved_precision": NEIGHBORS + 1,
            "improved_recall": NEIGHBORS + 1,
        }
        for name in self._ids["features"]:
            for what, count in ((option, fakes), (f"the number of real images in {self._dataset.name}", reals)):
                if count < needed[name]:
                    raise UserError(f"{what} is {count:,}, but {name} needs at least {needed[name]:,} images")
        splits = 2 * SPLITS if "inception_score_10_splits" in self._ids["probabilities"] else 2
        if self._ids["probabilities"] and fakes < splits:
            raise UserError(f"{option} is {fakes}, but {self._ids['probabilities'][0]} needs at least {splits} images")
        if self._ids["vgan_features"]:
            if self._dataset.num_examples < VGAN_BATCH:
                raise UserError(
                    f"{self._dataset.name} has {self._dataset.num_examples} images, but fid_vgan_compat draws batches "
                    f"of {VGAN_BATCH}; leave it out"
                )
            if self._feature_counts["vgan_features"] >= vgan_counts()[0]:
                raise UserError(
                    f"fid_vgan_compat looks at {vgan_counts()[0]:,} images, too few for the "
                    f"{self._feature_counts['vgan_features']:,} features of {self._options.extractor!r}"
                )


def load_network(extractor: str, kind: Kind, dataset: Dataset) -> Network:
    """The network that an option names.

    Args:
        extractor: `evaluation.extractor`.
        kind: what it is for.
        dataset: whose images it will see.

    Raises:
        UserError: weights or a file that cannot be had, or a network that cannot serve this.
    """
    output = "probabilities" if kind == "probabilities" else "features"
    if extractor == "shape_classifier":
        return _shape_classifier(kind, dataset)
    if extractor.endswith(".keras"):
        network = from_keras_file(Path(extractor), dataset.image_shape)
        if kind != "vgan_features":
            return network
        lowest, highest = _RANGE_OF_VGAN
        about = f"images in [-1, {highest:.8g}] for a network of images in [0, 1]"
        return dataclasses.replace(
            network, id=f"{network.id}_vgan", preprocessing=about, lowest=lowest, highest=highest
        )
    if dataset.image_shape[-1] not in (1, 3):
        raise UserError(
            f"evaluation.extractor {extractor!r}: InceptionV3 takes images of 1 or 3 channels, not those of "
            f"{dataset.name}; choose a .keras file"
        )
    weights = None if extractor == "inception" else Path(extractor)
    try:
        return inception_v3(weights, output, vgan_compat=kind == "vgan_features")
    except UserError as error:
        raise UserError(f"evaluation.extractor {extractor!r}: {error}") from None


def _shape_classifier(kind: Kind, dataset: Dataset) -> Network:
    if kind == "vgan_features":
        raise UserError(
            "evaluation.extractor is 'shape_classifier', but fid_vgan_compat shows images in [-1, 1] to Inception; "
            "choose 'inception' or a .keras file, or fid"
        )
    if dataset.image_shape != IMAGE_SHAPE or not dataset.name.startswith("dsprites"):
        raise UserError(
            f"evaluation.extractor is 'shape_classifier', which knows the shapes of dSprites, not {dataset.name}; "
            "choose 'inception' or a .keras file"
        )
    classifier = ShapeClassifier()
    return classifier if kind == "probabilities" else classifier.features()
