"""Scores of a run: the metrics on its data, kept per checkpoint so that nothing is measured twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.files import write_text
from metrics.registry import draw_samples, evaluate
from models.base import DisentanglementModel
from training.experiment import Experiment, compiled_encoder
from training.options import EvaluationOptions
from training.run_folder import read_json

Scores = dict[str, dict[str, Any]]


class Evaluator:
    """Measures a model with the configured metrics.

    Args:
        experiment: data, model and options.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._dataset = experiment.dataset
        self._options: EvaluationOptions = experiment.configuration.evaluation
        self._encode = compiled_encoder(experiment.model, self._options.representation)
        self._model: DisentanglementModel = experiment.model

    def refuse_impossible(self, best_metric: str | None = None) -> None:
        """Finds out before hours of training whether the metrics can be measured; draws their samples, encodes nothing.

        Args:
            best_metric: must be one of the metrics, unless None.

        Raises:
            UserError: a metric that is not known, or that the data cannot serve.
        """
        options = self._options
        if best_metric is not None and best_metric not in options.metrics:
            raise UserError(
                f"experiment.best_metric is {best_metric!r}, which is not one of evaluation.metrics = "
                f"{options.metrics}; add it there, or set experiment.best_metric = None"
            )
        if options.metrics:
            draw_samples(self._dataset, options.metrics, options.preset, options.seed)

    def scores(self, preset: str, progress: Callable[[int, int], None] | None = None) -> Scores:
        """Metric id to its result, as plain data.

        Args:
            preset: `paper` or `fast`.
            progress: told how many images are encoded, and of how many.

        Raises:
            UserError: a metric that is not known, or that the data cannot serve.
        """
        options = self._options
        if not options.metrics:
            return {}
        results = evaluate(
            self._dataset,
            self._encode,
            options.metrics,
            preset,
            options.seed,
            options.batch,
            progress,
            more=self._about_codes(),
        )
        return {name: result.to_json() for name, result in results.items()}

    def _about_codes(self) -> dict[str, np.ndarray]:
        """Which columns of the model's own representation are its first categorical code, if it has one."""
        own = next(iter(self._model.representations))
        if self._options.representation not in (None, own):
            return {}
        columns = self._model.latent_space.categorical_columns()
        return {"code_columns": np.array(columns[0])} if columns else {}

    def kept_scores(self, folder: Path, preset: str, progress: Callable[[int, int], None] | None = None) -> Scores:
        """The same, from the file of this step, preset and fingerprint if there is one; else measured and written."""
        path = folder / f"step_{int(self._model.step.numpy()):09d}_{preset}.json"
        identity = {
            "fingerprint": self._model.fingerprint(),
            "data": self._dataset.name,
            "source": self._dataset.source,
            "images": self._dataset.num_examples,
            "metrics": list(self._options.metrics),
            "seed": self._options.seed,
            "representation": self._options.representation,
        }
        if path.is_file():
            kept = read_json(path)
            if {key: kept.get(key) for key in identity} == identity:
                return kept["scores"]
        scores = self.scores(preset, progress)
        write_text(path, json.dumps({**identity, "preset": preset, "scores": scores}, indent=2) + "\n")
        return scores


def score_values(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Only the numbers: metric id to score."""
    return {name: result["score"] for name, result in scores.items() if result["score"] is not None}
