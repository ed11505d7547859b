"""The BetaVAE metric (Higgins et al., ICLR 2017) in the protocols of InfoGAN-CR and disentanglement_lib.

Pairs of images share the value of one factor; a linear classifier tells from the mean difference of their codes which.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from metrics import logistic
from metrics.arrays import FloatArray, IntArray, about_codes
from metrics.factor_vae import checked_groups
from metrics.results import MetricResult

_CHUNK_VALUES = 1 << 22


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BetaVaeResult(MetricResult):
    """Accuracies of the classifier.

    Args:
        train: accuracy on the groups that the classifier was fitted to.
        labels: the labels, in the order of the rows and columns of `confusion`.
        confusion: `[K, K]` int64, how often a group with label j (row) was taken for k (column), of the groups that
            `score` counts.
    """

    train: float
    labels: tuple[int, ...]
    confusion: IntArray


def beta_vae(
    group_codes: npt.ArrayLike, group_labels: npt.ArrayLike, *, strict_reference: bool = False
) -> BetaVaeResult:
    """The BetaVAE metric as InfoGAN-CR measures it: accuracy on the groups that the classifier was fitted to.

    Images 0 and 1 of a group are a pair, 2 and 3, and so on; of an odd number the last is left out. The codes are not
    standardized, so that scaling single codes changes the score a little. The classifier is logistic regression as
    liblinear fits it, one class against the rest.

    Args:
        group_codes: `[M, L, D]` codes of M groups of L >= 2 images; published: M = 500, L = 100.
        group_labels: `[M]` integers, the factor that is fixed in each group.
        strict_reference: give NaN where the released code stops with an error: if all groups have one label.

    Returns:
        the score in [0, 1].

    Raises:
        TypeError: if an array does not hold numbers.
        ValueError: if shapes do not fit, or a value is not finite.

    Source: Higgins et al., beta-VAE, ICLR 2017, appendix A.4; Lin et al., InfoGAN-CR, ICML 2020, `gan/metric.py`.
    """
    features, labels, degenerate = _features(group_codes, group_labels)
    return _classified(features, labels, features, labels, degenerate, strict_reference)


def dlib_beta_vae(
    group_codes: npt.ArrayLike,
    group_labels: npt.ArrayLike,
    test_group_codes: npt.ArrayLike,
    test_group_labels: npt.ArrayLike,
    *,
    softmax: bool = False,
    strict_reference: bool = False,
) -> BetaVaeResult:
    """The BetaVAE metric as disentanglement_lib measures it: accuracy on groups held out.

    Its groups differ from InfoGAN-CR's in that each pair has its own value of the fixed factor.

    Args:
        group_codes: `[M, L, D]` codes of M groups of L / 2 pairs, as for `beta_vae`; published: M = 10,000, L = 128.
        group_labels: `[M]` integers, the factor that is fixed in each group.
        test_group_codes: `[T, L, D]` codes of the groups held out; published: T = 5,000.
        test_group_labels: `[T]` integers.
        softmax: take softmax regression, as the released code does with scikit-learn 0.22 and later. Default: False.
        strict_reference: give NaN where the released code stops with an error: if all groups have one label.

    Returns:
        the score in [0, 1], on the groups held out; `train` is that on the others.

    Raises:
        TypeError: if an array does not hold numbers.
        ValueError: if shapes do not fit, or a value is not finite.

    Source: Locatello et al., Challenging Common Assumptions, ICML 2019, `evaluation/metrics/beta_vae.py`.
    """
    features, labels, degenerate = _features(group_codes, group_labels)
    test_features, test_labels, _ = _features(test_group_codes, test_group_labels)
    if features.shape[1] != test_features.shape[1]:
        raise ValueError("group_codes and test_group_codes must have the same number of codes")
    return _classified(features, labels, test_features, test_labels, degenerate, strict_reference, softmax)


def _features(group_codes: npt.ArrayLike, group_labels: npt.ArrayLike) -> tuple[FloatArray, IntArray, tuple[str, ...]]:
    """The mean absolute difference `[M, D]` of the pairs of every group, the labels, and what to know of the codes."""
    groups, labels, _ = checked_groups(group_codes, group_labels, None)
    pairs = groups.shape[1] // 2
    features = np.empty((len(groups), groups.shape[2]))
    step = max(1, _CHUNK_VALUES // (groups.shape[1] * groups.shape[2]))
    for start in range(0, len(groups), step):
        # In the precision of the codes, as the released code has it; differences of whole numbers would wrap around.
        chunk = groups[start : start + step, : 2 * pairs]
        chunk = chunk.astype(np.result_type(chunk, np.float32), copy=False)
        features[start : start + step] = np.abs(chunk[:, 0::2] - chunk[:, 1::2]).mean(axis=1)
    return features, labels, about_codes(groups.reshape(-1, groups.shape[2]))


def _classified(
    features: FloatArray,
    labels: IntArray,
    test_features: FloatArray,
    test_labels: IntArray,
    degenerate: tuple[str, ...],
    strict_reference: bool,
    softmax: bool = False,
) -> BetaVaeResult:
    found, classes = np.unique(labels, return_inverse=True)
    known = np.isin(test_labels, found)
    test_classes = np.searchsorted(found, test_labels[known])
    if found.size < 2:
        degenerate += ("all groups have the same label, which any representation gets right",)
        guesses, train = np.zeros(len(test_labels), dtype=np.int64), 1.0
    else:
        model = (logistic.fit_softmax if softmax else logistic.fit)(features, classes, found.size)
        guesses, train = model.predict(test_features), float((model.predict(features) == classes).mean())
    if not known.all():
        degenerate += ("some groups held out have labels that no other group has, and count as wrong",)
    score = float((guesses[known] == test_classes).sum() / len(test_labels))
    if strict_reference and found.size < 2:
        score = float("nan")
        degenerate += ("the released code gives no number here: strict_reference",)
    confusion = np.zeros((found.size, found.size), dtype=np.int64)
    np.add.at(confusion, (test_classes, guesses[known]), 1)
    return BetaVaeResult(
        score=score, train=train, labels=tuple(found.tolist()), confusion=confusion, degenerate=degenerate
    )
