"""Scores of generated images by a classifier's probabilities: Inception Score, confidence, and balance of the modes."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import numpy.typing as npt

from metrics.arrays import FloatArray, IntArray, listed, real_array
from metrics.results import MetricResult

SPLITS = 10
_SUM_TOLERANCE = 1e-3
_BLOCK_ROWS = 4096


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class InceptionScoreResult(MetricResult):
    """The Inception Score.

    Args:
        std: standard deviation over the splits; of one split that of the images' divergences, `log_std`.
        log_std: standard deviation, over all images, of the divergences whose mean is the score's logarithm.
        splits: into how many parts the images were cut.
        count: how many images.
        classes: how many classes, the highest possible score.
        extractor: id of the classifier; empty if it is not known.
    """

    std: float
    log_std: float
    splits: int
    count: int
    classes: int
    extractor: str


def inception_score(probabilities: npt.ArrayLike, splits: int = 1, extractor: str = "") -> InceptionScoreResult:
    """`exp` of the mean divergence of an image's class probabilities from those of all images.

    Args:
        probabilities: `[N, C]` p(class | image), rows that add up to 1.
        splits: 1 (the default): one score of all images, as InfoGAN-CR measures it. 10: the mean of the scores of ten
            parts, in the order given, as it is usually measured. The marginal is that of the part.
        extractor: id of the classifier.

    Returns:
        the score from 1 to C; higher is better.

    Raises:
        TypeError: if the probabilities are not real numbers.
        ValueError: if there are fewer than two images in a part, or a row is no distribution.

    Source: Salimans et al., Improved Techniques for Training GANs, NeurIPS 2016, section 4; in one piece Lin et al.,
    InfoGAN-CR, ICML 2020, `gan/metric.py` of the released code.
    """
    table = _distributions(probabilities)
    if splits < 1:
        raise ValueError(f"splits is {splits}; it must be 1 or more")
    count, classes = table.shape
    if count < 2 * splits:
        raise ValueError(f"{count} images are too few for {splits} parts; give at least {2 * splits}")
    edges = [part * count // splits for part in range(splits + 1)]
    parts = [_divergences(table[start:stop]) for start, stop in itertools.pairwise(edges)]
    scores = np.exp([part.mean() for part in parts])
    log_std = float(_divergences(table).std())
    notes: tuple[str, ...] = ()
    if count // splits < classes:
        notes = (f"parts of {count // splits:,} images cannot show all {classes:,} classes; the score is too low",)
    return InceptionScoreResult(
        score=float(scores.mean()),
        std=float(scores.std()) if splits > 1 else log_std,
        log_std=log_std,
        splits=splits,
        count=count,
        classes=classes,
        extractor=extractor,
        degenerate=_about(table),
        notes=notes,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ConfidenceResult(MetricResult):
    """How sure the classifier is.

    Args:
        std: standard deviation over the images.
        count: how many images.
        extractor: id of the classifier; empty if it is not known.
    """

    std: float
    count: int
    extractor: str


def confidence(probabilities: npt.ArrayLike, extractor: str = "") -> ConfidenceResult:
    """The mean of the largest class probability of each image.

    Args:
        probabilities: `[N, C]` p(class | image), rows that add up to 1.
        extractor: id of the classifier.

    Returns:
        the mean, from 1/C to 1; higher is better.

    Raises:
        TypeError: if the probabilities are not real numbers.
        ValueError: if a row is no distribution.

    Source: Lin et al., InfoGAN-CR, ICML 2020, `gan/metric.py` of the released code.
    """
    table = _distributions(probabilities)
    largest = table.max(axis=1)
    return ConfidenceResult(
        score=float(largest.mean()),
        std=float(largest.std()),
        count=len(table),
        extractor=extractor,
        degenerate=_about(table),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ModeResult(MetricResult):
    """How evenly the images are spread over the classes.

    Args:
        counts: `[C]` int64, how many images each class has.
        count: how many images.
        extractor: id of the classifier; empty if it is not known.
    """

    counts: IntArray
    count: int
    extractor: str


def mode_kl(probabilities: npt.ArrayLike, extractor: str = "") -> ModeResult:
    """The divergence of the classes' frequencies from equal ones, in nats.

    Every image counts for its likeliest class, the first of equals.

    Args:
        probabilities: `[N, C]` p(class | image), rows that add up to 1.
        extractor: id of the classifier.

    Returns:
        the divergence, from 0 (all equally often) to log C (all of one class); lower is better.

    Raises:
        TypeError: if the probabilities are not real numbers.
        ValueError: if a row is no distribution.

    Source: Lin et al., InfoGAN-CR, ICML 2020, `gan/metric.py` of the released code.
    """
    table = _distributions(probabilities)
    count, classes = table.shape
    counts = np.bincount(table.argmax(axis=1), minlength=classes).astype(np.int64)
    shares = counts[counts > 0] / count
    # Rounding may leave a balanced one a little below 0.
    divergence = max(0.0, float((shares * np.log(shares * classes)).sum()))
    degenerate = _about(table)
    if (counts == 0).any() and classes > 1:
        absent = np.flatnonzero(counts == 0)
        degenerate += (f"{absent.size} of {classes} classes have no image: {listed(absent)}",)
    ties = int(np.count_nonzero((table == table.max(axis=1, keepdims=True)).sum(axis=1) > 1))
    if ties and classes > 1:
        degenerate += (f"{ties:,} images have several likeliest classes and count for the first",)
    counts.setflags(write=False)
    return ModeResult(score=divergence, counts=counts, count=count, extractor=extractor, degenerate=degenerate)


def _distributions(probabilities: npt.ArrayLike) -> FloatArray:
    """The probabilities as float64, checked."""
    table = real_array("probabilities", probabilities, 2).astype(np.float64)
    if table.min() < 0 or table.max() > 1 + _SUM_TOLERANCE:
        raise ValueError(
            f"probabilities must lie in [0, 1]; they span {table.min():g} to {table.max():g} (are these logits? take "
            "their softmax)"
        )
    worst = float(np.abs(table.sum(axis=1) - 1).max())
    if worst > _SUM_TOLERANCE:
        raise ValueError(f"the rows of probabilities must add up to 1; one is off by {worst:.3g}")
    return table


def _divergences(table: FloatArray) -> FloatArray:
    """The divergence `[N]` of every row from the mean row; 0 log 0 is 0."""
    marginal = table.mean(axis=0)
    # Where the marginal is 0, so are all probabilities.
    of_marginal = np.log(np.where(marginal > 0, marginal, 1.0))
    divergences = np.empty(len(table))
    for start in range(0, len(table), _BLOCK_ROWS):
        rows = table[start : start + _BLOCK_ROWS]
        logarithms = np.log(np.where(rows > 0, rows, 1.0)) - of_marginal
        divergences[start : start + _BLOCK_ROWS] = (rows * logarithms).sum(axis=1)
    return divergences


def _about(table: FloatArray) -> tuple[str, ...]:
    if table.shape[1] == 1:
        return ("there is one class only, of which every image is",)
    if (table == table[0]).all():
        return ("all images have the same probabilities",)
    return ()
