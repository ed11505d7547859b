"""FID, KID and their statistics: analytic values, a plain re-implementation, invariances, refusals, files."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.stats import special_ortho_group

from metrics.feature_statistics import FeatureStatistics, StatisticsStream, cached_statistics, statistics_of
from metrics.fid import FidResult, fid, fid_of_statistics, kid, kid_all


def whitened(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Rows whose mean is 0 and whose covariance is the identity, up to rounding."""
    rows = rng.normal(size=(count, size))
    rows -= rows.mean(axis=0)
    return rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows, rowvar=False))).T


def gaussian(mean: np.ndarray, covariance: np.ndarray, count: int = 100) -> FeatureStatistics:
    return FeatureStatistics(count, np.asarray(mean, float), np.asarray(covariance, float) * (count - 1))


def plain_fid(real: np.ndarray, fake: np.ndarray) -> float:
    """The formula as it is printed, by a general matrix root."""
    a, b = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    root = sqrtm(a @ b)
    difference = real.mean(axis=0) - fake.mean(axis=0)
    return float(difference @ difference + np.trace(a + b - 2 * np.real(root)))


def plain_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate by three loops."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (float(a @ b) / a.size + 1) ** 3

    n, m = len(x), len(y)
    within_x = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


def test_gaussians_with_commuting_covariances() -> None:
    # Diagonal covariances: the sum of squared differences of the means and of the standard deviations.
    real = gaussian(np.array([0.0, 1, 2]), np.diag([1.0, 4, 9]))
    fake = gaussian(np.array([1.0, 1, 0]), np.diag([4.0, 4, 1]))
    result = fid_of_statistics(real, fake)
    assert result.score == pytest.approx(5 + 1 + 0 + 4, abs=1e-12)
    assert result.mean_part == pytest.approx(5)
    assert result.covariance_part == pytest.approx(5)
    assert (result.real_count, result.fake_count, result.feature_count) == (100, 100, 3)


def test_two_dimensional_gaussians_that_do_not_commute() -> None:
    # Of a 2x2 matrix with positive eigenvalues: (tr root)^2 = tr + 2 root of the determinant.
    a, b = np.array([[2.0, 1], [1, 3]]), np.array([[5.0, -1], [-1, 1]])
    shared = math.sqrt(np.trace(a @ b) + 2 * math.sqrt(np.linalg.det(a) * np.linalg.det(b)))
    expected = np.trace(a) + np.trace(b) - 2 * shared
    assert fid_of_statistics(gaussian(np.zeros(2), a), gaussian(np.zeros(2), b)).score == pytest.approx(expected)


def test_samples_whose_moments_are_known() -> None:
    rng = np.random.default_rng(0)
    real = whitened(rng, 200, 6) * np.arange(1, 7) + 3
    fake = whitened(rng, 150, 6) * 2 + 4
    expected = 6 + ((np.arange(1, 7) - 2) ** 2).sum()
    assert fid(real, fake).score == pytest.approx(expected, abs=1e-9)


def test_the_same_images_have_no_distance() -> None:
    rng = np.random.default_rng(1)
    # Ill-conditioned, as features of networks are: standard deviations from 1 to 1e-8.
    features = (rng.normal(size=(300, 40)) * np.logspace(0, -8, 40)) @ special_ortho_group.rvs(40, random_state=0)
    for table in (features, features.astype(np.float32), features + 1e4):
        assert fid(table, table[::-1]).score < 1e-9
        assert fid(table, table).degenerate == ()


@pytest.mark.parametrize("seed", range(4))
def test_fid_is_that_of_the_printed_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(12, 12))
    real = rng.normal(size=(80, 12)) @ mix + 5
    fake = np.maximum(rng.normal(size=(60, 12)) @ mix * 0.7, 0) + 4
    assert fid(real, fake).score == pytest.approx(plain_fid(real, fake), rel=1e-8)


