"""The curves of a run as pictures: one plot for what shares a scale, so that nothing is flattened by its neighbor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from common.files import write_bytes
from metrics.registry import lower_is_better
from training import pictures
from training.records import Record, series

_PLOTS: dict[str, tuple[str, str, str]] = {
    "loss": ("loss", "Loss", ""),
    "information": ("information/.+", "Information", "nats"),
    "vae": ("vae/.+", "Variational bound", "nats"),
    "total_correlation": ("total_correlation/.+", "Total correlation", "nats"),
    "contrastive": ("contrastive/.+", "Contrastive regularizer", ""),
    "reconstruction": ("reconstruction/.+", "Error of reconstruction", ""),
    "divergence": ("divergence/.+", "Divergences", "nats"),
    "kl": ("kl/.+", "Divergence of each code from its prior", "nats"),
    "bottleneck": ("bottleneck/(kl.*|target)", "Bottleneck: divergence, and the target that constrains it", "nats"),
    "beta": ("bottleneck/beta", "Bottleneck: beta, the weight of the divergence", ""),
    "discriminator": ("discriminator/(?!accuracy_|gradient_).+", "Discriminator", ""),
    "accuracy": ("discriminator/accuracy_.+", "Discriminator: share of images judged rightly", ""),
    "generator": ("generator/(?!gradient_).+", "Generator", ""),
    "gradients": ("[a-z]+/gradient_.+", "Gradients", ""),
    "noise": ("noise/.+", "Noise", ""),
    "learning_rate": ("learning_rate/.+", "Learning rates", ""),
}
"""Name of the file to the names of the records in it (a regular expression), title and unit."""

_SCORES = "score_"
# The distance between two curves that are drawn.
_LEFT_OUT = {"bottleneck/violation"}


def write_curves(records: Sequence[Record], folder: Path) -> list[tuple[Path, str]]:
    """Draws what a run has recorded.

    Args:
        records: of `metrics.jsonl`.
        folder: where the plots go: `curves_discriminator.png`, `curves_bottleneck.png`, ...

    Returns:
        the files with their titles, in the order of a report.
    """
    curves = {name: curve for name, curve in series(records, "").items() if name not in {"step", *_LEFT_OUT}}
    scores = {name: curves.pop(name) for name in list(curves) if name.startswith(_SCORES)}
    written = []
    for file, (pattern, title, unit) in _PLOTS.items():
        named = {name: curves.pop(name) for name in list(curves) if re.fullmatch(pattern, name)}
        written += _written(folder / f"curves_{file}.png", _short(named), title, unit)
    for prefix in sorted({name.split("/")[0] for name in curves}):
        named = {name: curve for name, curve in curves.items() if name.split("/")[0] == prefix}
        written += _written(folder / f"curves_{_as_file(prefix)}.png", _short(named), prefix, "")
    return written + _written_scores(folder, scores)


def _written_scores(folder: Path, scores: pictures.Series) -> list[tuple[Path, str]]:
    """All shares in one plot; what may be larger, such as FID, alone, for it would flatten them."""
    named = {name.split("/", 1)[1]: curve for name, curve in scores.items()}
    written = []
    for name in [name for name, (_, values) in named.items() if max(map(abs, values)) > 1.0]:  # type: ignore[arg-type]
        title = f"{name} while training{' (lower is better)' if lower_is_better(name) else ''}"
        written += _written(folder / f"curves_score_{_as_file(name)}.png", {name: named.pop(name)}, title, "score")
    return written + _written(folder / "curves_scores.png", named, "Scores while training", "score")


def _written(path: Path, curves: pictures.Series, title: str, unit: str) -> list[tuple[Path, str]]:
    """A plot of these curves, if there are any."""
    if not curves:
        return []
    write_bytes(path, pictures.line_plot(curves, title, "step", unit))
    return [(path, title)]


def _short(curves: pictures.Series) -> pictures.Series:
    """Names for a legend: without the first part, if it is the same in all."""
    prefixes = {name.split("/", 1)[0] for name in curves}
    return {name.split("/", 1)[-1] if len(prefixes) == 1 else name: curve for name, curve in curves.items()}


def _as_file(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
