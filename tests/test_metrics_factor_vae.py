"""The FactorVAE metric: cases worked by hand, a plain loop beside it, and codes that cannot vote."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from metrics.arrays import population_std
from metrics.factor_vae import FactorVaeResult, dlib_factor_vae, factor_vae, ibgan_factor_vae
from metrics.registry import score_arrays
from metrics.results import MetricResult, plain


def pairs(*differences: tuple[float, ...]) -> np.ndarray:
    """Groups of two images whose codes differ by these numbers."""
    return np.stack([np.stack([np.zeros(len(row)), np.array(row)]) for row in differences])


def factor_groups(
    sizes: tuple[int, ...], votes: int = 60, group: int = 50, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Groups of factor levels, factor i mod F fixed in group i."""
    rng = np.random.default_rng(seed)
    labels = np.arange(votes) % len(sizes)
    levels = rng.integers(0, sizes, size=(votes, group, len(sizes)))
    for index, label in enumerate(labels):
        levels[index, :, label] = rng.integers(0, sizes[label])
    return levels.astype(np.float64), labels


def test_case_worked_by_hand() -> None:
    # In units of the spread (1, 10) the smaller difference is that of code 0, 1, 1, 0, 1.
    groups = pairs((0, 2), (4, 10), (3, 1), (1, 20), (9, 30))
    result = factor_vae(groups, [0, 0, 1, 1, 1], [1.0, 10.0])
    assert result.votes.tolist() == [[1, 1], [1, 2]]
    assert result.score == pytest.approx(3 / 5)
    assert result.revised == result.score_as_released == result.score
    assert result.decisions == (0, 1)
    assert result.labels == (0, 1)
    assert result.active_codes == (0, 1)
    assert result.degenerate == ()


def test_revised_counts_as_many_codes_as_labels() -> None:
    near, far = 1.0, 5.0
    winners = [0, 0, 0, 1, 1, 2]
    groups = pairs(*[tuple(near if code == winner else far for code in range(3)) for winner in winners])
    result = factor_vae(groups, [0, 0, 0, 1, 1, 0], np.ones(3))
    assert result.score == 1.0
    assert result.revised == pytest.approx(5 / 6)
    three = factor_vae(groups, [0, 0, 0, 1, 1, 0], np.ones(3), num_factors=3)
    assert three.revised == 1.0
    assert three.votes.shape == (3, 3)
    assert three.degenerate == ("no group has the label 2",)


def test_same_as_a_plain_loop_of_the_definition() -> None:
    rng = np.random.default_rng(3)
    groups = rng.normal(size=(120, 30, 7)) * rng.uniform(0.1, 4, size=(120, 1, 7)) + 5
    labels = rng.integers(0, 4, size=120)
    spread = rng.normal(size=(1000, 7)).std(axis=0)
    votes = np.zeros((7, 4), dtype=int)
    for codes, label in zip(groups, labels, strict=True):
        votes[np.argmin(np.std(codes / spread, axis=0)), label] += 1
    result = factor_vae(groups, labels, spread)
    assert result.votes.tolist() == votes.tolist()
    assert result.score == pytest.approx(votes.max(axis=1).sum() / 120)


@pytest.mark.parametrize("metric", [factor_vae, ibgan_factor_vae])
def test_perfect_representation_scores_one(metric: Callable[..., FactorVaeResult]) -> None:
    groups, labels = factor_groups((3, 6, 40, 32, 32), votes=500, group=100)
    result = metric(groups, labels, population_std(groups.reshape(-1, 5)))
    assert result.score == result.revised == 1.0
    assert result.decisions == (0, 1, 2, 3, 4)
    assert result.votes.sum() == 500


def test_random_representation_is_near_chance() -> None:
    rng = np.random.default_rng(0)
    result = factor_vae(rng.normal(size=(500, 100, 10)), np.arange(500) % 5, np.ones(10))
    assert 0.2 <= result.score < 0.4
    assert result.revised < result.score


def test_order_and_scale_of_codes_do_not_matter() -> None:
    groups, labels = factor_groups((3, 6, 8, 8), seed=2)
    rng = np.random.default_rng(1)
    mixed = groups @ rng.normal(size=(4, 6))
    spread = population_std(mixed.reshape(-1, 6))
    plain_result = factor_vae(mixed, labels, spread)
    order = rng.permutation(6)
    permuted = factor_vae(mixed[:, :, order], labels, spread[order])
    assert permuted.score == plain_result.score
    assert permuted.votes.tolist() == plain_result.votes[order].tolist()
    scale = np.array([1e-150, 1e-3, 1.0, 7.0, 1e6, 1e150])
    scaled = factor_vae(mixed * scale - 3 * scale, labels, population_std((mixed * scale).reshape(-1, 6)))
    assert scaled.votes.tolist() == plain_result.votes.tolist()