def test_nothing_complex_for_features_that_never_change() -> None:
    rng = np.random.default_rng(2)
    real, fake = rng.normal(size=(50, 6)), rng.normal(size=(50, 6))
    real[:, 2], fake[:, 2], fake[:, 4] = 0.1, 0.3, 0.7
    result = fid(real, fake)
    kept = [0, 1, 3, 5]
    alone = fid(real[:, kept], fake[:, kept]).score
    means = (real[:, [2, 4]].mean(axis=0) - fake[:, [2, 4]].mean(axis=0)) ** 2
    # Column 4 is correlated with the others in the real images only, which a constant cannot notice.
    assert result.score == pytest.approx(alone + means.sum() + real[:, 4].var(ddof=1), abs=1e-9)
    assert "1 of 6 columns of features_real never change" in result.degenerate
    assert "2 of 6 columns of features_fake never change" in result.degenerate
    still = fid(np.full((9, 2), 0.1), np.full((9, 2), 0.4))
    assert still.score == pytest.approx(2 * 0.09)


def test_copied_features_make_a_singular_covariance() -> None:
    rng = np.random.default_rng(3)
    real, fake = rng.normal(size=(40, 3)), rng.normal(size=(40, 3)) * 2
    doubled = fid(np.concatenate([real, real], axis=1), np.concatenate([fake, fake], axis=1))
    assert doubled.score == pytest.approx(2 * fid(real, fake).score, rel=1e-6)


def test_eigenvalues_below_zero_are_noted_or_refused() -> None:
    good, rounded = gaussian(np.zeros(2), np.eye(2)), gaussian(np.zeros(2), np.diag([1.0, -1e-12]))
    result = fid_of_statistics(rounded, good)
    assert result.score == pytest.approx(1.0, abs=1e-9)
    assert "1 eigenvalues of the covariance of features_real, below 0 by rounding, counted as 0" in result.notes
    with pytest.raises(ValueError, match=r"features_fake has the eigenvalue -0\.5: it is no covariance"):
        fid_of_statistics(good, gaussian(np.zeros(2), np.diag([1.0, -0.5])))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 6), scale=st.floats(1e-3, 1e3))
def test_order_rotation_and_shift_change_nothing_and_scale_squares(seed: int, size: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=(20, size)) * 2, rng.normal(size=(15, size)) + 1
    score = fid(real, fake).score
    turn = np.linalg.qr(rng.normal(size=(size, size)))[0]
    shift = rng.normal(size=size)
    assert fid(rng.permutation(real), rng.permutation(fake)).score == pytest.approx(score, rel=1e-9)
    assert fid(real @ turn + shift, fake @ turn + shift).score == pytest.approx(score, rel=1e-9)
    assert fid(real * scale, fake * scale).score == pytest.approx(score * scale**2, rel=1e-9)
    assert fid(fake, real).score == pytest.approx(score, rel=1e-9)


def test_statistics_do_not_depend_on_the_batches() -> None:
    rng = np.random.default_rng(4)
    features = (rng.normal(size=(2500, 5)) + 1e6).astype(np.float32)
    whole = statistics_of("features", features)
    for size in (1, 7, 64, 1024, 1500, 2500):
        parts: Iterator[np.ndarray] = (features[start : start + size] for start in range(0, 2500, size))
        found = statistics_of("features", parts)
        assert found.mean.tobytes() == whole.mean.tobytes()
        assert found.scatter.tobytes() == whole.scatter.tobytes()
        assert found.count == 2500
    np.testing.assert_allclose(whole.covariance, np.cov(features.astype(np.float64), rowvar=False), rtol=1e-9)
    np.testing.assert_allclose(whole.mean, features.mean(axis=0, dtype=np.float64), rtol=1e-12)


def test_statistics_go_on_after_a_result() -> None:
    rng = np.random.default_rng(5)
    features = rng.normal(size=(1500, 3))
    stream = StatisticsStream()
    stream.add(features[:700])
    assert stream.result().count == 700
    stream.add(features[700:])
    assert stream.result().scatter.tobytes() == statistics_of("features", features).scatter.tobytes()


def test_statistics_far_from_zero_keep_their_digits() -> None:
    rng = np.random.default_rng(6)
    features = rng.normal(size=(5000, 3))
    near, far = statistics_of("features", features), statistics_of("features", features + 1e8)
    np.testing.assert_allclose(far.covariance, near.covariance, atol=1e-7)
    assert statistics_of("features", np.full((3000, 2), 0.1)).scatter.tolist() == [[0, 0], [0, 0]]


