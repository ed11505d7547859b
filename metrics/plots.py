"""Pictures of results: importance and information matrices, votes, and a chart of all scores, as PNG files."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.files import write_bytes
from metrics.code_classification import CodeErrorResult
from metrics.results import MetricResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MATRICES = {
    "mutual_information": ("mutual information (nats)", "codes", "factors"),
    "prediction": ("how well each code alone predicts each factor", "codes", "factors"),
    "importances": ("importance of each code for each factor", "codes", "factors"),
    "robustness": ("interventional robustness", "codes", "factors"),
    "votes": ("votes: how often each code varied least", "codes", "labels"),
    "test_votes": ("votes held out", "codes", "labels"),
    "confusion": ("fixed factor (rows) and the classifier's answer", "labels", "labels"),
    "similarity": ("similarity of the models", "models", "models"),
}
"""Fields of results that are drawn, with the title and what rows and columns are."""

_OF_CATEGORIES = ("held-out images of each class in each category", "categories", "classes")
"""The same of the confusion of a categorical code."""

_MOST_NUMBERS = 400
_LONGEST_NAME = 18


def write_plots(results: Mapping[str, MetricResult], folder: Path) -> list[Path]:
    """Draws what there is to draw.

    Args:
        results: per id.
        folder: where `scores.png` and one `<id>_<field>.png` for each matrix go; it is made if missing.

    Returns:
        the files.
    """
    files = {"scores": _scores(results)}
    for name, result in results.items():
        for field in MATRICES:
            matrix = getattr(result, field, None)
            if isinstance(matrix, np.ndarray) and matrix.ndim == 2 and matrix.size:
                files[f"{name}_{field}"] = _matrix(name, field, result, matrix)
    paths = []
    for stem, figure in files.items():
        buffer = io.BytesIO()
        # The name of the software would make equal plots differ between versions.
        figure.savefig(buffer, format="png", metadata={"Software": None})
        path = folder / f"{stem}.png"
        write_bytes(path, buffer.getvalue())
        paths.append(path)
    return paths


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure outside of pyplot, which would keep it alive."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _scores(results: Mapping[str, MetricResult]) -> Figure:
    """A bar for each score; scores that are not finite are named instead."""
    names = list(results)[::-1]
    scores = [results[name].score for name in names]
    figure, axes = _figure(7, 1.2 + 0.3 * len(names))
    shown = [score if math.isfinite(score) else 0.0 for score in scores]
    axes.barh(names, shown, color="#4477aa", height=0.7)
    axes.set_xlim(min(0.0, *shown), max(1.0, *shown) * 1.12)
    for row, score in enumerate(scores):
        text = f" {score:.3f}" if math.isfinite(score) else " not defined"
        axes.text(max(0.0, shown[row]), row, text, va="center", fontsize=8.5, color="#333333")
    axes.set_title("scores", loc="left", fontsize=11, fontweight="bold")
    axes.tick_params(labelsize=8.5, color="#999999")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _matrix(name: str, field: str, result: MetricResult, matrix: np.ndarray) -> Figure:
    """A matrix as colors, with its numbers if they can be read."""
    values = matrix.astype(np.float64)
    of_categories = field == "confusion" and isinstance(result, CodeErrorResult)
    title, row_kind, column_kind = _OF_CATEGORIES if of_categories else MATRICES[field]
    rows, columns = values.shape
    width = min(16.0, max(4.5, 1.8 + 0.62 * columns))
    height = min(16.0, max(2.6, 1.5 + 0.36 * rows))
    figure, axes = _figure(width, height)
    finite = values[np.isfinite(values)]
    least, greatest = min(0.0, finite.min(initial=0.0)), finite.max(initial=0.0)
    colors = {"cmap": "viridis", "vmin": least, "vmax": greatest if greatest > least else least + 1}
    image = axes.imshow(np.ma.masked_invalid(values), aspect="auto", **colors)
    axes.set_title(f"{name}: {title}", loc="left", fontsize=10, fontweight="bold")
    axes.set_ylabel(row_kind, fontsize=9)
    axes.set_xlabel(column_kind, fontsize=9)
    _ticks(axes, "y", row_kind, result, rows)
    _ticks(axes, "x", column_kind, result, columns)
    if values.size <= _MOST_NUMBERS:
        _write_numbers(axes, values, matrix.dtype.kind in "iu")
    figure.colorbar(image, ax=axes, shrink=0.9)
    return figure


def _ticks(axes: Axes, axis: str, kind: str, result: MetricResult, count: int) -> None:
    names: list[Any] = list(range(count))
    labels = getattr(result, "labels", ())
    if kind == "factors" and len(result.factor_names) == count:
        names = [_short(name) for name in result.factor_names]
    elif kind == "labels" and len(labels) == count:
        names = list(labels)
    elif kind == "classes":
        names = list(getattr(result, "classes", names))
    elif kind == "models" and len(getattr(result, "names", ())) == count:
        names = [_short(name) for name in getattr(result, "names", ())]
    step = max(1, math.ceil(count / 40))
    places = list(range(0, count, step))
    texts = [str(names[place]) for place in places]
    slanted = axis == "x" and max(map(len, texts)) > 4
    options: dict[str, Any] = {"rotation": 30, "ha": "right"} if slanted else {}
    getattr(axes, f"set_{axis}ticks")(places, texts, fontsize=8.5, **options)


def _short(name: str) -> str:
    # A dollar sign would begin a formula.
    text = name.replace("$", r"\$")
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _write_numbers(axes: Axes, values: np.ndarray, whole: bool) -> None:
    finite = values[np.isfinite(values)]
    middle = (float(finite.max()) + min(0.0, float(finite.min()))) / 2 if finite.size else 0.0
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            text = f"{value:.0f}" if whole else f"{value:.2f}"
            color = "#111111" if value > middle else "#eeeeee"
            axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=color)
