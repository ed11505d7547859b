"""Scores of a run: the metrics on its data, kept per checkpoint so that nothing is measured twice."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.files import write_text
from metrics.registry import bare_id, draw_samples, evaluate
from metrics.results import MetricResult
from models.base import DisentanglementModel
from models.pairs import PairModel
from training.evaluation_images import ImageMetrics
from training.evaluation_kinds import of_kinds
from training.evaluation_pairs import PairMetrics
from training.experiment import Experiment, compiled_encoder
from training.options import EvaluationOptions
from training.run_folder import read_json

Scores = dict[str, dict[str, Any]]
Progress = Callable[[int, int], None]

PARTS = ("x_to_y", "y_to_x")
"""Parts of a result that are recorded while training, beside its score."""

_STATISTICS = "statistics"


class Evaluator:
    """Measures a model with the configured metrics.

    Args:
        experiment: data, model and options.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._dataset = experiment.dataset
        self._options: EvaluationOptions = experiment.configuration.evaluation
        self._model: DisentanglementModel = experiment.model
        during = bool(experiment.configuration.experiment.evaluate_every)
        self._presets = list(
            dict.fromkeys([self._options.preset, *([self._options.preset_during_training] if during else [])])
        )
        self._of_codes = of_kinds(self._options.metrics, "codes")
        self._encode = compiled_encoder(self._model, self._options.representation)
        self._images = ImageMetrics(self._model, self._dataset, self._options)
        encoders = {}
        if isinstance(self._model, PairModel):
            encoders = {name: compiled_encoder(self._model, name) for name in self._model.representations}
        self._pairs = PairMetrics(encoders, self._dataset, experiment.validation, self._options)

    def refuse_impossible(self, best_metric: str | None = None) -> None:
        """Finds out before hours of training whether the metrics can be measured: draws samples, loads networks.

        Args:
            best_metric: must be one of the metrics, unless None.

        Raises:
            UserError: a metric that is not known, or that data, model or numbers of images cannot serve; the weights of
                a network that are not to be had.
        """
        options = self._options
        if best_metric is not None and best_metric not in options.metrics:
            raise UserError(
                f"experiment.best_metric is {best_metric!r}, which is not one of evaluation.metrics = "
                f"{options.metrics}; add it there, or set experiment.best_metric = None"
            )
        for preset in self._presets if self._of_codes else ():
            draw_samples(self._dataset, self._of_codes, preset, options.seed)
        self._pairs.refuse_impossible()
        self._images.refuse_impossible(self._presets)

    def scores(self, preset: str, progress: Progress | None = None, cache: Path | None = None) -> Scores:
        """Metric id to its result, as plain data; of generated images the id names the network too.

        Args:
            preset: `paper` or `fast`.
            progress: told how many images are encoded, and of how many.
            cache: a folder for what real images give. Default: only memory keeps it.

        Raises:
            UserError: a metric that is not known, or that the data cannot serve.
        """
        options = self._options
        found: dict[str, dict[str, MetricResult]] = {}
        if self._of_codes:
            results = evaluate(
                self._dataset,
                self._encode,
                self._of_codes,
                preset,
                options.seed,
                options.batch,
                progress,
                more=self._about_codes(),
            )
            found |= {name: {name: result} for name, result in results.items()}
        if self._pairs.metrics:
            found |= {name: {name: result} for name, result in self._pairs.scores(preset, progress).items()}
        if self._images.metrics:
            found |= self._images.scores(preset, cache, progress)
        in_order = dict.fromkeys(options.metrics)
        return {full: result.to_json() for name in in_order for full, result in found[name].items()}

    def _about_codes(self) -> dict[str, np.ndarray]:
        """Which columns of the model's own representation are its first categorical code, if it has one."""
        own = next(iter(self._model.representations))
        if self._options.representation not in (None, own):
            return {}
        columns = self._model.latent_space.categorical_columns()
        return {"code_columns": np.array(columns[0])} if columns else {}

    def kept_scores(self, folder: Path, preset: str, progress: Progress | None = None) -> Scores:
        """The same, from the file of this step, preset and fingerprint if there is one; else measured and written.

        Args:
            folder: where these files are, and what real images give.
            preset, progress: as in `scores`.
        """
        path = folder / f"step_{int(self._model.step.numpy()):09d}_{preset}.json"
        identity = {
            "fingerprint": self._model.fingerprint(),
            "data": self._dataset.name,
            "source": self._dataset.source,
            "images": self._dataset.num_examples,
            "metrics": list(self._options.metrics),
            "seed": self._options.seed,
            "representation": self._options.representation,
            **self._pairs.identity(),
            **self._images.identity(preset),
        }
        if path.is_file():
            # A damaged one is measured anew.
            with contextlib.suppress(UserError):
                kept = read_json(path)
                if {key: kept.get(key) for key in identity} == identity and isinstance(kept.get("scores"), dict):
                    return kept["scores"]
        scores = self.scores(preset, progress, folder / _STATISTICS)
        write_text(path, json.dumps({**identity, "preset": preset, "scores": scores}, indent=2) + "\n")
        return scores


def score_values(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Only the numbers: metric id to score."""
    return {name: result["score"] for name, result in scores.items() if result["score"] is not None}


def part_values(result: Mapping[str, Any]) -> dict[str, float]:
    """The parts of a result that stand beside its score: both directions of retrieval, at the first k."""
    found: dict[str, float] = {}
    for part in PARTS:
        value = result.get(part)
        if isinstance(value, Mapping):
            value = next(iter(value.values()), None)
        if value is not None:
            found[part] = float(value)
    return found


def recorded_values(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The numbers with their parts: `recall_at_k`, `recall_at_k/x_to_y` and so on."""
    values = score_values(scores)
    found: dict[str, float] = {}
    for name, result in scores.items():
        if name in values:
            found[name] = values[name]
        found |= {f"{name}/{part}": value for part, value in part_values(result).items()}
    return found


def value_of(scores: Mapping[str, Mapping[str, Any]], metric_id: str) -> float | None:
    """The score of a metric, whatever network its full id names; None if it has none."""
    return next((value for name, value in score_values(scores).items() if bare_id(name) == metric_id), None)
