"""All metrics by their ids, and the two ways to use them: on a data set with an encoder, and on arrays."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from common.errors import UserError, near_matches
from metrics.encoding import Encode, Progress, encode_samples
from metrics.inputs import Inputs, limited
from metrics.protocols import FactorData, Samples, SamplingProtocol
from metrics.results import MetricResult, refusable

PRESETS = ("fast", "paper")

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Metric:
    """One entry of the registry.

    Args:
        name: the id, which names the protocol too.
        function: arrays and options -> result.
        needs: the arrays that `function` cannot do without.
        protocols: per preset ("fast", "paper") what draws the samples; empty for metrics that no data set and encoder
            suffice for, as of several models.
        description: one line.
        paper: whose protocol this is.
        reads: the arrays that `function` reads if they are there, with those that it needs.
        slow_in: the presets in which it takes too long to be measured unless it is named.
        lower_is_better: whether the best of two scores is the lower one.
    """

    name: str
    function: Callable[[Inputs], MetricResult]
    needs: tuple[str, ...]
    protocols: Mapping[str, SamplingProtocol]
    description: str
    paper: str
    reads: tuple[str, ...]
    slow_in: tuple[str, ...] = ()
    lower_is_better: bool = False

    @property
    def names_extractor(self) -> bool:
        """Whether its scores depend on a network, whose id then follows the metric's own (`metrics.features`)."""
        return "extractor" in self.reads


_METRICS: dict[str, Metric] = {}


def register(
    name: str,
    function: Callable[[Inputs], MetricResult],
    *,
    needs: Iterable[str],
    protocols: Mapping[str, SamplingProtocol],
    description: str,
    paper: str,
    reads: Iterable[str] = (),
    slow_in: Iterable[str] = (),
    lower_is_better: bool = False,
) -> None:
    """Adds a metric.

    Args:
        name: the id: lower-case letters, digits and underscores, beginning with a letter.
        function: from `Inputs`, which has arrays by name (`inputs["codes"]`), to a result.
        needs: names of the arrays that `function` cannot do without.
        protocols: what draws the samples, for each of the presets "fast" and "paper"; empty if nothing can.
        description: one line.
        paper: whose protocol this is.
        reads: names of further arrays that `function` reads if they are there.
        slow_in: the presets in which it takes too long to be measured unless it is named.
        lower_is_better: whether the best of two scores is the lower one. Default: no.

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
    if isinstance(needs, str) or isinstance(reads, str):
        raise TypeError(f"the needs of metric {name!r} must be a collection of names, not one string")
    if protocols and set(protocols) != set(PRESETS):
        raise ValueError(f"metric {name!r} needs a protocol for each of {', '.join(PRESETS)}; not {list(protocols)}")
    for preset, protocol in protocols.items():
        if not callable(getattr(protocol, "draw", None)):
            raise TypeError(f"the {preset} protocol of metric {name!r} has no method `draw`")
    for part, text in (("description", description), ("paper", paper)):
        if not text.strip() or "\n" in text:
            raise ValueError(f"the {part} of metric {name!r} must be one line of text")
    needed = tuple(needs)
    read = (*needed, *(array for array in reads if array not in needed))
    _METRICS[name] = Metric(
        name, function, needed, dict(protocols), description, paper, read, tuple(slow_in), lower_is_better
    )


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


def bare_id(score_name: str) -> str:
    """The metric that a score is of: its name without a network's id, a snapshot before it, or a part behind it.

    Args:
        score_name: such as `fid_keras_inception_v3_0123abcd`, `infogan/mig` or `recall_at_k/x_to_y`; what no metric
            fits stays as it is.

    Example:
        >>> bare_id("fid_vgan_compat_keras_inception_v3_vgan_0123abcd")
        'fid_vgan_compat'
    """
    for name in reversed(score_name.split("/")):
        fitting = [
            known
            for known, metric in _METRICS.items()
            if name == known or (metric.names_extractor and name.startswith(f"{known}_"))
        ]
        if fitting:
            return max(fitting, key=len)
    return score_name


def lower_is_better(score_name: str) -> bool:
    """Whether the best of two scores of this name (see `bare_id`) is the lower one; else it is the higher."""
    metric = _METRICS.get(bare_id(score_name))
    return metric is not None and metric.lower_is_better


def evaluate(
    dataset: FactorData,
    encode: Encode,
    metric_ids: Iterable[str],
    preset: str = "paper",
    seed: int = 0,
    batch_size: int = 256,
    progress: Progress | None = None,
    strict_reference: bool = False,
    more: Arrays | None = None,
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
        strict_reference: give what the released code gives for degenerate codes, NaN included.
        more: further arrays for all metrics, such as `code_columns`, of what only the encoder's owner knows.

    Returns:
        per id its result.

    Raises:
        UserError: for an unknown id or preset, a data set without known factors, codes that are not finite, or a metric
            that needs more than one data set and one encoder.
        ValueError: if `encode` returns another shape.

    Example:
        >>> results = evaluate(dataset, lambda images: model.encode(images), ["factor_vae"])  # doctest: +SKIP
        >>> results["factor_vae"].score  # doctest: +SKIP
    """
    chosen = _chosen(metric_ids)
    drawn = draw_samples(dataset, [metric.name for metric in chosen], preset, seed)
    encoded = encode_samples(dataset, encode, list(drawn.values()), batch_size, progress)
    inputs = {
        protocol: Inputs({**arrays, **(more or {})}, seed, strict_reference)
        for protocol, arrays in zip(drawn, encoded, strict=True)
    }
    results = {}
    for metric in chosen:
        protocol = _protocol(metric, preset)
        results[metric.name] = _measured(metric, inputs[protocol]).with_notes(drawn[protocol].notes)
    return results