def test_merging_is_what_both_together_give() -> None:
    rng = np.random.default_rng(7)
    first, second = rng.normal(size=(30, 4)), rng.normal(size=(70, 4)) + 10
    merged = statistics_of("a", first).merged(statistics_of("b", second))
    both = np.concatenate([first, second])
    np.testing.assert_allclose(merged.covariance, np.cov(both, rowvar=False), rtol=1e-12)
    np.testing.assert_allclose(merged.mean, both.mean(axis=0), rtol=1e-12)
    with pytest.raises(ValueError, match="4 and of 2 features"):
        merged.merged(statistics_of("c", first[:, :2]))


def test_too_few_images_are_refused() -> None:
    rng = np.random.default_rng(8)
    many, few = rng.normal(size=(50, 20)), rng.normal(size=(20, 20))
    with pytest.raises(ValueError, match=r"features_fake has 20 rows of 20 features; FID needs at least 21 images"):
        fid(many, few)
    with pytest.raises(ValueError, match=r"features_real has 20 rows"):
        fid(few, many)
    assert fid(many, many[:21]).fake_count == 21
    with pytest.raises(ValueError, match=r"features_real has 50 rows; KID draws subsets of 1,000"):
        kid(many, many)
    assert kid(many, few, subset_size=20, subsets=3).subset_size == 20
    with pytest.raises(ValueError, match="20 rows; KID draws subsets of 21"):
        kid(many, few, subset_size=21)
    with pytest.raises(ValueError, match="two images or more"):
        statistics_of("features", many[:1]).covariance  # noqa: B018


