"""Scores of models of pairs: brute-force answers, what is held out for choosing, what is refused, what is kept."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from data_gen.pairs import PairedDataset
from metrics.pair_selection import shared_recall_exclusive_at_chance
from training import evaluation_pairs, modes, summary
from training.checkpoints import Checkpoints
from training.configuration import load
from training.evaluation import Evaluator, recorded_values
from training.experiment import Experiment, build
from training.options import DataOptions
from training.train import train
from training.validation import with_validation

PAIRS = (
    "data.source = 'synthetic'",
    "data.options = {'size': 64, 'num_train': 40}",
    "data.validation = 7",
    "iiae.width = 1",
    "iiae.exclusive_size = 1",
    "iiae.shared_size = 2",
    "experiment.global_batch = 2",
    "experiment.picture_every = 0",
    "evaluation.batch = 8",
)
VECTORS = ("data.source = 'synthetic'", "iiae.width = 2", "experiment.global_batch = 20", "evaluation.batch = 60")


def configured(*bindings: str) -> Any:
    return load(["gin/iiae_mnist_cdcb_64.gin"], [*PAIRS, *bindings])[0]


@functools.cache
def built() -> Experiment:
    return build(configured())


def pairs(*bindings: str) -> Experiment:
    """The same model and data with other options of the evaluation."""
    return dataclasses.replace(built(), configuration=configured(*bindings))


def vectors(*bindings: str) -> Experiment:
    return build(load(["gin/iiae_sketchy.gin"], [*VECTORS, *bindings])[0])


def images(dataset: PairedDataset, side: str) -> np.ndarray:
    at = dataset.x_images_at if side == "x" else dataset.y_images_at
    return at(np.arange(dataset.num_examples)).astype(np.float32) / 255


def codes(experiment: Experiment, dataset: PairedDataset, kind: str) -> tuple[np.ndarray, np.ndarray]:
    function = getattr(experiment.model, f"{kind}_code")
    return tuple(function(images(dataset, side), side).numpy().astype(np.float64) for side in ("x", "y"))


def found(queries: np.ndarray, gallery: np.ndarray) -> int:
    """How many queries are nearest to the row of the gallery with their own number."""
    hits = 0
    for number, query in enumerate(queries):
        hits += int(np.argmin(((gallery - query) ** 2).sum(axis=1)) == number)
    return hits


def test_recall_of_the_pairs_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_pairs, "FAST_PAIRS", 5)
    experiment = pairs()
    scores = Evaluator(experiment).scores("paper")
    assert list(scores) == ["recall_at_k", "exclusive_recall_at_k", "shared_recall_exclusive_at_chance"]
    held_out, validation = experiment.dataset.held_out, experiment.validation
    assert isinstance(held_out, PairedDataset)
    assert validation is not None
    count = held_out.num_examples
    for name, kind in (("recall_at_k", "shared"), ("exclusive_recall_at_k", "exclusive")):
        x, y = codes(experiment, held_out, kind)
        assert scores[name]["x_to_y"]["1"] == pytest.approx(found(x, y) / count)
        assert scores[name]["y_to_x"]["1"] == pytest.approx(found(y, x) / count)
        assert scores[name]["score"] == pytest.approx((found(x, y) + found(y, x)) / (2 * count))
        assert (scores[name]["pairs"], scores[name]["notes"][-1]) == (count, f"{count} pairs, {held_out.name}")
    recorded = recorded_values(scores)
    assert recorded["recall_at_k/x_to_y"] == scores["recall_at_k"]["x_to_y"]["1"]
    selection = scores["shared_recall_exclusive_at_chance"]
    (x, y), (x_own, y_own) = (codes(experiment, validation, kind) for kind in ("shared", "exclusive"))
    hits = found(x_own, y_own), found(y_own, x_own)
    expected = None if max(hits) > 1 else pytest.approx((found(x, y) + found(y, x)) / 14)
    assert (selection["pairs"], selection["score"]) == (7, expected)
    assert (selection["exclusive_hits_x_to_y"], selection["exclusive_hits_y_to_x"]) == pytest.approx(hits)
    fast = Evaluator(experiment).scores("fast")
    assert (fast["recall_at_k"]["pairs"], fast["shared_recall_exclusive_at_chance"]["pairs"]) == (5, 7)
    assert "(preset fast)" in fast["recall_at_k"]["notes"][-1]


@pytest.mark.parametrize(
    ("shared_hits", "exclusive_hits", "score"), [(10, 1, 1.0), (6, 0, 0.6), (10, 2, None), (0, 1, 0.0)]
)
def test_the_rule_of_the_authors(shared_hits: int, exclusive_hits: int, score: float | None) -> None:
    def partners(hits: int) -> tuple[np.ndarray, np.ndarray]:
        x, order = np.eye(10), np.arange(10)
        # A circle of those that miss; one alone could miss nothing.
        order[hits:] = np.roll(order[hits:], 1)
        return x, x[order]

    shared, exclusive = partners(shared_hits), partners(exclusive_hits)
    result = shared_recall_exclusive_at_chance(*shared, *exclusive)
    assert result.to_json()["score"] == (score if score is None else pytest.approx(score))
    assert (result.exclusive_hits_x_to_y, result.exclusive_hits_y_to_x) == pytest.approx([exclusive_hits] * 2)
    assert any("exclusive codes find" in text for text in result.degenerate) == (score is None)


def test_exclusive_codes_without_information_are_at_chance() -> None:
    rng = np.random.default_rng(0)
    shared, constant = rng.normal(size=(801, 3)), np.zeros((801, 2))
    result = shared_recall_exclusive_at_chance(shared, shared, constant, constant)
    assert result.score == 1.0
    with pytest.raises(ValueError, match="shared codes of 801 pairs, exclusive ones of 800"):
        shared_recall_exclusive_at_chance(shared, shared, constant[1:], constant[1:])


def test_pairs_for_validation_are_not_trained_on() -> None:
    experiment = built()
    validation = experiment.validation
    assert validation is not None
    assert isinstance(experiment.dataset, PairedDataset)
    sets = [{image.tobytes() for image in images(part, "x")} for part in (experiment.dataset, validation)]
    assert [len(part) for part in sets] == [33, 7]
    assert not sets[0] & sets[1]
    whole = build(configured("data.validation = 0"))
    assert {image.tobytes() for image in images(whole.dataset, "x")} == sets[0] | sets[1]  # type: ignore[arg-type]
    assert experiment.dataset.held_out is not None
    assert whole.dataset.held_out is not None
    assert experiment.dataset.held_out.fingerprint() == whole.dataset.held_out.fingerprint()
    assert whole.validation is None

    as_theirs, validation = with_validation(whole.dataset, DataOptions(validation=9, validation_split="trained_on"))
    assert as_theirs is whole.dataset
    assert validation is not None
    np.testing.assert_array_equal(validation.x_images_at([8]), whole.dataset.x_images_at([8]))  # type: ignore[attr-defined]
    assert validation.num_examples == 9


def test_another_split_for_validation(capsys: pytest.CaptureFixture[str]) -> None:
    more = ("data.name = 'facades'", "data.options = {'size': 64, 'num_examples': 8}", "data.validation_split = 'val'")
    experiment = build(configured(*more, "data.validation = 3"))
    assert experiment.validation is not None
    assert (experiment.dataset.num_examples, experiment.validation.num_examples) == (8, 3)
    assert "val" in experiment.validation.name
    with pytest.raises(UserError, match="unknown split 'vall' of facades"):
        build(configured(*more, "data.validation_split = 'vall'"))
    taken = build(configured(*more, "data.validation_split = 'train'"))
    assert (taken.dataset.num_examples, taken.validation and taken.validation.num_examples) == (7, 1)
    assert "a fifth of facades_synthetic, where data.validation is 7" in capsys.readouterr().err


def test_classes_of_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = vectors()
    held_out: Any = experiment.dataset.held_out
    queries, gallery = (
        experiment.model.shared_code(side.vectors, name).numpy().astype(np.float64)  # type: ignore[attr-defined]
        for name, side in (("x", held_out.x), ("y", held_out.y))
    )
    unit = [table / np.linalg.norm(table, axis=1, keepdims=True) for table in (queries, gallery)]
    precisions, firsts = [], []
    for query, label in zip(unit[0], held_out.x.labels, strict=True):
        relevant = held_out.y.labels[np.argsort(-(unit[1] @ query))] == label
        places = np.flatnonzero(relevant) + 1
        precisions.append(np.mean(np.arange(1, places.size + 1) / places))
        firsts.append(relevant[:100].mean())
    scores = Evaluator(experiment).scores("paper")
    assert list(scores) == ["map_all", "precision_at_k"]
    assert scores["map_all"]["score"] == pytest.approx(float(np.mean(precisions)))
    assert scores["precision_at_k"]["score"] == pytest.approx(float(np.mean(firsts)))
    monkeypatch.setattr(evaluation_pairs, "FAST_PAIRS", 30)
    fast = Evaluator(experiment).scores("fast")["map_all"]
    assert (fast["queries"], fast["gallery"]) == (30, len(gallery))
    assert len(fast["per_class"]) > 2
    page = summary.score_rows(experiment, scores).html()
    assert "0.573" in page
    assert "0.659" in page


def test_classes_of_pairs() -> None:
    experiment = pairs("evaluation.metrics = ('map_all',)", "evaluation.class_factor = 'digit'")
    result = Evaluator(experiment).scores("fast")["map_all"]
    held_out = experiment.dataset.held_out
    assert held_out is not None
    assert result["queries"] == held_out.num_examples
    assert set(result["per_class"]) == {str(digit) for digit in set(held_out.factors_at(np.arange(20))[:, 0])}


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (("evaluation.metrics = ('map_all',)",), "class_factor is None, but map_all needs .*allowed: digit"),
        (
            ("evaluation.metrics = ('map_all',)", "evaluation.class_factor = 'digits'"),
            "class_factor is 'digits'.*did you mean 'digit'",
        ),
        (("evaluation.metrics = ('recall_at_k', 'mig')",), "mig is of the codes of single images"),
        (("data.validation = 0",), "measured on pairs for validation, and there are none.*data.validation = 800"),
        (("data.options = {'size': 64, 'split': 'test'}",), "recall_at_k is measured on pairs held out"),
        (("experiment.best_metric = 'map_all'",), "not one of evaluation.metrics"),
    ],
)
def test_what_is_refused(bindings: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _refuse(build(configured(*bindings)), *bindings)


def _refuse(experiment: Experiment, *bindings: str) -> None:
    best = "map_all" if any("best_metric" in binding for binding in bindings) else None
    Evaluator(experiment).refuse_impossible(best)


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (("evaluation.metrics = ('recall_at_k',)",), "recall_at_k is of pairs that belong together"),
        (("evaluation.metrics = ('fid',)",), "fid is of images, and sketchy_synthetic_split1 has none"),
        (("evaluation.class_factor = 'class'",), "has classes of its own"),
        (("data.validation = 5",), "no pairs of images to keep for validation"),
        (("data.options = {'split': 'test'}", "experiment.global_batch = 5"), "holds nothing out"),
    ],
)
def test_what_vectors_cannot_do(bindings: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _refuse(vectors(*bindings))


def test_kept_scores_are_of_these_pairs(tmp_path: Path) -> None:
    first = Evaluator(pairs()).kept_scores(tmp_path, "paper")
    (path,) = tmp_path.glob("step_*.json")
    kept = json.loads(path.read_text(encoding="utf-8"))
    kept["scores"]["recall_at_k"]["score"] = 0.125
    path.write_text(json.dumps(kept), encoding="utf-8")
    again = Evaluator(pairs()).kept_scores(tmp_path, "paper")
    assert again["recall_at_k"]["score"] == 0.125
    validation = PairedDataset.subset(pairs().validation, np.arange(6), "others")  # type: ignore[arg-type]
    other = Evaluator(dataclasses.replace(pairs(), validation=validation)).kept_scores(tmp_path, "paper")
    assert other["recall_at_k"] == first["recall_at_k"]
    assert other["shared_recall_exclusive_at_chance"]["pairs"] == 6


@pytest.fixture(scope="module")
def killed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed at step 6, right after the best was saved, and started again."""
    events = ("total_steps = 8", "chunk_steps = 2", "checkpoint_every = 4", "evaluate_every = 2", "best_after = 3")
    bindings = [*VECTORS, *(f"experiment.{event}" for event in events), "experiment.best_metric = 'map_all'"]
    # Of vectors, which take the least time.
    configuration, text = load(["gin/iiae_sketchy.gin"], bindings)
    folder = tmp_path_factory.mktemp("killed") / "run"
    save = Checkpoints.save_if_best

    def save_and_die(self: Checkpoints, score: float) -> bool:
        saved = save(self, score)
        if self.step == 6:
            raise KeyboardInterrupt
        return saved

    with pytest.MonkeyPatch.context() as patch:
        # That lower is better is pretended, for the scores rise.
        patch.setattr("training.train.lower_is_better", lambda name: name == "map_all")
        patch.setattr(Checkpoints, "save_if_best", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train(configuration, text, [], folder)
        patch.setattr(Checkpoints, "save_if_best", save)
        assert train(configuration, text, [], folder) == 0
    return folder


def test_the_best_survives_a_kill(killed_run: Path) -> None:
    records = [json.loads(line) for line in (killed_run / "metrics.jsonl").read_text().splitlines()]
    scores = {r["step"]: r["score_fast/map_all"] for r in records if "score_fast/map_all" in r}
    assert list(scores) == [0, 2, 4, 6, 8]
    best = min((4, 6, 8), key=lambda step: (scores[step], step))
    assert [path.stem for path in (killed_run / "checkpoints" / "best").glob("*.index")] == [f"ckpt-{best}"]


def test_a_finished_run_without_metrics_is_measured(killed_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = killed_run / "configuration.gin"
    kept = [
        line
        for line in stored.read_text(encoding="utf-8").splitlines()
        if not line.startswith(("evaluation.metrics", "experiment.best_metric"))
    ]
    stored.write_text("\n".join(kept) + "\n", encoding="utf-8")
    configuration, _, run_dir = modes.configuration_of([], [], str(killed_run))
    assert configuration.evaluation.metrics == ()
    more = "evaluation.metrics = ('map_all', 'map_at_k_reference')"
    configuration, _, run_dir = modes.configuration_of([], [more], str(killed_run))
    assert modes.evaluate(*modes.restored(configuration, run_dir, "last")) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result["metrics"]) == ["map_all", "map_at_k_reference"]
    assert 0 < result["metrics"]["map_all"]["score"] <= 1