def test_dead_codes_cannot_vote_and_are_named() -> None:
    groups, labels = factor_groups((4, 5, 6))
    with_dead = np.concatenate([np.full((60, 50, 1), 0.1), groups], axis=2).astype(np.float32)
    spread = population_std(with_dead.reshape(-1, 4))
    assert spread[0] == 0
    result = factor_vae(with_dead, labels, spread)
    assert result.score == 1.0
    assert result.active_codes == (1, 2, 3)
    assert result.decisions == (None, 0, 1, 2)
    assert result.votes[0].sum() == 0
    assert len(result.degenerate) == 1
    assert "1 of 4 codes never change" in result.degenerate[0]
    # The released code gives every vote to the dead code, which then stands for one factor of three.
    assert result.score_as_released == pytest.approx(1 / 3)


@pytest.mark.parametrize("metric", [factor_vae, ibgan_factor_vae])
def test_all_codes_dead_is_a_guess_with_a_reason(metric: Callable[..., FactorVaeResult]) -> None:
    result = metric(np.zeros((10, 4, 3)), [0] * 6 + [1] * 4, np.zeros(3))
    assert result.score == result.revised == result.score_as_released == 0.6
    assert result.votes.sum() == 0
    assert result.active_codes == ()
    assert result.decisions == (None, None, None)
    assert any("no code can vote" in text for text in result.degenerate)


def test_many_dead_codes_are_listed_briefly() -> None:
    spread = np.zeros(100)
    spread[50] = 1
    result = factor_vae(np.random.default_rng(0).normal(size=(10, 4, 100)), np.arange(10) % 2, spread)
    assert result.degenerate[0].endswith("10, 11, ...")


def test_ibgan_leaves_out_collapsed_codes() -> None:
    groups, labels = factor_groups((4, 5, 6))
    tiny = 0.2 * np.where(labels == 0, 0, 1)[:, None, None] * np.random.default_rng(0).normal(size=(60, 50, 1))
    codes = np.concatenate([tiny, groups], axis=2)
    assert ibgan_factor_vae(codes, labels).active_codes == (1, 2, 3)
    assert ibgan_factor_vae(codes, labels).score == 1.0
    assert ibgan_factor_vae(codes, labels, variance_cut=0.001).active_codes == (0, 1, 2, 3)
    # The cut is in units of the codes: those of a tenth of the size are collapsed.
    assert ibgan_factor_vae(groups / 100, labels).active_codes == ()
    assert "variance below 0.05" in ibgan_factor_vae(codes, labels).degenerate[0]


def test_ibgan_takes_the_spread_over_all_groups() -> None:
    rng = np.random.default_rng(5)
    groups = rng.normal(size=(80, 20, 4)) * rng.uniform(0.5, 3, size=(80, 1, 4))
    labels = np.arange(80) % 4
    given = ibgan_factor_vae(groups, labels, groups.reshape(-1, 4).std(axis=0))
    assert given.votes.tolist() == ibgan_factor_vae(groups, labels).votes.tolist()


def test_a_variance_of_exactly_the_cut_is_not_collapsed() -> None:
    assert ibgan_factor_vae(pairs((1,), (2,)), [0, 1], [0.5], variance_cut=0.25).active_codes == (0,)
    assert ibgan_factor_vae(pairs((1,), (2,)), [0, 1], [0.49], variance_cut=0.25).active_codes == ()


def test_labels_may_be_any_integers() -> None:
    groups = pairs((0, 2), (4, 1), (3, 1))
    result = factor_vae(groups, np.array([7.0, -1.0, -1.0]), np.ones(2))
    assert result.labels == (-1, 7)
    assert result.decisions == (7, -1)
    assert result.score == 1.0


def test_equal_codes_give_the_vote_to_the_first() -> None:
    result = factor_vae(pairs((1, 1), (2, 2)), [0, 1], np.ones(2))
    assert result.votes.tolist() == [[1, 1], [0, 0]]


def test_one_label_is_called_degenerate() -> None:
    result = factor_vae(pairs((1, 2), (2, 1)), [3, 3], np.ones(2))
    assert result.score == 1.0
    assert "same label" in result.degenerate[0]


def test_votes_are_the_same_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    groups, labels = factor_groups((4, 5, 6))
    whole = factor_vae(groups, labels, np.ones(3))
    monkeypatch.setattr("metrics.factor_vae._CHUNK_VALUES", 1000)
    assert factor_vae(groups, labels, np.ones(3)).votes.tolist() == whole.votes.tolist()


