"""The ids of generation and retrieval: which function each stands for, and which arrays it reads."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from metrics import fid as distances
from metrics import inception_score as classes
from metrics import precision_recall, retrieval
from metrics.generation import vgan_counts
from metrics.inputs import Inputs
from metrics.pair_selection import shared_recall_exclusive_at_chance
from metrics.registry import PRESETS, register
from metrics.results import MetricResult

_FID = "FID (Heusel et al., NeurIPS 2017)"
_KID = "KID (Binkowski et al., ICLR 2018)"
_VGAN = "VGAN (Peng et al., ICLR 2019)"
_PRECISION = "improved precision and recall (Kynkäänniemi et al., NeurIPS 2019)"
_INCEPTION = "Inception Score (Salimans et al., NeurIPS 2016)"
_INFOGAN_CR = "InfoGAN-CR (Lin et al., ICML 2020)"
_IIAE = "IIAE (Hwang et al., NeurIPS 2020)"

_FEATURES = ("features_real", "features_fake")
_VGAN_FEATURES = ("vgan_features_real", "vgan_features_fake")
_SHARED = ("shared_x", "shared_y")
_EXCLUSIVE = ("exclusive_x", "exclusive_y")
_SEARCH = ("queries", "query_labels", "gallery", "gallery_labels")


def _extractor(inputs: Inputs) -> str:
    if "extractor" not in inputs:
        return ""
    name = np.asarray(inputs["extractor"])
    if name.size != 1 or name.dtype.kind not in "US":
        raise ValueError(f"extractor must be one text; it is {name.dtype} of the shape {name.shape}")
    return str(name.astype(str).ravel()[0])


def _named(result: MetricResult, extractor: str) -> MetricResult:
    if extractor:
        return result.with_notes((f"by {extractor}; numbers of other extractors cannot be compared",))
    return result.with_notes(
        ("the array `extractor` does not say what made the numbers; those of different networks cannot be compared",)
    )


def _of_features(
    function: Callable[..., MetricResult], names: tuple[str, str] = _FEATURES
) -> Callable[[Inputs], MetricResult]:
    """A metric of real and generated features."""

    def measure(inputs: Inputs) -> MetricResult:
        name = _extractor(inputs)
        return _named(function(inputs[names[0]], inputs[names[1]], extractor=name), name)

    return measure


def _fid(inputs: Inputs) -> MetricResult:
    result = _of_features(distances.fid)(inputs)
    count = len(inputs["features_fake"])
    if count == distances.STANDARD_IMAGES:
        return result
    usual = distances.STANDARD_IMAGES
    return result.with_notes((f"{count:,} generated images, where {usual:,} are usual: fewer give higher values",))


def _vgan_fid(inputs: Inputs) -> MetricResult:
    result = _of_features(distances.fid, _VGAN_FEATURES)(inputs)
    counts, published = (len(inputs[_VGAN_FEATURES[1]]), len(inputs[_VGAN_FEATURES[0]])), vgan_counts()
    notes: tuple[str, ...] = ("in the protocol of VGAN's code, which no other FID can be compared with",)
    if counts != published:
        notes += (
            f"{counts[0]:,} generated and {counts[1]:,} real images, where the published protocol has "
            f"{published[0]:,} and {published[1]:,}",
        )
    return result.with_notes(notes)


def _kid(inputs: Inputs) -> MetricResult:
    return _of_features(functools.partial(distances.kid, seed=inputs.seed))(inputs)


def _of_probabilities(function: Callable[..., MetricResult], **options: int) -> Callable[[Inputs], MetricResult]:
    """A metric of class probabilities."""

    def measure(inputs: Inputs) -> MetricResult:
        name = _extractor(inputs)
        return _named(function(inputs["probabilities"], extractor=name, **options), name)

    return measure


def _recall_of(names: tuple[str, str]) -> Callable[[Inputs], MetricResult]:
    def measure(inputs: Inputs) -> MetricResult:
        at = None if "retrieval_k" not in inputs else [_k(inputs)]
        result = retrieval.recall_at_k(inputs[names[0]], inputs[names[1]], at)
        notes = [
            f"at k = {k}: x to y {share:.4f}, y to x {result.y_to_x[k]:.4f}, chance {result.chance[k]:.4f}"
            for k, share in result.x_to_y.items()
        ]
        return result.with_notes(tuple(notes))

    return measure


def _selection(inputs: Inputs) -> MetricResult:
    return shared_recall_exclusive_at_chance(*(inputs[name] for name in _SHARED + _EXCLUSIVE))


def _search(function: Callable[..., MetricResult], published: int) -> Callable[[Inputs], MetricResult]:
    """A metric of the first k of a gallery."""

    def measure(inputs: Inputs) -> MetricResult:
        arrays = [inputs[name] for name in _SEARCH]
        if "retrieval_k" in inputs:
            return function(*arrays, _k(inputs))
        # The published k is for galleries of thousands.
        k = min(published, len(arrays[2]))
        notes = () if k == published else (f"the first {k:,}, all of the gallery, where {published} are published",)
        return function(*arrays, k).with_notes(notes)

    return measure


def _k(inputs: Inputs) -> int:
    number = np.asarray(inputs["retrieval_k"])
    if number.size != 1 or number.dtype.kind not in "iu":
        raise ValueError(f"retrieval_k must be one integer; it is {number.dtype} of the shape {number.shape}")
    return int(number.ravel()[0])


def _map_all(inputs: Inputs) -> MetricResult:
    return retrieval.map_all(*(inputs[name] for name in _SEARCH))


@dataclasses.dataclass(frozen=True)
class _Entry:
    """One line of the table below."""

    name: str
    function: Callable[[Inputs], MetricResult]
    needs: tuple[str, ...]
    description: str
    paper: str
    reads: tuple[str, ...] = ()
    slow_in: tuple[str, ...] = ()
    lower_is_better: bool = False


_NAME = ("extractor",)
_K = ("retrieval_k",)

ENTRIES = (
    _Entry("fid", _fid, _FEATURES, "Fréchet distance of features", _FID, _NAME, lower_is_better=True),
    _Entry(
        "fid_vgan_compat",
        _vgan_fid,
        _VGAN_FEATURES,
        "Fréchet distance of 5,056 generated and 9,984 real images, drawn as VGAN's code does",
        _VGAN,
        _NAME,
        lower_is_better=True,
    ),
    _Entry(
        "kid", _kid, _FEATURES, "kernel distance of features, 100 subsets of 1,000", _KID, _NAME, lower_is_better=True
    ),
    _Entry(
        "kid_all",
        _of_features(distances.kid_all),
        _FEATURES,
        "kernel distance over all pairs of images",
        _KID,
        _NAME,
        slow_in=PRESETS,
        lower_is_better=True,
    ),
    _Entry(
        "improved_precision",
        _of_features(precision_recall.precision),
        _FEATURES,
        "share of generated images within the third-neighbor spheres of real ones",
        _PRECISION,
        _NAME,
    ),
    _Entry(
        "improved_recall",
        _of_features(precision_recall.recall),
        _FEATURES,
        "share of real images within the third-neighbor spheres of generated ones",
        _PRECISION,
        _NAME,
    ),
    _Entry(
        "inception_score",
        _of_probabilities(classes.inception_score),
        ("probabilities",),
        "exp of the mean divergence of class probabilities from their mean; all images at once",
        _INFOGAN_CR,
        _NAME,
    ),
    _Entry(
        "inception_score_10_splits",
        _of_probabilities(classes.inception_score, splits=classes.SPLITS),
        ("probabilities",),
        "the same as mean over ten parts, as usual for Inception",
        _INCEPTION,
        _NAME,
    ),
    _Entry(
        "confidence",
        _of_probabilities(classes.confidence),
        ("probabilities",),
        "mean of the largest class probability",
        _INFOGAN_CR,
        _NAME,
    ),
    _Entry(
        "mode_kl",
        _of_probabilities(classes.mode_kl),
        ("probabilities",),
        "divergence of the classes' frequencies from equal ones, in nats",
        _INFOGAN_CR,
        _NAME,
        lower_is_better=True,
    ),
    _Entry(
        "recall_at_k",
        _recall_of(_SHARED),
        _SHARED,
        "share of images whose partner's shared code is the nearest, both ways; 1 is best",
        _IIAE,
        _K,
    ),
    _Entry(
        "exclusive_recall_at_k",
        _recall_of(_EXCLUSIVE),
        _EXCLUSIVE,
        "the same of exclusive codes, which should be near chance",
        _IIAE,
        _K,
        lower_is_better=True,
    ),
    _Entry(
        "shared_recall_exclusive_at_chance",
        _selection,
        _SHARED + _EXCLUSIVE,
        "recall_at_k at k = 1 if exclusive codes find at most one partner each way: what chooses a checkpoint",
        _IIAE,
    ),
    _Entry("map_all", _map_all, _SEARCH, "mean average precision over the whole gallery, cosine distance", _IIAE),
    _Entry(
        "map_at_k",
        _search(retrieval.map_at_k, 200),
        _SEARCH,
        "mean average precision of the first k (200) as usual: divided by k or, if fewer, by all relevant",
        "usual definition",
        _K,
    ),
    _Entry(
        "map_at_k_reference",
        _search(retrieval.map_at_k_reference, 200),
        _SEARCH,
        "mean average precision of the first k (200) as the authors compute it: divided by k",
        _IIAE,
        _K,
    ),
    _Entry(
        "precision_at_k",
        _search(retrieval.precision_at_k, 100),
        _SEARCH,
        "share of images of the query's class among the first k (100)",
        _IIAE,
        _K,
    ),
)

for _entry in ENTRIES:
    register(
        _entry.name,
        _entry.function,
        needs=_entry.needs,
        reads=_entry.reads,
        protocols={},
        description=_entry.description,
        paper=_entry.paper,
        slow_in=_entry.slow_in,
        lower_is_better=_entry.lower_is_better,
    )
