"""Scores a generator: draws images, turns them into features or probabilities once, and measures all that is asked.

from metrics.features import inception_v3
from metrics.generation import score_generator
score_generator(dataset, lambda start, count: images[start : start + count], inception_v3())
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from common.errors import UserError, near_matches
from metrics.arrays import IntArray
from metrics.feature_statistics import FeatureStatistics, cached_statistics, statistics_of
from metrics.features import Extractor, checked_images, qualified
from metrics.fid import STANDARD_IMAGES, fid_of_statistics, kid, kid_all
from metrics.inception_score import SPLITS, confidence, inception_score, mode_kl
from metrics.precision_recall import precision, recall
from metrics.protocols import generator
from metrics.results import MetricResult, refusable

Generate = Callable[[int, int], npt.ArrayLike]
"""First number and count -> the images `[count, H, W, C]` with these numbers, floats in [0, 1] or uint8."""

Progress = Callable[[int, int], None]
"""Called with how many images have their features, and how many there are."""

Memory = dict[str, Any]
"""What real images gave, kept from one measurement to the next of the same data by the same extractor."""

FEATURE_METRICS = ("fid", "kid", "kid_all", "improved_precision", "improved_recall")
CLASS_METRICS = ("inception_score", "inception_score_10_splits", "confidence", "mode_kl")

VGAN_FAKES = 5_000
VGAN_REALS = 10_000
VGAN_BATCH = 64
_IMAGES_AT_ONCE = 256


class ImageData(Protocol):
    """What is needed of real data; `data_gen.dataset.Dataset` is one."""

    @property
    def name(self) -> str:
        """The data set's name, for messages."""

    @property
    def num_examples(self) -> int:
        """How many images there are."""

    def images_at(self, indices: IntArray, /) -> npt.NDArray[np.uint8]:
        """The images `[n, H, W, C]` at these indices `[n]`."""

    def fingerprint(self) -> str:
        """A hash of all images."""


def score_generator(
    data: ImageData,
    generate: Generate,
    extractor: Extractor,
    metric_ids: Iterable[str] = ("fid",),
    num_fakes: int = STANDARD_IMAGES,
    num_reals: int | None = STANDARD_IMAGES,
    seed: int = 0,
    cache: Path | None = None,
    progress: Progress | None = None,
    memory: Memory | None = None,
) -> dict[str, MetricResult]:
    """Compares generated with real images by their features; each image is drawn and looked at once.

    For `fid` alone only means and covariances are kept; the other metrics keep all features in memory.

    Args:
        data: real images, as the sets of `data_gen` are.
        generate: the images with these numbers, in [0, 1]; numbers are asked for once each, in ascending order.
        extractor: images -> features; see `metrics.features`.
        metric_ids: of "fid" (the default), "kid", "kid_all", "improved_precision", "improved_recall".
        num_fakes: how many images to generate, default 50,000, as usual.
        num_reals: how many real images, drawn without replacement; of a smaller data set all. `None`: the whole data
            set. Default: 50,000.
        seed: of the real images and of KID's subsets.
        cache: a folder for the statistics of real images. Default: they are computed each time.
        progress: told how far it is.
        memory: filled with what real images give, for the next call. Default: nothing is kept.

    Returns:
        results by id, each with the extractor's id behind it (`fid_keras_inception_v3_0123abcd`).

    Raises:
        UserError: for an unknown id, too few images, or features that are not finite.
        ValueError: if images or features have another shape or range.
    """
    chosen = _known(metric_ids, FEATURE_METRICS)
    numbers = _real_numbers(data, num_reals, seed)
    which = "all" if numbers.size == data.num_examples else f"{numbers.size} by seed {seed}"
    kept: Memory = {} if memory is None else memory
    statistics_key, table_key = f"statistics of {which}", f"features of {which}"
    is_known = (statistics_key if chosen == ["fid"] else table_key) in kept
    watch = _Watch(progress, num_fakes, 0 if is_known else numbers.size)
    real = _features(extractor, _real_images(data, numbers), watch)
    fake = _features(extractor, _generated(generate, num_fakes), watch)

    def real_statistics(features: Iterable[npt.ArrayLike]) -> FeatureStatistics:
        if statistics_key not in kept:
            kept[statistics_key] = _real_statistics(data, which, extractor, features, cache)
        return kept[statistics_key]  # type: ignore[no-any-return]

    if chosen == ["fid"]:
        # Nothing but sums is kept: 50,000 images of 2,048 features would take 800 MB in double precision.
        of_real = real_statistics(real)
        watch.expect(num_fakes)
        of_fake = statistics_of("features_fake", fake)
        result = refusable("fid", lambda: fid_of_statistics(of_real, of_fake))
        return {qualified("fid", extractor.id): _finished(result, extractor, num_fakes)}
    if table_key not in kept:
        kept[table_key] = np.concatenate(list(real))
    real_table, fake_table = kept[table_key], np.concatenate(list(fake))
    functions: dict[str, Callable[[], MetricResult]] = {
        "fid": lambda: fid_of_statistics(real_statistics(real_table), statistics_of("features_fake", fake_table)),
        "kid": lambda: kid(real_table, fake_table, seed=seed),
        "kid_all": lambda: kid_all(real_table, fake_table),
        "improved_precision": lambda: precision(real_table, fake_table),
        "improved_recall": lambda: recall(real_table, fake_table),
    }
    return {
        qualified(name, extractor.id): _finished(refusable(name, functions[name]), extractor, num_fakes)
        for name in chosen
    }


