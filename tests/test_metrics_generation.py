"""Scoring a generator, the protocol of VGAN, and the ids of generation and retrieval on arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from metrics import generation, generation_catalogue, registry
from metrics.feature_statistics import FeatureStatistics
from metrics.features import Extractor, from_function
from metrics.fid import fid, kid, kid_all
from metrics.generation import score_classes, score_generator, vgan_compat_fid, vgan_counts, vgan_reals
from metrics.inputs import GENERATION_KEYS
from metrics.precision_recall import precision, recall
from metrics.results import MetricResult
from metrics.retrieval import map_at_k_reference, precision_at_k, recall_at_k

SHAPE = (4, 4, 3)


class Noise:
    """Random images as a data set; every call is remembered."""

    name = "noise"

    def __init__(self, count: int, seed: int = 0) -> None:
        self.num_examples = count
        self.asked: list[np.ndarray] = []
        self._images = np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), dtype=np.uint8)

    def images_at(self, indices: np.ndarray, /) -> np.ndarray:
        self.asked.append(np.asarray(indices))
        return self._images[indices]

    def fingerprint(self) -> str:
        return f"noise of {self.num_examples}"


def channel_means(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)[:, ::7].astype(np.float64)


def generate(start: int, count: int) -> np.ndarray:
    """Image i is a function of i, however many are asked for at once."""
    return np.stack([np.random.default_rng(number).random(SHAPE) ** 2 for number in range(start, start + count)])


PIXELS = from_function("pixels", channel_means, batch_size=32)
VGAN_PIXELS = Extractor("vgan_pixels", channel_means, "pixels", lowest=-1.0, highest=1 + 1 / 128, batch_size=32)


def test_all_metrics_of_features() -> None:
    data = Noise(1100)
    ids = ["fid", "kid", "kid_all", "improved_precision", "improved_recall"]
    seen: list[tuple[int, int]] = []
    results = score_generator(
        data, generate, PIXELS, ids, num_fakes=1001, progress=lambda done, of: seen.append((done, of))
    )
    real = channel_means(data._images.astype(np.float32) / np.float32(255))
    fake = channel_means(generate(0, 1001).astype(np.float32))
    expected = [fid(real, fake), kid(real, fake), kid_all(real, fake), precision(real, fake), recall(real, fake)]
    assert list(results) == [f"{name}_function_pixels" for name in ids]
    for found, wanted in zip(results.values(), expected, strict=True):
        assert found.score == pytest.approx(wanted.score, rel=1e-9)
        assert found.to_json()["extractor"] == "function_pixels"
        assert "1,001 generated images, where 50,000 are usual" in found.notes
    assert seen[-1] == (2101, 2101)
    # Each real image was looked at once.
    assert sorted(np.concatenate(data.asked).tolist()) == list(range(1100))
    alone = score_generator(Noise(1100), generate, PIXELS, num_fakes=1001)
    assert alone["fid_function_pixels"].score == results["fid_function_pixels"].score


def test_reals_are_drawn_without_replacement() -> None:
    data, again, other = Noise(300), Noise(300), Noise(300)
    first, second, third = (
        score_generator(each, generate, PIXELS, num_fakes=50, num_reals=100, seed=seed)["fid_function_pixels"].score
        for each, seed in ((data, 0), (again, 0), (other, 1))
    )
    assert first == second != third
    numbers = np.concatenate(data.asked)
    assert len(set(numbers.tolist())) == 100
    score_generator(data, generate, PIXELS, num_fakes=50, num_reals=None)
    assert np.concatenate(data.asked).size == 400


def test_statistics_of_reals_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = []
    for folder in (None, tmp_path, tmp_path):
        data = Noise(200)
        result = score_generator(data, generate, PIXELS, num_fakes=60, cache=folder)
        scores.append(result["fid_function_pixels"].score)
        assert bool(data.asked) == (len(scores) < 3)
    assert len(set(scores)) == 1
    # Another extractor, another draw, another data set: another file.
    other = from_function("others", channel_means)
    score_generator(Noise(200), generate, other, num_fakes=60, cache=tmp_path)
    score_generator(Noise(200), generate, PIXELS, num_fakes=60, num_reals=90, cache=tmp_path)
    score_generator(Noise(200), generate, PIXELS, num_fakes=60, num_reals=90, seed=1, cache=tmp_path)
    score_generator(Noise(201), generate, PIXELS, num_fakes=60, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 5
    monkeypatch.setattr(generation, "statistics_of", lambda name, features: FeatureStatistics(9, np.ones(7), np.eye(7)))
    score_generator(Noise(200), generate, PIXELS, ["fid", "kid_all"], num_fakes=60, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("measure", [score_generator, vgan_compat_fid])
def test_progress_comes_to_its_end_though_the_reals_are_known(
    tmp_path: Path, measure: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "VGAN_FAKES", 100)
    monkeypatch.setattr(generation, "VGAN_REALS", 200)
    extractor = PIXELS if measure is score_generator else VGAN_PIXELS
    options = {"num_fakes": 60} if measure is score_generator else {}
    fakes, reals = (60, 200) if measure is score_generator else vgan_counts()
    # Computed, of a file, of memory.
    memory: dict[str, object] = {}
    for total in (fakes + reals, fakes, fakes):
        told: list[tuple[int, int]] = []
        measure(
            Noise(200),
            generate,
            extractor,
            **options,
            progress=lambda done, of, told=told: told.append((done, of)),
            cache=tmp_path,
            memory=memory,
        )
        assert told[-1] == (total, total)
        if total > fakes:
            memory.clear()


def test_the_counts_of_vgan() -> None:
    # 5,000 rounded up, 10,000 rounded down to whole batches.
    assert vgan_counts() == (5056, 9984)
    assert vgan_counts(32) == (5024, 9984)
    assert vgan_counts(50) == (5000, 10_000)


def test_the_real_images_of_vgan() -> None:
    data = Noise(100)
    batches = list(vgan_reals(data, seed=0))
    assert len(batches) == 156
    originals = 2 * (data._images / np.float32(255)) - 1
    mirrored, noises = 0, []
    for numbers, images in zip(data.asked, batches, strict=True):
        # No image twice in a batch; over batches they repeat.
        assert len(set(numbers.tolist())) == 64
        plain = images - originals[numbers]
        flipped = images - originals[numbers][:, :, ::-1]
        is_flipped = np.abs(flipped).max(axis=(1, 2, 3)) < np.abs(plain).max(axis=(1, 2, 3))
        mirrored += int(is_flipped.sum())
        noises.append(np.where(is_flipped[:, None, None, None], flipped, plain))
    noise = np.concatenate(noises)
    assert -1e-6 < noise.min() < 1e-4
    assert 1 / 128 - 1e-4 < noise.max() < 1 / 128 + 1e-6
    assert noise.mean() == pytest.approx(1 / 256, rel=1e-2)
    assert mirrored / 9984 == pytest.approx(0.5, abs=0.02)
    again = next(vgan_reals(data, seed=0))
    assert again.tobytes() == batches[0].tobytes()


def test_fid_in_the_protocol_of_vgan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "VGAN_FAKES", 100)
    monkeypatch.setattr(generation, "VGAN_REALS", 200)
    data = Noise(80)
    results = vgan_compat_fid(data, generate, VGAN_PIXELS, seed=3)
    (name,) = results
    assert name == "fid_vgan_compat_vgan_pixels"
    real = channel_means(np.concatenate(list(vgan_reals(data, 3))))
    fake = channel_means(2 * generate(0, 128).astype(np.float32) - 1)
    assert (len(real), len(fake)) == (192, 128)
    assert results[name].score == pytest.approx(fid(real, fake).score, rel=1e-9)
    assert any("not comparable with any other FID" in note for note in results[name].notes)
    with pytest.raises(ValueError, match=r"function_pixels takes images in \[0, 1\], not \[-1, 1\]"):
        vgan_compat_fid(data, generate, PIXELS)
    with pytest.raises(UserError, match="batch_size is 81; noise has 80 images"):
        vgan_compat_fid(data, generate, VGAN_PIXELS, batch_size=81)


def classifier(images: np.ndarray) -> np.ndarray:
    weights = images.mean(axis=(1, 2)) + 0.1
    return weights / weights.sum(axis=1, keepdims=True)


def test_scores_of_classes() -> None:
    ids = ["inception_score", "inception_score_10_splits", "confidence", "mode_kl"]
    seen: list[tuple[int, int]] = []
    results = score_classes(
        generate, classifier, "means", ids, num_fakes=300, progress=lambda done, of: seen.append((done, of))
    )
    table = classifier(generate(0, 300).astype(np.float32))
    assert results["confidence_means"].score == pytest.approx(table.max(axis=1).mean())
    assert list(results) == [f"{name}_means" for name in ids]
    for result in results.values():
        assert "300 generated images, where the published protocol has 50,000" in result.notes
    assert results["inception_score_means"].score != results["inception_score_10_splits_means"].score
    assert seen == [(256, 300), (300, 300)]


def test_wrong_requests_are_refused() -> None:
    data = Noise(50)
    with pytest.raises(UserError, match="there is no metric 'fib' of generated images; did you mean 'fid'"):
        score_generator(data, generate, PIXELS, ["fib"])
    with pytest.raises(UserError, match="no metric was chosen"):
        score_generator(data, generate, PIXELS, [])
    with pytest.raises(TypeError, match="a list of ids"):
        score_generator(data, generate, PIXELS, "fid")
    with pytest.raises(UserError, match="fid: features_fake has 5 rows of 7 features; FID needs at least 8 images"):
        score_generator(data, generate, PIXELS, num_fakes=5)
    with pytest.raises(UserError, match="kid: features_real has 50 rows; KID draws subsets of 1,000"):
        score_generator(data, generate, PIXELS, ["kid"], num_fakes=60)
    with pytest.raises(UserError, match="generated images is 0"):
        score_generator(data, generate, PIXELS, num_fakes=0)
    with pytest.raises(ValueError, match="generate returned 3 images, not the 9 asked for"):
        score_generator(data, lambda start, count: generate(start, 3), PIXELS, num_fakes=9)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        score_generator(data, lambda start, count: generate(start, count) - 1, PIXELS, num_fakes=9)
    with pytest.raises(UserError, match="mode_kl: the rows of probabilities must add up to 1"):
        score_classes(generate, lambda images: classifier(images) / 2, "halves", ["mode_kl"], num_fakes=9)


def feature_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "features_real": rng.normal(size=(1200, 5)),
        "features_fake": rng.normal(size=(1100, 5)) + 0.2,
        "extractor": np.array("model_0123abcd"),
    }


def search_arrays(gallery: int = 30) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "queries": rng.normal(size=(12, 4)),
        "query_labels": np.arange(12) % 3,
        "gallery": rng.normal(size=(gallery, 4)),
        "gallery_labels": np.arange(gallery) % 3,
    }


def test_every_id_is_registered_and_reads_known_arrays() -> None:
    entries = {entry.name: entry for entry in generation_catalogue.ENTRIES}
    assert len(entries) == 17
    for name, entry in entries.items():
        metric = registry.get(name)
        assert set(metric.reads) <= set(GENERATION_KEYS)
        assert (metric.needs, metric.slow_in) == (entry.needs, entry.slow_in)
    assert {array for entry in entries.values() for array in (*entry.needs, *entry.reads)} == set(GENERATION_KEYS)


def test_features_from_a_file() -> None:
    arrays = feature_arrays()
    real, fake = arrays["features_real"], arrays["features_fake"]
    expected: dict[str, Callable[[], MetricResult]] = {
        "fid": lambda: fid(real, fake),
        "kid": lambda: kid(real, fake, seed=4),
        "kid_all": lambda: kid_all(real, fake),
        "improved_precision": lambda: precision(real, fake),
        "improved_recall": lambda: recall(real, fake),
    }
    results = registry.score_arrays(arrays, list(expected), seed=4)
    for name, measure in expected.items():
        assert results[name].score == measure().score
        assert results[name].to_json()["extractor"] == "model_0123abcd"
    assert any("1,100 generated images, where 50,000 are usual" in note for note in results["fid"].notes)
    assert "by model_0123abcd; numbers of other extractors cannot be compared" in results["kid"].notes
    del arrays["extractor"]
    unnamed = registry.score_arrays(arrays, ["fid"])["fid"]
    assert any("`extractor` does not say what made the numbers" in note for note in unnamed.notes)
    arrays["extractor"] = np.zeros(2)
    with pytest.raises(UserError, match="fid: extractor must be one text; it is float64"):
        registry.score_arrays(arrays, ["fid"])
    with pytest.raises(UserError, match="fid_vgan_compat needs vgan_features_real"):
        registry.score_arrays(arrays, ["fid_vgan_compat"])
    compat = {"vgan_features_real": real, "vgan_features_fake": fake}
    notes = registry.score_arrays(compat, ["fid_vgan_compat"])["fid_vgan_compat"].notes
    assert "1,100 generated and 1,200 real images, where the published protocol has 5,056 and 9,984" in notes


def test_probabilities_from_a_file() -> None:
    table = np.eye(3)[np.arange(60) % 3]
    ids = ["inception_score", "inception_score_10_splits", "confidence", "mode_kl"]
    results = registry.score_arrays({"probabilities": table, "extractor": np.array(["me"])}, ids)
    assert [result.score for result in results.values()] == pytest.approx([3, 3, 1, 0])
    assert results["inception_score_10_splits"].to_json()["splits"] == 10
    assert results["mode_kl"].to_json()["extractor"] == "me"


def test_codes_of_two_domains_from_a_file() -> None:
    rng = np.random.default_rng(2)
    codes = rng.normal(size=(20, 4))
    arrays = {"shared_x": codes, "shared_y": codes, "exclusive_x": codes, "exclusive_y": rng.normal(size=(20, 4))}
    results = registry.score_arrays(arrays, ["recall_at_k", "exclusive_recall_at_k"])
    assert results["recall_at_k"].score == 1.0
    assert "at k = 5: x to y 1.0000, y to x 1.0000, chance 0.2500" in results["recall_at_k"].notes
    assert results["exclusive_recall_at_k"].score == recall_at_k(codes, arrays["exclusive_y"]).score
    arrays["retrieval_k"] = np.array(3)
    result = registry.score_arrays(arrays, ["exclusive_recall_at_k"])["exclusive_recall_at_k"]
    assert result.to_json()["chance"] == {"3": 0.15}
    arrays["retrieval_k"] = np.array(21)
    with pytest.raises(UserError, match="recall_at_k: k is 21; allowed: 1 to 20"):
        registry.score_arrays(arrays, ["recall_at_k"])


def test_searches_from_a_file() -> None:
    arrays = search_arrays()
    ids = ["map_all", "map_at_k", "map_at_k_reference", "precision_at_k"]
    results = registry.score_arrays(arrays, ids)
    # Over the whole gallery both definitions that divide by all relevant are the same.
    assert results["map_at_k"].score == pytest.approx(results["map_all"].score)
    assert "the first 30, all of the gallery, where 200 are published" in results["map_at_k"].notes
    assert "the first 30, all of the gallery, where 100 are published" in results["precision_at_k"].notes
    arrays["retrieval_k"] = np.array([7])
    given = registry.score_arrays(arrays, ids)
    plain = (arrays["queries"], arrays["query_labels"], arrays["gallery"], arrays["gallery_labels"])
    assert given["map_at_k_reference"].score == map_at_k_reference(*plain, k=7).score
    assert given["precision_at_k"].score == precision_at_k(*plain, k=7).score
    assert given["precision_at_k"].notes == ()
    arrays["retrieval_k"] = np.array(31)
    with pytest.raises(UserError, match="map_at_k: k is 31; allowed: 1 to 30"):
        registry.score_arrays(arrays, ["map_at_k"])
    arrays["retrieval_k"] = np.array(2.5)
    with pytest.raises(UserError, match="retrieval_k must be one integer"):
        registry.score_arrays(arrays, ["map_at_k"])
    published = registry.score_arrays(search_arrays(300), ids)
    assert [published[name].to_json()["k"] for name in ids] == [300, 200, 200, 100]
