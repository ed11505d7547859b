"""All metrics by their ids, and the two ways to use them: on a data set with an encoder, and on arrays."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from common.errors import UserError, near_matches
from metrics.arrays import FloatArray, population_std, real_array
from metrics.factor_vae import FactorVaeResult, factor_vae, ibgan_factor_vae
from metrics.protocols import (
    Encode,
    FactorData,
    FactorVaeProtocol,
    IbganFactorVaeProtocol,
    Progress,
    Samples,
    SamplingProtocol,
    encode_samples,
)
from metrics.results import MetricResult

PRESETS = ("fast", "paper")

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Metric:
    """One entry of the registry.

    Args:
        name: the id, which names the protocol too.
        function: arrays by name -> result.
        needs: the arrays that `function` cannot do without.
        protocols: per preset ("fast", "paper") what draws the samples.
        description: one line.
        paper: whose protocol this is.
    """

    name: str
    function: Callable[[Arrays], MetricResult]
    needs: tuple[str, ...]
    protocols: Mapping[str, SamplingProtocol]
    description: str
    paper: str


_METRICS: dict[str, Metric] = {}


def register(
    name: str,
    function: Callable[[Arrays], MetricResult],
    *,
    needs: Iterable[str],
    protocols: Mapping[str, SamplingProtocol],
    description: str,
    paper: str,
) -> None:
    """Adds a metric.

    Args:
        name: the id: lower-case letters, digits and underscores, beginning with a letter.
        function: arrays by name (`group_codes`, `group_labels`, `codes`, ...) -> result.
        needs: names of the arrays that `function` cannot do without.
        protocols: what draws the samples, for each of the presets "fast" and "paper".
        description: one line.
        paper: whose protocol this is.

    Raises:
        TypeError: if the name is not a string, or something that must be callable is not.
        ValueError: if the name is taken or badly formed, or a part is missing.
    """
    if not isinstance(name, str):
        raise TypeError(f"a metric's id must be a string, not {type(name).__name__}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(
            f"a metric's id must be lower-case letters, digits and underscores, beginning with a letter; not {name!r}"
        )
    if name in _METRICS:
        raise ValueError(f"a metric with the id {name!r} is registered already; choose another id")
    if not callable(function):
        raise TypeError(f"the function of metric {name!r} must be callable, not {type(function).__name__}")
    if isinstance(needs, str):
        raise TypeError(f"the needs of metric {name!r} must be a collection of names, not one string")
    if set(protocols) != set(PRESETS):
        raise ValueError(f"metric {name!r} needs a protocol for each of {', '.join(PRESETS)}; not {list(protocols)}")
    for preset, protocol in protocols.items():
        if not callable(getattr(protocol, "draw", None)):
            raise TypeError(f"the {preset} protocol of metric {name!r} has no method `draw`")
    for part, text in (("description", description), ("paper", paper)):
        if not text.strip() or "\n" in text:
            raise ValueError(f"the {part} of metric {name!r} must be one line of text")
    _METRICS[name] = Metric(name, function, tuple(needs), dict(protocols), description, paper)


def names() -> list[str]:
    """The ids of all metrics, in the order of registration."""
    return list(_METRICS)


def get(name: str) -> Metric:
    """The metric with this id.

    Raises:
        UserError: if there is none; the message has near matches.
    """
    if name not in _METRICS:
        raise UserError(f"there is no metric {name!r}{near_matches(name, names())}")
    return _METRICS[name]


def evaluate(
    dataset: FactorData,
    encode: Encode,
    metric_ids: Iterable[str],
    preset: str = "paper",
    seed: int = 0,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> dict[str, MetricResult]:
    """Scores an encoder on a data set with known factors; each distinct image is encoded once for all metrics.

    Args:
        dataset: what has `name`, `num_examples`, `factor_space` and `images_at`, as the sets of `data_gen` do.
        encode: images `[batch_size, H, W, C]` float32 in [0, 1] -> codes `[batch_size, D]`; always called with a
            whole batch.
        metric_ids: which metrics; see `names`.
        preset: "paper" (default) is the published protocol; "fast" looks at fewer images and says so in the notes.
        seed: any integer from 0 (the default); the same seed draws the same images.
        batch_size: images in a batch, default 256.
        progress: told after every batch how many distinct images are encoded, and of how many.

    Returns:
        per id its result.

    Raises:
        UserError: for an unknown id or preset, a data set without known factors, or codes that are not finite.
        ValueError: if `encode` returns another shape.

    Example:
        >>> results = evaluate(dataset, lambda images: model.encode(images), ["factor_vae"])  # doctest: +SKIP
        >>> results["factor_vae"].score  # doctest: +SKIP
    """
    chosen = _chosen(metric_ids)
    if preset not in PRESETS:
        raise UserError(f"there is no preset {preset!r}{near_matches(preset, PRESETS)}")
    drawn: dict[SamplingProtocol, Samples] = {}
    for metric in chosen:
        protocol = metric.protocols[preset]
        if protocol not in drawn:
            drawn[protocol] = protocol.draw(dataset, seed)
    encoded = encode_samples(dataset, encode, list(drawn.values()), batch_size, progress)
    arrays = dict(zip(drawn, encoded, strict=True))
    results = {}
    for metric in chosen:
        protocol = metric.protocols[preset]
        results[metric.name] = metric.function(arrays[protocol]).with_notes(drawn[protocol].notes)
    return results


def score_arrays(arrays: Arrays, metric_ids: Iterable[str]) -> dict[str, MetricResult]:
    """Scores a representation that is given as arrays.

    Args:
        arrays: by name, as in the files of `python -m metrics --codes`.
        metric_ids: which metrics; see `names`.

    Raises:
        UserError: for an unknown id, or an array that is missing or of the wrong kind.
    """
    results = {}
    for metric in _chosen(metric_ids):
        missing = [name for name in metric.needs if name not in arrays]
        if missing:
            raise UserError(_about_missing(metric, missing, list(arrays)))
        try:
            results[metric.name] = metric.function(arrays)
        except (TypeError, ValueError) as error:
            raise UserError(f"{metric.name}: {error}") from error
    return results


def _chosen(metric_ids: Iterable[str]) -> list[Metric]:
    if isinstance(metric_ids, str):
        raise TypeError("metric_ids must be a list of ids, not one string")
    chosen = [get(name) for name in dict.fromkeys(metric_ids)]
    if not chosen:
        raise UserError(f"no metric was chosen; allowed: {', '.join(names())}")
    return chosen


def _about_missing(metric: Metric, missing: list[str], present: list[str]) -> str:
    import difflib

    hints = []
    for name in missing:
        near = difflib.get_close_matches(name, present, n=1, cutoff=0.75)
        hints.append(f"{name} (is {near[0]!r} meant to be it?)" if near else name)
    has = ", ".join(sorted(present)) if present else "nothing"
    return f"{metric.name} needs {' and '.join(hints)}; there is {has}"


def _spread(arrays: Arrays) -> tuple[FloatArray, tuple[str, ...]]:
    """The spread of the codes over `codes`, or, for want of these, over the groups' own images with a note."""
    groups = real_array("group_codes", arrays["group_codes"], 3)
    if "codes" in arrays:
        codes = real_array("codes", arrays["codes"], 2)
        if codes.shape[1] != groups.shape[2]:
            raise ValueError(f"codes {codes.shape} and group_codes {groups.shape} must have the same number of codes")
        return population_std(codes), ()
    return population_std(groups.reshape(-1, groups.shape[2])), (
        "spread of the codes over the images of the groups, where the published protocol has random images (`codes`)",
    )