def vgan_compat_fid(
    data: ImageData,
    generate: Generate,
    extractor: Extractor,
    seed: int = 0,
    batch_size: int = VGAN_BATCH,
    progress: Progress | None = None,
    cache: Path | None = None,
    memory: Memory | None = None,
) -> dict[str, MetricResult]:
    """FID in the protocol of VGAN's official code, which no other FID can be compared with: `fid_vgan_compat`.

    5,000 generated images, rounded up to whole batches (5,056 of 64), are held against 10,000 real ones, rounded down
    (9,984). Every batch of reals is drawn from the whole data set anew, so that images repeat, each is mirrored with
    probability one half and gets uniform noise up to 1/128. All are in [-1, 1], where the network expects [0, 1].

    Args:
        data: real images.
        generate: the images with these numbers, in [0, 1].
        extractor: `inception_v3(vgan_compat=True)`, or another one for images in [-1, 1 + 1/128].
        seed: of what is drawn of real images.
        batch_size: default 64, as published for CIFAR-10; it determines the counts.
        progress: told how far it is.
        cache: a folder for the statistics of real images. Default: they are computed each time.
        memory: filled with what real images give, for the next call. Default: nothing is kept.

    Returns:
        one result, under `fid_vgan_compat` with the extractor's id behind it.

    Raises:
        UserError: if the data set has fewer images than a batch.
        ValueError: if the extractor takes images of another range.

    Source: Peng et al., VDB, ICLR 2019, `gan_training/eval.py` and `metrics/fid_score.py` of the official code.
    """
    if (extractor.lowest, extractor.highest) != (-1.0, 1.0 + 1 / 128):
        raise ValueError(f"{extractor.id} takes images in [{extractor.lowest:g}, {extractor.highest:g}], not [-1, 1]")
    if not 1 <= batch_size <= data.num_examples:
        raise UserError(f"batch_size is {batch_size}; {data.name} has {data.num_examples:,} images: allowed up to that")
    fakes, reals = vgan_counts(batch_size)
    kept: Memory = {} if memory is None else memory
    which = f"{reals} as VGAN's code draws them, in batches of {batch_size}, by seed {seed}"
    watch = _Watch(progress, fakes, 0 if which in kept else reals)
    if which not in kept:
        real_features = _features(extractor, vgan_reals(data, seed, batch_size), watch)
        kept[which] = _real_statistics(data, which, extractor, real_features, cache)
    watch.expect(fakes)
    real = kept[which]
    centered = (2.0 * images - 1.0 for images in _generated(generate, fakes))
    fake = statistics_of("features_fake", _features(extractor, centered, watch))
    result = refusable("fid_vgan_compat", lambda: fid_of_statistics(real, fake))
    note = f"{fakes:,} generated and {reals:,} real images as in VGAN's code; not comparable with any other FID"
    name = qualified("fid_vgan_compat", extractor.id)
    return {name: dataclasses.replace(result, extractor=extractor.id).with_notes((note,))}  # type: ignore[call-arg]


def vgan_counts(batch_size: int = VGAN_BATCH) -> tuple[int, int]:
    """How many generated and real images VGAN's code looks at.

    Example:
        >>> vgan_counts(64)
        (5056, 9984)
    """
    return math.ceil(VGAN_FAKES / batch_size) * batch_size, VGAN_REALS // batch_size * batch_size