@pytest.mark.parametrize("measure", [fid, kid, kid_all])
@pytest.mark.parametrize(
    ("real", "fake", "error", "words"),
    [
        (np.full((9, 2), np.nan), np.zeros((9, 2)), ValueError, "features_real holds 18 values of 18 that are NaN"),
        (np.zeros((9, 2)), np.full((9, 2), np.inf), ValueError, "features_fake holds 18 values"),
        (np.zeros((9, 2)), np.zeros((9, 3)), ValueError, "same columns|use one extractor"),
        (np.zeros(9), np.zeros((9, 3)), ValueError, "features_real must have 2 axes"),
        (np.zeros((1, 2)), np.zeros((9, 2)), ValueError, "one row"),
        (np.zeros((0, 2)), np.zeros((9, 2)), ValueError, "empty"),
        (np.full((9, 2), "a"), np.zeros((9, 2)), TypeError, "real numbers"),
        (np.full((9, 2), 1j), np.zeros((9, 2)), TypeError, "real numbers"),
        (np.full((9, 2), 1e200), np.zeros((9, 2)), ValueError, "scale them down"),
    ],
)
def test_wrong_features_are_refused(
    measure: type, real: np.ndarray, fake: np.ndarray, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        measure(real, fake)


def test_wrong_options_are_refused() -> None:
    table = np.zeros((9, 2))
    with pytest.raises(ValueError, match="subsets is 0"):
        kid(table, table, subsets=0, subset_size=5)
    with pytest.raises(ValueError, match="subset_size 1"):
        kid(table, table, subset_size=1)
    with pytest.raises(ValueError, match="too large for the cubic kernel"):
        kid_all(np.full((9, 2), 1e80), np.full((9, 2), 1e80))
    with pytest.raises(ValueError, match=r"must be \(D,\) and \(D, D\)"):
        FeatureStatistics(5, np.zeros(2), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="have 3 columns, those before them 2"):
        statistics_of("features", [np.zeros((4, 2)), np.zeros((4, 3))])
    with pytest.raises(ValueError, match="no rows"):
        statistics_of("features", [])


def test_kid_is_that_of_plain_loops() -> None:
    rng = np.random.default_rng(9)
    real, fake = rng.normal(size=(12, 4)), rng.normal(size=(9, 4)) + 0.5
    result = kid_all(real, fake)
    assert result.score == pytest.approx(plain_mmd(real, fake), rel=1e-12)
    assert (result.std, result.subset_size) == (None, None)
    # One subset of all rows is the same in another order.
    whole = kid(real[:9], fake, subsets=4, subset_size=9)
    assert whole.score == pytest.approx(plain_mmd(real[:9], fake), rel=1e-12)
    assert whole.std == pytest.approx(0, abs=1e-12)


def test_kid_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(10)
    real, fake = rng.normal(size=(50, 4)), rng.normal(size=(33, 4))
    whole = kid_all(real, fake).score
    monkeypatch.setattr("metrics.fid._BLOCK_ROWS", 8)
    assert kid_all(real, fake).score == pytest.approx(whole, rel=1e-10)


def test_kid_of_two_known_points() -> None:
    # k(0, 0) = 1, k(0, a) = 1, k(a, a) = 8 with a . a = D.
    zeros, ones = np.zeros((5, 3)), np.ones((7, 3))
    assert kid_all(zeros, ones).score == pytest.approx(1 + 8 - 2)
    assert kid_all(ones, ones).score == pytest.approx(0)


def test_kid_is_unbiased() -> None:
    rng = np.random.default_rng(11)
    scores = np.array([kid_all(rng.normal(size=(20, 3)), rng.normal(size=(30, 3))).score for _ in range(600)])
    # Of equal distributions the mean is 0; a biased estimate of 20 and 30 images would be about 0.3.
    assert abs(scores.mean()) < 4 * scores.std() / math.sqrt(600)
    assert (scores < 0).any()


def test_kid_subsets_follow_the_seed_and_not_the_order_of_columns() -> None:
    rng = np.random.default_rng(12)
    real, fake = rng.normal(size=(60, 4)), rng.normal(size=(50, 4)) + 0.3
    first, again, other = (kid(real, fake, 10, 20, seed) for seed in (1, 1, 2))
    assert first.score == again.score != other.score
    assert first.std is not None
    assert first.std > 0
    turned = kid(real[:, ::-1], fake[:, ::-1], 10, 20, 1)
    assert turned.score == pytest.approx(first.score, rel=1e-12)


def test_results_become_json() -> None:
    rng = np.random.default_rng(13)
    result = fid(rng.normal(size=(9, 2)), rng.normal(size=(9, 2)), "model_0123abcd")
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert record["extractor"] == "model_0123abcd"
    assert isinstance(result, FidResult)


def test_statistics_are_kept_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(14)
    statistics = statistics_of("features", rng.normal(size=(30, 4)))
    calls = []

    def compute() -> FeatureStatistics:
        calls.append(1)
        return statistics

    key = {"data": "ab", "extractor": "model_1"}
    for _ in range(2):
        found = cached_statistics(tmp_path / "cache", key, compute)
        assert found.scatter.tobytes() == statistics.scatter.tobytes()
        assert found.mean.tobytes() == statistics.mean.tobytes()
        assert found.count == 30
    assert len(calls) == 1
    (path,) = (tmp_path / "cache").iterdir()
    cached_statistics(tmp_path / "cache", {**key, "extractor": "model_2"}, compute)
    assert len(calls) == 2
    assert capsys.readouterr().err == ""
    # Cut short, with a flipped bit, of another key, with a pickle, with another number, empty: all are made again.
    whole = path.read_bytes()
    middle = whole.index(statistics.scatter.tobytes()) + 40
    other = next(file for file in (tmp_path / "cache").iterdir() if file != path).read_bytes()
    pickled, changed = tmp_path / "pickled.npz", tmp_path / "changed.npz"
    np.savez(pickled, key=np.array([{}], dtype=object))
    with np.load(path) as file:
        np.savez(changed, **{**file, "scatter": file["scatter"] + 1})
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    files = (whole[: len(whole) // 2], flipped, other, pickled.read_bytes(), changed.read_bytes(), b"")
    for number, damaged in enumerate(files):
        path.write_bytes(damaged)
        assert cached_statistics(tmp_path / "cache", key, compute).count == 30
        assert len(calls) == 3 + number
        assert "is damaged; its statistics are computed again" in capsys.readouterr().err
        assert path.read_bytes() == whole


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    def fail() -> FeatureStatistics:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_statistics(tmp_path, {"data": "x"}, fail)
    assert list(tmp_path.iterdir()) == []
    assert os.path.isdir(tmp_path)