def draw_samples(
    dataset: FactorData, metric_ids: Iterable[str], preset: str = "paper", seed: int = 0
) -> dict[SamplingProtocol, Samples]:
    """The samples of all chosen metrics, before anything is encoded: a way to learn early what data cannot serve.

    Args:
        dataset: as for `evaluate`.
        metric_ids: which metrics; see `names`.
        preset: "paper" (default) or "fast".
        seed: any integer from 0 (the default).

    Returns:
        per protocol its samples; metrics that share a protocol share these.

    Raises:
        UserError: as `evaluate`, except for codes.
    """
    _check_preset(preset)
    drawn: dict[SamplingProtocol, Samples] = {}
    for metric in _chosen(metric_ids):
        protocol = _protocol(metric, preset)
        if protocol not in drawn:
            drawn[protocol] = protocol.draw(dataset, seed)
    return drawn


def possible_on(dataset: FactorData, preset: str = "paper") -> list[str]:
    """The metrics that are not slow in this preset and whose samples can be drawn from a data set.

    Args:
        dataset: as for `evaluate`.
        preset: "paper" (default) or "fast".

    Raises:
        UserError: if there are none.
    """
    _check_preset(preset)
    refused: dict[SamplingProtocol, UserError] = {}
    drawn: set[SamplingProtocol] = set()
    possible = []
    for metric in _METRICS.values():
        if preset in metric.slow_in or not metric.protocols:
            continue
        protocol = metric.protocols[preset]
        if protocol not in drawn and protocol not in refused:
            try:
                protocol.draw(dataset, 0)
                drawn.add(protocol)
            except UserError as error:
                refused[protocol] = error
        if protocol in drawn:
            possible.append(metric.name)
    if not possible:
        raise next(iter(refused.values()))
    return possible


def score_arrays(
    arrays: Arrays,
    metric_ids: Iterable[str],
    preset: str = "paper",
    seed: int = 0,
    strict_reference: bool = False,
) -> dict[str, MetricResult]:
    """Scores a representation that is given as arrays.

    Args:
        arrays: by name, as in the files of `python -m metrics --codes`; see `metrics.inputs.KEYS`.
        metric_ids: which metrics; see `names`.
        preset: "paper" (default) uses all rows; "fast" at most 10,000 random ones, and says so in the notes.
        seed: for metrics that draw or fit at random, any integer from 0 (the default).
        strict_reference: give what the released code gives for degenerate input, NaN included.

    Returns:
        per id its result.

    Raises:
        UserError: for an unknown id or preset, or an array that is missing or of the wrong kind.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> factors = rng.integers(0, 4, size=(1000, 2))
        >>> results = score_arrays({"codes": factors + 0.0, "factors": factors}, ["mig", "modularity"])
        >>> round(results["mig"].score, 2)
        1.0
    """
    results, refusals = score_possible(arrays, metric_ids, preset, seed, strict_reference, patient=False)
    for refusal in refusals.values():
        raise refusal
    return results


def score_possible(
    arrays: Arrays,
    metric_ids: Iterable[str],
    preset: str = "paper",
    seed: int = 0,
    strict_reference: bool = False,
    patient: bool = True,
) -> tuple[dict[str, MetricResult], dict[str, UserError]]:
    """As `score_arrays`, but a metric that refuses the arrays does not stop the others.

    Args:
        arrays, metric_ids, preset, seed, strict_reference: see `score_arrays`.
        patient: go on after a refusal. Default: yes.

    Returns:
        per id its result, or else its refusal.

    Raises:
        UserError: for an unknown id or preset, or an array that is missing.
    """
    chosen = _chosen(metric_ids)
    _check_preset(preset)
    for metric in chosen:
        missing = [name for name in metric.needs if name not in arrays]
        if missing:
            raise UserError(_about_missing(metric, missing, list(arrays)))
    used, notes = limited(arrays, seed) if preset == "fast" else (dict(arrays), {})
    inputs = Inputs(used, seed, strict_reference)
    results: dict[str, MetricResult] = {}
    refusals: dict[str, UserError] = {}
    for metric in chosen:
        try:
            result = _measured(metric, inputs)
        except UserError as error:
            refusals[metric.name] = error
            if not patient:
                break
        else:
            about = tuple(note for name, note in notes.items() if name in metric.reads)
            results[metric.name] = result.with_notes(about)
    return results, refusals


def _measured(metric: Metric, inputs: Inputs) -> MetricResult:
    return refusable(metric.name, lambda: metric.function(inputs))


def _protocol(metric: Metric, preset: str) -> SamplingProtocol:
    if not metric.protocols:
        raise UserError(
            f"{metric.name} needs more than one encoder's codes of a data set; measure it from arrays, with python -m "
            f"metrics --codes: it needs {' and '.join(metric.needs)}"
        )
    return metric.protocols[preset]


def _check_preset(preset: str) -> None:
    if preset not in PRESETS:
        raise UserError(f"there is no preset {preset!r}{near_matches(preset, PRESETS)}")


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
