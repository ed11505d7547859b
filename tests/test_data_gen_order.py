"""The order of training images: permutations that are functions of (seed, step)."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import UserError
from data_gen.order import batches_per_epoch, indices_at

tf = pytest.importorskip("tensorflow")


def epoch(number: int, batch: int, examples: int, seed: int = 0) -> np.ndarray:
    per_epoch = examples // batch
    steps = range(number * per_epoch, (number + 1) * per_epoch)
    return np.concatenate([indices_at(step, batch, examples, seed).numpy() for step in steps])


@pytest.mark.parametrize(("batch", "examples"), [(1, 1), (1, 2), (7, 7), (4, 30), (10, 100), (64, 1009)])
def test_an_epoch_shows_no_image_twice_and_drops_less_than_a_batch(batch: int, examples: int) -> None:
    for number in (0, 1, 5):
        seen = epoch(number, batch, examples)
        assert seen.dtype == np.int64
        assert len(set(seen.tolist())) == len(seen) == examples // batch * batch
        assert seen.min() >= 0
        assert seen.max() < examples


def test_whole_epoch_of_one_batch_is_a_permutation_of_everything() -> None:
    for examples in (46_080, 737_280):
        assert (np.sort(indices_at(3, examples, examples, 1).numpy()) == np.arange(examples)).all()


def test_epochs_and_seeds_differ() -> None:
    base = epoch(0, 100, 1000)
    for other in (
        epoch(1, 100, 1000),
        epoch(0, 100, 1000, seed=1),
        epoch(0, 100, 1000, seed=1 << 32),
        epoch(0, 100, 1000, seed=-1),
    ):
        assert (base == other).mean() < 0.02


def test_a_graph_gives_what_eager_calls_give_and_parts_make_the_whole() -> None:
    step_tensor = tf.function(lambda step: indices_at(step, 12, 100, 9))
    part = tf.function(lambda step, start: indices_at(step, 12, 100, 9, start=start, count=4))
    for step in (0, 7, 8, 10_000_000_000):
        whole = indices_at(step, 12, 100, 9).numpy()
        assert (step_tensor(tf.constant(step, tf.int64)).numpy() == whole).all()
        parts = [part(tf.constant(step, tf.int64), tf.constant(start)).numpy() for start in (0, 4, 8)]
        assert (np.concatenate(parts) == whole).all()


def test_batches_are_as_uneven_as_chance_makes_them() -> None:
    """Too few rounds of the shuffle spread the classes far too evenly over batches: a variance of 5 instead of 14."""
    counts = [(epoch(number, 64, 46_080 // 8) < 46_080 // 24).reshape(-1, 64).sum(axis=1) for number in range(12)]
    assert np.var(np.concatenate(counts)) == pytest.approx(64 * 2 / 9, rel=0.15)
    whole = indices_at(0, 737_280, 737_280, 0).numpy()
    assert abs(np.corrcoef(whole[:-1], whole[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(whole, indices_at(1, 737_280, 737_280, 0).numpy())[0, 1]) < 0.01


def test_the_order_stays_what_it_was() -> None:
    """Stored runs resume in this order; a change here breaks their bitwise repetition."""
    assert indices_at(1000, 6, 46_080, 42).numpy().tolist() == [17355, 16659, 28056, 31249, 3864, 27340]


def test_bad_batches_are_refused() -> None:
    with pytest.raises(UserError, match="a batch of 11 images does not fit a data set of 10"):
        indices_at(0, 11, 10, 0)
    with pytest.raises(UserError, match="at least 1"):
        batches_per_epoch(0, 10)
    assert batches_per_epoch(4, 10) == 2
