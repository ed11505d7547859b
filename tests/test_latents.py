"""Latent spaces: what the columns are, how they are drawn, how they are moved in pictures."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from models.latents import Categorical, LatentSpace, Normal, Uniform
from models.noise import Noise

SPACE = LatentSpace(
    (Categorical("kind", 3), Uniform("angle", 2), Normal("noise", 4, is_code=False), Uniform("size", 1, 0.0, 2.0))
)


def draw(space: LatentSpace = SPACE, batch: int = 4000, seed: int = 0, step: int = 0) -> np.ndarray:
    return space.sample(batch, Noise(seed, step)).numpy()


def test_size_counts_columns() -> None:
    assert SPACE.size == 3 + 2 + 4 + 1


def test_samples_follow_the_priors() -> None:
    values = draw()
    assert values.dtype == np.float32
    assert values.shape == (4000, 10)
    kind, angle, noise, size = values[:, :3], values[:, 3:5], values[:, 5:9], values[:, 9]
    assert set(np.unique(kind)) == {0.0, 1.0}
    assert (kind.sum(axis=1) == 1).all()
    np.testing.assert_allclose(kind.mean(axis=0), 1 / 3, atol=0.04)
    assert angle.min() >= -1
    assert angle.max() < 1
    np.testing.assert_allclose(angle.std(axis=0), 2 / np.sqrt(12), atol=0.03)
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.08)
    np.testing.assert_allclose(noise.std(axis=0), 1, atol=0.05)
    assert size.min() >= 0
    assert size.max() < 2
    assert abs(np.corrcoef(values[:, 3:].T) - np.eye(7)).max() < 0.08


def test_equal_seeds_and_steps_give_equal_samples_and_others_do_not() -> None:
    assert np.array_equal(draw(batch=5), draw(batch=5))
    assert not np.array_equal(draw(batch=5), draw(batch=5, seed=1))
    assert not np.array_equal(draw(batch=5), draw(batch=5, step=1))


def test_blocks_of_the_same_kind_draw_independently() -> None:
    twins = draw(LatentSpace((Normal("first", 1), Normal("second", 1))))
    assert abs(np.corrcoef(twins.T)[0, 1]) < 0.06


def test_split_gives_the_blocks_by_name() -> None:
    values = draw(batch=6)
    parts = SPACE.split(values)
    assert list(parts) == ["kind", "angle", "noise", "size"]
    assert np.array_equal(np.concatenate(list(parts.values()), axis=1), values)


def test_traversals_name_the_codes_and_leave_noise_out() -> None:
    assert [(move.label, move.column) for move in SPACE.traversals()] == [
        ("kind", 0),
        ("angle0", 3),
        ("angle1", 4),
        ("size", 9),
    ]


def test_traversal_values_are_the_priors_range_unless_a_span_is_given() -> None:
    kind, angle, _, size = SPACE.traversals()
    assert kind.block.traversal_values(10).tolist() == [0, 1, 2]
    assert kind.block.traversal_values(10, (-5.0, 5.0)).tolist() == [0, 1, 2]
    assert angle.block.traversal_values(3).tolist() == [-1, 0, 1]
    assert size.block.traversal_values(3).tolist() == [0, 1, 2]
    assert Normal("r", 1).traversal_values(3).tolist() == [-3, 0, 3]
    assert Normal("r", 1, traversal=(-2.0, 2.0)).traversal_values(3).tolist() == [-2, 0, 2]
    assert Uniform("c", 1, traversal=(-2.0, 2.0)).traversal_values(3).tolist() == [-2, 0, 2]
    assert angle.block.traversal_values(3, (-6.0, 6.0)).tolist() == [-6, 0, 6]


def test_a_traversal_sets_its_columns_to_a_value_and_keeps_all_others() -> None:
    base = draw(batch=2)
    kept = base.copy()
    kind, angle, *_ = SPACE.traversals()
    moved = angle.apply(base, 7.0)
    assert (moved[:, 3] == 7).all()
    assert np.array_equal(np.delete(moved, 3, axis=1), np.delete(base, 3, axis=1))
    turned = kind.apply(base, 2)
    assert np.array_equal(turned[:, :3], [[0, 0, 1]] * 2)
    assert np.array_equal(turned[:, 3:], base[:, 3:])
    assert np.array_equal(base, kept)


def test_a_space_describes_itself_as_plain_data() -> None:
    described = json.loads(json.dumps(SPACE.describe()))
    assert [block["kind"] for block in described] == ["categorical", "uniform", "normal", "uniform"]
    assert described[3] == {
        "kind": "uniform",
        "name": "size",
        "size": 1,
        "low": 0.0,
        "high": 2.0,
        "is_code": True,
        "traversal": None,
    }


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Normal("r", 0), "allowed: 1 or more"),
        (lambda: Uniform("c", -1), "allowed: 1 or more"),
        (lambda: Categorical("k", 1), "allowed: 2 or more"),
        (lambda: Uniform("c", 1, 1.0, 1.0), "low must be below high"),
        (lambda: LatentSpace(()), "distinct names"),
        (lambda: LatentSpace((Normal("r", 1), Uniform("r", 1))), "distinct names"),
    ],
)
def test_impossible_blocks_are_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