def vgan_reals(data: ImageData, seed: int, batch_size: int = VGAN_BATCH) -> Iterator[npt.NDArray[np.float32]]:
    """The real images of `vgan_compat_fid`: batches `[batch_size, H, W, C]` in [-1, 1 + 1/128]."""
    rng = generator(seed, "vgan reals")
    for _ in range(vgan_counts(batch_size)[1] // batch_size):
        numbers = rng.choice(data.num_examples, batch_size, replace=False)
        images = 2.0 * checked_images(data.images_at(numbers)) - 1.0
        mirrored = rng.random(batch_size) < 0.5
        images[mirrored] = images[mirrored, :, ::-1]
        yield images + rng.random(images.shape, dtype=np.float32) / np.float32(128)


def score_classes(
    generate: Generate,
    classifier: Callable[[npt.NDArray[np.float32]], npt.ArrayLike],
    classifier_id: str,
    metric_ids: Iterable[str] = ("inception_score", "confidence", "mode_kl"),
    num_fakes: int = STANDARD_IMAGES,
    progress: Progress | None = None,
) -> dict[str, MetricResult]:
    """Scores generated images by a classifier's probabilities.

    Args:
        generate: the images with these numbers, in [0, 1].
        classifier: images -> probabilities `[n, C]`: for dSprites a `metrics.shape_classifier.ShapeClassifier`.
        classifier_id: its id.
        metric_ids: of "inception_score", "confidence", "mode_kl" (the default) and "inception_score_10_splits".
        num_fakes: how many images to generate, default 50,000, as published.
        progress: told how far it is.

    Returns:
        results by id, each with the classifier's id behind it.

    Raises:
        UserError: for an unknown id or too few images.
    """
    chosen = _known(metric_ids, CLASS_METRICS)
    watch = _Watch(progress, num_fakes)
    blocks = []
    for images in _generated(generate, num_fakes):
        blocks.append(np.asarray(classifier(images)))
        watch.add(len(images))
    probabilities = np.concatenate(blocks)
    functions: dict[str, Callable[[], MetricResult]] = {
        "inception_score": lambda: inception_score(probabilities, 1, classifier_id),
        "inception_score_10_splits": lambda: inception_score(probabilities, SPLITS, classifier_id),
        "confidence": lambda: confidence(probabilities, classifier_id),
        "mode_kl": lambda: mode_kl(probabilities, classifier_id),
    }
    notes: tuple[str, ...] = ()
    if num_fakes != STANDARD_IMAGES:
        notes = (f"{num_fakes:,} generated images, where the published protocol has {STANDARD_IMAGES:,}",)
    return {qualified(name, classifier_id): refusable(name, functions[name]).with_notes(notes) for name in chosen}


class _Watch:
    """Counts images for `Progress`."""

    def __init__(self, progress: Progress | None, fakes: int, reals: int = 0) -> None:
        if fakes < 1:
            raise UserError(f"the number of generated images is {fakes}; it must be 1 or more")
        self._progress, self._total, self._done = progress, fakes + reals, 0

    def expect(self, count: int) -> None:
        """So many images are left: those whose statistics a file had are never looked at."""
        self._total = self._done + count

    def add(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)


def _known(metric_ids: Iterable[str], allowed: tuple[str, ...]) -> list[str]:
    if isinstance(metric_ids, str):
        raise TypeError("metric_ids must be a list of ids, not one string")
    chosen = list(dict.fromkeys(metric_ids))
    for name in chosen:
        if name not in allowed:
            raise UserError(f"there is no metric {name!r} of generated images{near_matches(name, allowed)}")
    if not chosen:
        raise UserError(f"no metric was chosen; allowed: {', '.join(allowed)}")
    return chosen


def _real_numbers(data: ImageData, wanted: int | None, seed: int) -> IntArray:
    if wanted is None or wanted >= data.num_examples:
        return np.arange(data.num_examples)
    return np.sort(generator(seed, "real images").choice(data.num_examples, wanted, replace=False, shuffle=False))


def _real_images(data: ImageData, numbers: IntArray) -> Iterator[npt.NDArray[np.float32]]:
    for start in range(0, numbers.size, _IMAGES_AT_ONCE):
        yield checked_images(data.images_at(numbers[start : start + _IMAGES_AT_ONCE]))


def _real_statistics(
    data: ImageData, which: str, extractor: Extractor, features: Iterable[npt.ArrayLike], cache: Path | None
) -> FeatureStatistics:
    """The statistics of real images, from a file of the cache if there is one."""
    if cache is None:
        return statistics_of("features_real", features)
    key = {
        "data": data.fingerprint(),
        "images": which,
        "extractor": extractor.id,
        "preprocessing": extractor.preprocessing,
    }
    return cached_statistics(cache, key, lambda: statistics_of("features_real", features))


def _generated(generate: Generate, count: int) -> Iterator[npt.NDArray[np.float32]]:
    for start in range(0, count, _IMAGES_AT_ONCE):
        wanted = min(_IMAGES_AT_ONCE, count - start)
        images = checked_images(np.asarray(generate(start, wanted)))
        if len(images) != wanted:
            raise ValueError(f"generate returned {len(images)} images, not the {wanted} asked for")
        yield images


def _features(
    extractor: Extractor, batches: Iterable[npt.NDArray[np.float32]], watch: _Watch
) -> Iterator[npt.NDArray[np.floating[Any]]]:
    for images in batches:
        yield extractor(images)
        watch.add(len(images))


def _finished(result: MetricResult, extractor: Extractor, num_fakes: int) -> MetricResult:
    notes: tuple[str, ...] = ()
    if num_fakes != STANDARD_IMAGES:
        notes = (f"{num_fakes:,} generated images, where {STANDARD_IMAGES:,} are usual",)
    return dataclasses.replace(result, extractor=extractor.id).with_notes(notes)  # type: ignore[call-arg]
