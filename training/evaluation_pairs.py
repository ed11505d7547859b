"""Scores of models of pairs: whether an image finds its partner, or images of its class, in the other domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, near_matches
from data_gen.dataset import Dataset, limited_indices
from data_gen.features import FeatureDataset
from data_gen.pairs import PairedDataset
from metrics import registry
from metrics.features import in_whole_batches
from metrics.results import MetricResult
from training.evaluation_kinds import OF_PAIRS, of_kinds
from training.options import EvaluationOptions

FAST_PAIRS = 1_000
"""Pairs, or queries, that the preset fast looks at."""

Encode = Callable[[np.ndarray], np.ndarray]
Progress = Callable[[int, int], None]
Data = Dataset | FeatureDataset


class PairMetrics:
    """Measures what of `evaluation.metrics` is of models of pairs, on pairs that are held out.

    Args:
        encoders: `shared_x`, `shared_y`, `exclusive_x` and `exclusive_y`, as functions of arrays.
        dataset: what the model learns from; what it holds out is measured.
        validation: pairs to choose a checkpoint by; None: there are none.
        options: metrics, batch, and the factor that makes classes.
    """

    def __init__(
        self,
        encoders: dict[str, Encode],
        dataset: Data,
        validation: PairedDataset | None,
        options: EvaluationOptions,
    ) -> None:
        self._encoders, self._dataset, self._validation, self._options = encoders, dataset, validation, options

    @property
    def metrics(self) -> list[str]:
        """The metrics that are measured here."""
        return of_kinds(self._options.metrics, *OF_PAIRS)

    def refuse_impossible(self) -> None:
        """Refuses metrics that these data cannot serve.

        Raises:
            UserError: no pairs, none held out, none for validation, or no classes.
        """
        if of_kinds(self.metrics, "pairs"):
            self._held_out_pairs()
        if of_kinds(self.metrics, "validation"):
            self._validation_pairs()
        if of_kinds(self.metrics, "classes"):
            self._labels(*self._classes_of(), np.arange(1))

    def identity(self) -> dict[str, Any]:
        """What the scores depend on, beyond the weights and the training data; nothing if nothing is measured."""
        found: dict[str, Any] = {}
        if of_kinds(self.metrics, "pairs", "classes"):
            held_out = self._dataset.held_out
            found["held_out"] = None if held_out is None else [held_out.name, held_out.num_examples]
        if of_kinds(self.metrics, "validation"):
            pairs = self._validation_pairs()
            found["validation"] = [pairs.name, pairs.num_examples]
        if of_kinds(self.metrics, "classes"):
            found["class_factor"] = self._options.class_factor
        return found

    def scores(self, preset: str, progress: Progress | None) -> dict[str, MetricResult]:
        """The result of each metric.

        Args:
            preset: `paper`: all that is held out; `fast`: the first 1,000 pairs, or 1,000 queries. Pairs for
                validation are always all looked at.
            progress: told how many images are encoded, and of how many.

        Raises:
            UserError: as `refuse_impossible`; codes that are not finite.
        """
        results: dict[str, MetricResult] = {}
        if ids := of_kinds(self.metrics, "pairs"):
            results |= self._of_pairs(ids, self._held_out_pairs(), FAST_PAIRS if preset == "fast" else None, progress)
        if ids := of_kinds(self.metrics, "validation"):
            results |= self._of_pairs(ids, self._validation_pairs(), None, progress)
        if ids := of_kinds(self.metrics, "classes"):
            results |= self._of_classes(ids, preset, progress)
        return {name: results[name] for name in self.metrics}

    def _of_pairs(
        self, ids: list[str], pairs: PairedDataset, most: int | None, progress: Progress | None
    ) -> dict[str, MetricResult]:
        count = pairs.num_examples if most is None else min(most, pairs.num_examples)
        needed = {name for metric in ids for name in registry.get(metric).needs}
        arrays: dict[str, np.ndarray] = {}
        for side in ("x", "y"):
            codes = [name for name in sorted(needed) if name.endswith(f"_{side}")]
            tell = None if progress is None else _part_of(progress, count * (side == "y"), 2 * count)
            arrays |= self._codes(pairs, side, codes, np.arange(count), tell)
        note = f"{count:,} pairs, {pairs.name}"
        if count < pairs.num_examples:
            note = f"the first {count:,} of {pairs.num_examples:,} pairs, {pairs.name} (preset fast)"
        results = registry.score_arrays(arrays, ids, seed=self._options.seed)
        return {name: result.with_notes((note,)) for name, result in results.items()}

    def _of_classes(self, ids: list[str], preset: str, progress: Progress | None) -> dict[str, MetricResult]:
        data, column = self._classes_of()
        sizes = [_size(data, side) for side in ("x", "y")]
        queries = np.arange(sizes[0])
        if preset == "fast" and sizes[0] > FAST_PAIRS:
            queries = limited_indices(sizes[0], FAST_PAIRS)
        gallery = np.arange(sizes[1])
        total = queries.size + gallery.size
        tell = [None if progress is None else _part_of(progress, start, total) for start in (0, queries.size)]
        arrays = {
            "queries": self._codes(data, "x", ["shared_x"], queries, tell[0])["shared_x"],
            "query_labels": self._labels(data, column, queries, "x"),
            "gallery": self._codes(data, "y", ["shared_y"], gallery, tell[1])["shared_y"],
            "gallery_labels": self._labels(data, column, gallery, "y"),
        }
        note = f"x of {data.name} as queries, y as gallery"
        if queries.size < sizes[0]:
            note = f"{queries.size:,} of the {sizes[0]:,} queries (preset fast): {note}"
        results = registry.score_arrays(arrays, ids, seed=self._options.seed)
        return {name: result.with_notes((note,)) for name, result in results.items()}

    def _codes(
        self, data: Data, side: str, names: Sequence[str], numbers: NDArray[np.int64], progress: Progress | None
    ) -> dict[str, np.ndarray]:
        """Codes of images or vectors of one domain; each is looked up once."""
        batch = self._options.batch
        parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for start in range(0, numbers.size, batch):
            images = _images_of(data, side, numbers[start : start + batch])
            for name in names:
                parts[name].append(in_whole_batches(self._encoders[name], images, batch))
            if progress is not None:
                progress(min(start + batch, numbers.size), numbers.size)
        return {name: np.concatenate(blocks) for name, blocks in parts.items()}

    def _held_out_pairs(self) -> PairedDataset:
        name, held_out = of_kinds(self.metrics, "pairs")[0], self._dataset.held_out
        if not isinstance(self._dataset, PairedDataset) or not self._dataset.is_paired:
            raise UserError(
                f"evaluation.metrics: {name} is of pairs that belong together, and {self._dataset.name} has none; "
                "leave it out"
            )
        if not isinstance(held_out, PairedDataset):
            raise UserError(
                f"evaluation.metrics: {name} is measured on pairs held out, and {self._dataset.name} holds none out; "
                "train on its split train, or leave the metric out"
            )
        return held_out

    def _validation_pairs(self) -> PairedDataset:
        if self._validation is None:
            raise UserError(
                f"evaluation.metrics: {of_kinds(self.metrics, 'validation')[0]} is measured on pairs for validation, "
                "and there are none; keep some of the training pairs for it, such as data.validation = 800"
            )
        return self._validation

    def _classes_of(self) -> tuple[Data, int | None]:
        """The data that classes are looked for in, and which of their factors makes the classes."""
        name, factor = of_kinds(self.metrics, "classes")[0], self._options.class_factor
        held_out = self._dataset.held_out
        if held_out is None:
            raise UserError(
                f"evaluation.metrics: {name} is measured on what is held out, and {self._dataset.name} holds nothing "
                "out; train on its split train, or leave the metric out"
            )
        if isinstance(held_out, FeatureDataset):
            if factor is not None:
                raise UserError(f"evaluation.class_factor is {factor!r}, but {held_out.name} has classes of its own")
            return held_out, None
        names = held_out.factor_names
        if not names or held_out.has_real_factors:
            raise UserError(f"evaluation.metrics: {name} needs classes, and {held_out.name} has none; leave it out")
        if factor not in names:
            hint = near_matches(factor, names) if factor else f"; allowed: {', '.join(names)}"
            raise UserError(
                f"evaluation.class_factor is {factor!r}, but {name} needs the factor that makes classes{hint}"
            )
        return held_out, names.index(factor)

    def _labels(self, data: Data, column: int | None, numbers: NDArray[np.int64], side: str = "x") -> NDArray[np.int64]:
        if isinstance(data, FeatureDataset):
            return (data.x if side == "x" else data.y).labels[numbers]
        return data.factors_at(numbers)[:, column or 0]


def _images_of(data: Data, side: str, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
    """Images in [0, 1] or vectors of one domain."""
    if isinstance(data, FeatureDataset):
        return (data.x if side == "x" else data.y).vectors[numbers]
    if not isinstance(data, PairedDataset):
        raise TypeError(f"{data.name} has no pairs")
    images = data.x_images_at(numbers) if side == "x" else data.y_images_at(numbers)
    return np.divide(images, 255, dtype=np.float32)


def _size(data: Data, side: str) -> int:
    if isinstance(data, FeatureDataset):
        return len((data.x if side == "x" else data.y).vectors)
    return data.num_examples


def _part_of(progress: Progress, before: int, total: int) -> Progress:
    """The progress of a part as that of the whole."""
    return lambda done, _: progress(before + done, total)