def test_quotients_beyond_double_precision_do_not_vote() -> None:
    groups = pairs((1e300, 2.0), (1.0, 3.0))
    result = factor_vae(groups, [0, 1], [1e-300, 1.0])
    assert result.votes.tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("groups", "labels", "spread", "error", "words"),
    [
        (np.zeros((3, 4)), [0, 1, 2], [1.0], ValueError, "group_codes must have 3 axes"),
        (np.zeros((3, 1, 2)), [0, 1, 2], [1.0, 1.0], ValueError, "two images or more"),
        (np.zeros((0, 4, 2)), [], [1.0, 1.0], ValueError, "group_codes is empty"),
        (np.full((3, 4, 2), np.nan), [0, 1, 2], [1.0, 1.0], ValueError, "24 values of 24 that are NaN"),
        (np.zeros((3, 4, 2), complex), [0, 1, 2], [1.0, 1.0], TypeError, "real numbers"),
        (np.full((3, 4, 2), "a"), [0, 1, 2], [1.0, 1.0], TypeError, "real numbers"),
        (np.zeros((3, 4, 2)), [0, 1], [1.0, 1.0], ValueError, r"shape \(3,\), one label per group"),
        (np.zeros((3, 4, 2)), [0, 1, 0.5], [1.0, 1.0], ValueError, "whole numbers"),
        (np.zeros((3, 4, 2)), [0, 1, np.nan], [1.0, 1.0], ValueError, "whole numbers"),
        (np.zeros((3, 4, 2)), [0, 1, 1e300], [1.0, 1.0], ValueError, "beyond"),
        (np.zeros((3, 4, 2)), ["a", "b", "c"], [1.0, 1.0], TypeError, "integers"),
        (np.zeros((3, 4, 2)), [0, 1, 2], [1.0], ValueError, "each of the 2 codes"),
        (np.zeros((3, 4, 2)), [0, 1, 2], [1.0, -1.0], ValueError, "not be negative"),
        (np.zeros((3, 4, 2)), [0, 1, 2], [1.0, np.inf], ValueError, "code_std holds 1 values of 2"),
    ],
)
def test_wrong_arrays_are_refused(
    groups: np.ndarray, labels: list[float], spread: list[float], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        factor_vae(groups, labels, spread)


def test_wrong_options_are_refused() -> None:
    groups = pairs((1, 2), (2, 1))
    with pytest.raises(ValueError, match=r"must lie in 0\.\.1"):
        factor_vae(groups, [0, 2], np.ones(2), num_factors=2)
    with pytest.raises(ValueError, match="1 or more"):
        factor_vae(groups, [0, 1], np.ones(2), num_factors=0)
    with pytest.raises(ValueError, match="variance_cut"):
        ibgan_factor_vae(groups, [0, 1], variance_cut=math.nan)


def test_population_std() -> None:
    codes = np.random.default_rng(0).normal(size=(1000, 3)) + 1e6
    np.testing.assert_allclose(population_std(codes), (codes - 1e6).std(axis=0), rtol=1e-9)
    assert population_std(np.full((73_728, 2), 0.1)).tolist() == [0, 0]
    assert population_std([[1e200], [3e200]])[0] == pytest.approx(1e200)
    assert population_std([[1e-200], [3e-200]])[0] == pytest.approx(1e-200)
    with pytest.raises(ValueError, match="too far apart"):
        population_std([[1e308], [-1e308]])


def test_results_become_json() -> None:
    result = factor_vae(pairs((1, 2), (2, 1)), [0, 1], np.ones(2))
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert record["votes"] == [[1, 0], [0, 1]]
    assert record["score"] == 1.0
    assert record["degenerate"] == []
    with pytest.raises(ValueError, match="read-only"):
        result.votes[0, 0] = 5


def test_a_score_without_value_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        MetricResult(score=math.nan)
    assert MetricResult(score=math.nan, degenerate=("no images",)).to_json()["score"] is None


def test_notes_are_added_once() -> None:
    result = MetricResult(score=1.0, notes=("a",)).with_notes(("a", "b"))
    assert result.notes == ("a", "b")


def test_plain_refuses_what_json_has_not() -> None:
    assert plain({"a": (np.float32(1.5), np.int64(2), np.nan, None, True)}) == {"a": [1.5, 2, None, None, True]}
    with pytest.raises(TypeError, match="set"):
        plain({1, 2})


def plain_dlib_factor_vae(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, tests: np.ndarray, codes: np.ndarray
) -> list[float]:
    """Variances of images, variances in groups, votes, and the accuracy of the majority of some votes on others."""
    variances = np.var(codes, axis=0, ddof=1)
    active = np.flatnonzero(np.sqrt(variances) >= 0.05)
    counts = []
    for groups, numbers in ((train, labels), (test, tests)):
        votes = np.zeros((labels.max() + 1, codes.shape[1]))
        for group, label in zip(groups, numbers, strict=True):
            votes[label, active[np.argmin(np.var(group[:, active], axis=0, ddof=1) / variances[active])]] += 1
        counts.append(votes)
    chosen = counts[0].argmax(axis=0), np.arange(codes.shape[1])
    return [votes[chosen].sum() / votes.sum() for votes in counts]


@pytest.mark.parametrize("seed", range(3))
def test_dlib_protocol_is_that_of_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scale = np.array([1, 0.3, 0.06, 0.04, 2.0])
    labels, tests = rng.integers(0, 3, 150), rng.integers(0, 3, 90)
    train = rng.normal(size=(150, 12, 5)) * rng.uniform(0.3, 1, size=(150, 1, 5)) * scale
    train[np.arange(150), :, labels] *= 0.5
    test = rng.normal(size=(90, 12, 5)) * rng.uniform(0.3, 1, size=(90, 1, 5)) * scale
    test[np.arange(90), :, tests] *= 0.5
    codes = rng.normal(size=(400, 5)) * scale
    result = dlib_factor_vae(train, labels, test, tests, codes.std(axis=0, ddof=1))
    expected = plain_dlib_factor_vae(train, labels, test, tests, codes)
    assert [result.train, result.score] == pytest.approx(expected, abs=1e-12)
    assert result.active_codes == (0, 1, 2, 4)
    assert "1 of 5 codes have a standard deviation of 0 or below 0.05 and cannot vote: 3" in result.degenerate
    assert result.votes.sum() == 150
    assert result.test_votes.sum() == 90
    arrays = {"group_codes": train, "group_labels": labels, "codes": codes}
    arrays |= {"test_group_codes": test, "test_group_labels": tests}
    assert score_arrays(arrays, ["dlib_factor_vae"])["dlib_factor_vae"].score == pytest.approx(expected[1], abs=1e-12)


def test_dlib_protocol_holds_out_the_last_third() -> None:
    groups, labels = factor_groups((4, 5, 6), votes=90)
    result = score_arrays({"group_codes": groups, "group_labels": labels}, ["dlib_factor_vae"])["dlib_factor_vae"]
    assert result.score == 1.0
    assert "fitted to the first 60 groups; the other 30 are held out" in result.notes


def test_dlib_protocol_of_degenerate_input() -> None:
    groups, labels = factor_groups((4, 5, 6))
    none = dlib_factor_vae(groups, labels, groups, labels, np.full(3, 0.01))
    assert none.score == none.train == 0.0
    assert "no code can vote: the score is 0" in none.degenerate
    # A code that got no vote stands for the first label, as in the released code.
    unseen = dlib_factor_vae(pairs((1, 2)), [0], pairs((2, 1), (1, 2)), [0, 1], np.ones(2))
    assert unseen.score == 0.5
    assert "no group has the label 1" in unseen.degenerate
    with pytest.raises(ValueError, match="min_std must be 0 or more"):
        dlib_factor_vae(groups, labels, groups, labels, np.ones(3), min_std=-1)
    with pytest.raises(ValueError, match="same number of codes"):
        dlib_factor_vae(groups, labels, groups[:, :, :2], labels, np.ones(3))


def test_strict_reference_gives_every_vote_to_the_dead_code() -> None:
    groups, labels = factor_groups((4, 5, 6))
    with_dead = np.concatenate([groups, np.full((60, 50, 2), 0.1)], axis=2)
    spread = population_std(with_dead.reshape(-1, 5))
    released = np.full((5, 3), 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        for group, label in zip(with_dead, labels, strict=True):
            released[np.argmin(np.std(group / spread, axis=0)), label] += 1
    strict = factor_vae(with_dead, labels, spread, strict_reference=True)
    assert strict.votes.tolist() == released.tolist()
    assert strict.score == strict.revised == strict.score_as_released == pytest.approx(1 / 3)
    assert strict.decisions == (None, None, None, 0, None)
    assert "code 3 gets every vote, as in the released code: strict_reference" in strict.degenerate
    assert factor_vae(groups, labels, spread[:3], strict_reference=True).score == 1.0
    arrays = {"group_codes": with_dead, "group_labels": labels}
    both = score_arrays(arrays, ["factor_vae", "factor_vae_revised"], strict_reference=True)
    assert [result.score for result in both.values()] == pytest.approx([1 / 3, 1 / 3])