def _factor_vae(arrays: Arrays) -> FactorVaeResult:
    spread, notes = _spread(arrays)
    result = factor_vae(arrays["group_codes"], arrays["group_labels"], spread)
    return dataclasses.replace(result, notes=notes)


def _factor_vae_revised(arrays: Arrays) -> FactorVaeResult:
    result = _factor_vae(arrays)
    # Votes that all go to one dead code leave one row, so the revised score of the released code is the same guess.
    dead = len(result.active_codes) < len(result.votes)
    released = result.score_as_released if dead else result.revised
    return dataclasses.replace(result, score=result.revised, score_as_released=released)


def _ibgan_factor_vae(arrays: Arrays) -> FactorVaeResult:
    return ibgan_factor_vae(arrays["group_codes"], arrays["group_labels"])


_GROUPS = ("group_codes", "group_labels")
_INFOGAN_CR = {"fast": FactorVaeProtocol(std_image_limit=10_000), "paper": FactorVaeProtocol()}

register(
    "factor_vae",
    _factor_vae,
    needs=_GROUPS,
    protocols=_INFOGAN_CR,
    description="Kim-Mnih score: least varying code votes for the fixed factor; 500 votes of 100 images",
    paper="InfoGAN-CR (Lin et al., ICML 2020)",
)
register(
    "factor_vae_revised",
    _factor_vae_revised,
    needs=_GROUPS,
    protocols=_INFOGAN_CR,
    description="factor_vae in which only as many codes count as there are factors",
    paper="InfoGAN-CR (Lin et al., ICML 2020)",
)
register(
    "ibgan_factor_vae",
    _ibgan_factor_vae,
    needs=_GROUPS,
    protocols={"fast": IbganFactorVaeProtocol(group_size=50), "paper": IbganFactorVaeProtocol()},
    description="Kim-Mnih score without codes of variance below 0.05; 800 votes of 200 images",
    paper="IB-GAN (Jeon et al., AAAI 2021)",
)
