"""Pairs of images: what belongs together stays together, in any order, on any number of replicas, through any stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from common.errors import UserError
from data_gen import mnist_cdcb
from data_gen.dataset import ArrayDataset
from data_gen.pairs import (
    AUGMENTATIONS,
    Augmentation,
    PairedDataset,
    plan_of_pairs,
    random_crops_and_flips,
    random_flips,
)
from data_gen.tfrecord import write_dataset
from training.loop import TrainingLoop
from training.runtime import Runtime, mirrored_strategy

SIDE = 8


def images(numbers: np.ndarray, offset: int) -> ArrayDataset:
    """Images that tell their number, brighter to the right."""
    pixels = np.zeros((len(numbers), SIDE, SIDE, 1), np.uint8)
    pixels[..., 0] = (numbers + offset)[:, None, None] + np.arange(SIDE)
    return ArrayDataset(pixels, name=f"side{offset}", source="test")


def pairs(x: int = 30, y: int = 30, is_paired: bool = True) -> PairedDataset:
    return PairedDataset(
        images(np.arange(x), 0), images(np.arange(y), 100), is_paired=is_paired, name="pairs", source="test"
    )


def numbers_of(batch: tf.Tensor) -> list[int]:
    """The numbers that images tell."""
    return np.round(np.asarray(batch)[:, 0, 0, 0] * 255).astype(int).tolist()


def test_a_pair_is_one_image_of_both() -> None:
    dataset = pairs()
    assert (dataset.num_examples, dataset.x_shape, dataset.y_shape) == (30, (8, 8, 1), (8, 8, 1))
    assert dataset.image_shape == (8, 16, 1)
    both = dataset.images_at([3, 5])
    assert (both[:, :, :8] == dataset.x_images_at([3, 5])).all()
    assert (both[:, :, 8:] == dataset.y_images_at([3, 5])).all()
    with pytest.raises(ValueError, match="allowed: 0 to 29"):
        dataset.x_images_at([30])


def test_sides_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="x has 3 images, y has 4; pairs need as many of both"):
        pairs(3, 4)
    other = ArrayDataset(np.zeros((30, 8, 9, 1), np.uint8), name="other", source="test")
    with pytest.raises(ValueError, match="must be equally large"):
        PairedDataset(images(np.arange(30), 0), other, name="pairs", source="test")


def test_batches_hold_pairs_in_the_order_of_seed_and_step() -> None:
    dataset = pairs()
    source = dataset.pair_source(6, seed=1)
    seen: list[int] = []
    for step in range(5):
        x, y = source(step)
        assert [number + 100 for number in numbers_of(x)] == numbers_of(y)
        seen += numbers_of(x)
    assert sorted(seen) == list(range(30))
    assert numbers_of(source(0)[0]) != numbers_of(source(5)[0])
    later = iter(dataset.pair_pipeline(6, seed=1, start_step=3))
    for step in (3, 4, 5):
        x, y = next(later)
        assert np.array_equal(x, source(step)[0])
        assert np.array_equal(y, source(step)[1])
    assert numbers_of(dataset.pair_source(6, seed=2)(0)[0]) != numbers_of(source(0)[0])


def test_replicas_share_a_batch() -> None:
    source = pairs().pair_source(6, seed=1, augment=random_flips(together=True))
    whole = source(2)
    parts = [source(2, replica, 3) for replica in range(3)]
    for side in (0, 1):
        assert np.array_equal(np.concatenate([part[side] for part in parts]), whole[side])
    with pytest.raises(UserError, match="6 images cannot be divided evenly among 4 replicas"):
        source(0, 0, 4)


def test_unpaired_sides_go_in_orders_of_their_own() -> None:
    dataset = pairs(30, 12, is_paired=False)
    assert dataset.num_examples == 30
    assert dataset.y_images_at([13])[0, 0, 0, 0] == 101
    source = dataset.pair_source(6, seed=1)
    batches = [source(step) for step in range(10)]
    x = [number for batch in batches[:5] for number in numbers_of(batch[0])]
    y = [number - 100 for batch in batches for number in numbers_of(batch[1])]
    assert sorted(x) == list(range(30))
    for start in range(0, 60, 12):
        assert sorted(y[start : start + 12]) == list(range(12))
    streamed = iter(dataset.pair_pipeline(6, seed=1))
    assert all(np.array_equal(a, b) for batch in batches for a, b in zip(batch, next(streamed), strict=True))
    equal = pairs(30, 30, is_paired=False).pair_source(30, seed=1)(0)
    assert numbers_of(equal[0]) != [number - 100 for number in numbers_of(equal[1])]
    together = pairs(30, 30).pair_source(30, seed=1, independent=True)(0)
    assert numbers_of(together[0]) != [number - 100 for number in numbers_of(together[1])]
    with pytest.raises(UserError, match="batch of 13 images does not fit a data set of 12"):
        dataset.pair_source(13, seed=1)


@pytest.mark.parametrize("together", [True, False])
def test_random_changes_are_a_function_of_seed_and_step(together: bool) -> None:
    dataset, augment = pairs(), random_flips(together)
    source = dataset.pair_source(30, seed=4, augment=augment)
    plain = dataset.pair_source(30, seed=4)

    def flipped(step: int) -> np.ndarray:
        changed, original = source(step), plain(step)
        result = []
        for new, old in zip(changed, original, strict=True):
            same = (new.numpy() == old.numpy()).all((1, 2, 3))
            turned = (new.numpy() == old.numpy()[:, :, ::-1]).all((1, 2, 3))
            assert (same != turned).all()
            result.append(turned)
        return np.stack(result)

    every = np.concatenate([flipped(step) for step in range(20)], axis=1)
    assert 0.4 < every.mean() < 0.6
    assert ((every[0] == every[1]).all()) == together
    assert (flipped(3) == flipped(3)).all()
    assert (flipped(3) != flipped(4)).any()
    streamed = next(iter(dataset.pair_pipeline(30, seed=4, start_step=7, augment=augment)))
    assert all(np.array_equal(a, b) for a, b in zip(streamed, source(7), strict=True))
    in_graph = tf.function(source)(tf.constant(7, tf.int64))
    assert all(np.array_equal(a, b) for a, b in zip(in_graph, source(7), strict=True))


def test_any_change_gets_numbers_of_its_own() -> None:
    seen = []

    def brighter(x: tf.Tensor, y: tf.Tensor, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seen.append(numbers.numpy())
        return x + numbers[:, 0, None, None, None], y

    pairs().pair_source(30, seed=-5, augment=Augmentation(3, brighter))(1)
    assert seen[0].shape == (30, 3)
    assert len(np.unique(seen[0])) == 90
    assert seen[0].min() >= 0
    assert seen[0].max() < 1


class Counter:
    """A model of pairs that learns nothing: it tells what it sees."""

    def __init__(self) -> None:
        self.step = tf.Variable(0, dtype=tf.int64, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

    def train_step(self, pair: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        x, y = pair
        self.step.assign_add(1)
        return {"x": tf.reduce_mean(x[:, 0, 0, 0]), "gap": tf.reduce_mean(y[:, 0, 0, 0] - x[:, 0, 0, 0])}


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("devices", [1, 2])
def test_the_training_loop_takes_pairs(resident: bool, devices: int) -> None:
    if len(tf.config.list_logical_devices("CPU")) < devices:
        pytest.skip("TensorFlow was started with one logical CPU device")
    names = [f"CPU:{device}" for device in range(devices)]
    strategy = mirrored_strategy(tuple(names)) if devices > 1 else tf.distribute.get_strategy()
    with strategy.scope():
        model: Any = Counter()
    runtime = Runtime(strategy, devices, 0, False, 5, "float32", 0, 0)
    dataset: Any = pairs().feed()
    loop = TrainingLoop(model, runtime, dataset, global_batch=6, seed=1, resident=resident)
    loop.run(5)
    told = loop.means.take()
    # An epoch of five steps has every pair once.
    assert told["x"] == pytest.approx(14.5 / 255, rel=1e-5)
    assert told["gap"] == pytest.approx(100 / 255, rel=1e-5)
    assert loop.step == 5


def test_subsets_keep_pairs() -> None:
    some = pairs().limited(7)
    assert isinstance(some, PairedDataset)
    assert (some.num_examples, some.name) == (7, "pairs_limit7")
    assert (some.x_images_at(range(7))[:, 0, 0, 0] + 100 == some.y_images_at(range(7))[:, 0, 0, 0]).all()
    assert pairs().fingerprint() == pairs().fingerprint() != some.fingerprint()


def test_a_pair_set_trains_other_models_side_by_side() -> None:
    dataset = pairs()
    batch = dataset.batch_source(6, seed=1)(0)
    assert batch.shape == (6, 8, 16, 1)
    x, y = dataset.pair_source(6, seed=1)(0)
    assert np.array_equal(batch, np.concatenate([x, y], axis=2))
    assert np.array_equal(next(iter(dataset.training_pipeline(6, seed=1))), batch)


def test_pairs_are_written_for_tfds(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    dataset = mnist_cdcb.synthetic(size=64, num_examples=20)
    builder = tfds.builder_from_directory(str(write_dataset(plan_of_pairs(dataset, "1.0.0", shards=2), tmp_path)))
    assert builder.info.splits["train"].shard_lengths == [10, 10]
    held_out = dataset.held_out
    assert isinstance(held_out, PairedDataset)
    for split, part in (("train", dataset), ("test", held_out)):
        examples = list(tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False)))
        assert len(examples) == part.num_examples
        for number, example in enumerate(examples):
            assert (example["image_x"] == part.x_images_at([number])[0]).all()
            assert (example["image_y"] == part.y_images_at([number])[0]).all()
            assert example["label_digit"] == part.factors_at([number])[0, 0]


def test_unpaired_sides_are_written_apart(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    dataset = pairs(5, 3, is_paired=False)
    builder = tfds.builder_from_directory(str(write_dataset(plan_of_pairs(dataset, "1.0.0"), tmp_path)))
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train_x": 5, "train_y": 3}
    with pytest.raises(ValueError, match="side0 is no data set of pairs"):
        plan_of_pairs(dataset.x, "1.0.0")


def test_crops_and_flips_change_each_image_by_itself() -> None:
    rng = np.random.default_rng(0)
    ramp = np.linspace(0.0, 1.0, 32)
    count = 400
    both = np.stack(np.meshgrid(ramp, ramp, indexing="ij"), axis=-1)[None].repeat(count, axis=0).astype(np.float32)
    augment = random_crops_and_flips()
    numbers = tf.constant(rng.random((count, augment.numbers)), tf.float32)
    x, y = (np.asarray(part) for part in augment.apply(tf.constant(both), tf.constant(both), numbers))
    assert x.shape == both.shape
    assert not np.allclose(x, y)
    assert min(x.min(), y.min()) >= 0.0
    assert max(x.max(), y.max()) <= 1.0
    for images in (x, y):
        across = images[:, 0, -1, 1] - images[:, 0, 0, 1]
        assert (across < 0).mean() == pytest.approx(0.5, abs=0.1)
        width, height = np.abs(across), images[:, -1, 0, 0] - images[:, 0, 0, 0]
        # About one in two is cropped, a few of them to nearly nothing less.
        cropped = (width < 0.999) | (height < 0.999)
        assert 0.35 < cropped.mean() < 0.55
        area, shape = (width * height)[cropped], (width / height)[cropped]
        assert 0.72 < area.min() < 0.84
        assert 0.85 < shape.min() < 0.95 < 1.05 < shape.max() < 1.15
        # What is not changed is the very image.
        still = np.abs(images - both).max(axis=(1, 2, 3)) < 1e-6
        assert still.mean() == pytest.approx(0.25, abs=0.1)


def test_a_window_is_where_its_numbers_say() -> None:
    augment = random_crops_and_flips(area=(0.25, 0.25), ratio=(1.0, 1.0), share=1.0)
    ramp = tf.reshape(tf.linspace(0.0, 1.0, 8), [1, 1, 8, 1]) * tf.ones([1, 8, 8, 1])
    numbers = np.full((1, augment.numbers), 0.99, np.float32)
    count = augment.numbers // 2
    # y: the window from column floor(0.5 * 5) = 2 on, 4 wide: from half a pixel before its first center to half after.
    numbers[0, -3], numbers[0, -2] = 0.5, 0.0
    numbers[0, count - 2] = 0.0
    x, y = augment.apply(ramp, ramp, tf.constant(numbers))
    np.testing.assert_allclose(y[0, 0, :, 0] * 7, 1.75 + 0.5 * np.arange(8), atol=1e-4)
    np.testing.assert_allclose(x[0, 0, 0, 0] * 7, 3.75, atol=1e-4)
    pixel = tf.constant([[[[0.25]]]])
    assert [part.numpy().tolist() for part in augment.apply(pixel, pixel, tf.constant(numbers))] == [[[[[0.25]]]]] * 2


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_named_changes_are_a_function_of_the_step(name: str) -> None:
    feed = pairs().feed(augment=AUGMENTATIONS[name]())
    source = feed.batch_source(4, 1)
    first, again, next_ = source(3), source(3), source(4)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], next_[0])
    streamed = next(iter(feed.training_pipeline(4, 1, start_step=3)))
    for a, b in zip(first, streamed, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
