"""Noise of an image's content: one value for each image, whatever stands beside it, and otherwise standard normal."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from models.noise import content_normal

SIZE = 10


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """4,000 black squares on white and white on black, all different in place, side or color only: hard cases."""
    drawn = np.zeros([4000, 64, 64, 1], np.float32)
    places = np.random.default_rng(0).permutation(40 * 40 * 4)[: len(drawn)]
    for image, place in zip(drawn, places, strict=True):
        row, column, kind = place // 160, place // 4 % 40, place % 4
        side = 8 + 8 * (kind // 2)
        image[row : row + side, column : column + side] = 1.0
        if kind % 2:
            image[...] = 1.0 - image
    assert len(np.unique(drawn.reshape(len(drawn), -1), axis=0)) == len(drawn)
    return drawn


@pytest.fixture(scope="module")
def noise(images: np.ndarray) -> np.ndarray:
    drawn = content_normal(tf.constant(images), SIZE, 0)
    assert drawn.dtype == tf.float32
    return drawn.numpy()


def test_standard_normal_in_every_column(noise: np.ndarray) -> None:
    assert noise.shape == (4000, SIZE)
    for column in noise.T:
        assert stats.kstest(column, "norm").pvalue > 1e-4
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3
    assert np.abs(noise).max() > 3.5


def test_columns_are_independent(noise: np.ndarray) -> None:
    for values in (noise, noise**2, np.abs(noise) > 1):
        correlations = np.corrcoef(values.T)[np.triu_indices(SIZE, 1)]
        assert np.abs(correlations).max() < 4.5 / np.sqrt(len(noise))


def test_images_that_are_alike_have_independent_noise(images: np.ndarray) -> None:
    changes = {
        "one pixel more": lambda image: np.where(np.arange(4096).reshape(64, 64, 1) == 77, 1.0 - image, image),
        "moved": lambda image: np.roll(image, 1, axis=1),
        "mirrored": lambda image: image[:, ::-1],
        "turned": lambda image: np.rot90(image),
        "inverted": lambda image: 1.0 - image,
        "darker by a gray level": lambda image: image * np.float32(254 / 255),
    }
    some = images[:1500]
    plain = content_normal(tf.constant(some), SIZE, 0).numpy()
    for name, change in changes.items():
        changed = np.stack([change(image) for image in some]).astype(np.float32)
        same = (changed == some).all(axis=(1, 2, 3))
        other = content_normal(tf.constant(changed), SIZE, 0).numpy()
        np.testing.assert_array_equal(other[same], plain[same], err_msg=name)
        pairs = [np.stack([a[~same].ravel(), b[~same].ravel()]) for a, b in ((plain, other), (plain**2, other**2))]
        for pair in pairs:
            assert abs(np.corrcoef(pair)[0, 1]) < 4.5 / np.sqrt(pair.shape[1]), name


def test_no_two_images_share_their_noise(images: np.ndarray, noise: np.ndarray) -> None:
    assert len(np.unique(noise[:, 0])) > 0.999 * len(noise)
    blank = np.stack([np.zeros([64, 64, 1]), np.ones([64, 64, 1]), np.full([64, 64, 1], 0.5)]).astype(np.float32)
    assert len(np.unique(content_normal(tf.constant(blank), 1, 0).numpy())) == 3


def test_a_function_of_the_image_alone(images: np.ndarray, noise: np.ndarray) -> None:
    order = np.random.default_rng(1).permutation(300)
    shuffled = content_normal(tf.constant(images[order]), SIZE, 0).numpy()
    # Up to the last bits of logarithm and cosine, whose kernels treat the ends of an array in another way.
    np.testing.assert_allclose(shuffled, noise[order], atol=2e-6)
    np.testing.assert_allclose(content_normal(tf.constant(images[5:6]), SIZE, 0)[0], noise[5], atol=2e-6)
    twice = np.concatenate([images[7:8], images[:3], images[7:8]])
    found = content_normal(tf.constant(twice), SIZE, 0).numpy()
    np.testing.assert_allclose(found[0], found[-1], atol=2e-6)
    np.testing.assert_array_equal(found, content_normal(tf.constant(twice), SIZE, 0))
    # Fewer numbers are the first of more.
    np.testing.assert_allclose(content_normal(tf.constant(images[:9]), 4, 0), noise[:9, :4], atol=2e-6)


def test_seeds_give_independent_noise(images: np.ndarray, noise: np.ndarray) -> None:
    for seed in (1, 2, 2**31 - 1):
        other = content_normal(tf.constant(images), SIZE, seed).numpy()
        assert stats.kstest(other.ravel(), "norm").pvalue > 1e-3
        assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 4.5 / np.sqrt(noise.size)
    # Neither column by column shifted: the counters of one seed are not those of the next.
    shifted = content_normal(tf.constant(images), SIZE, 1).numpy()[:, :-1]
    assert abs(np.corrcoef(noise[:, 1:].ravel(), shifted.ravel())[0, 1]) < 4.5 / np.sqrt(shifted.size)


@pytest.mark.parametrize("compiled", [False, True], ids=["graph", "XLA"])
def test_same_in_graphs(images: np.ndarray, noise: np.ndarray, compiled: bool) -> None:
    run = tf.function(lambda values: content_normal(values, SIZE, 0), jit_compile=compiled)
    np.testing.assert_allclose(run(tf.constant(images[:64])), noise[:64], atol=2e-6)


def test_colors_and_any_rank() -> None:
    colors = tf.constant(np.random.default_rng(0).random([500, 16, 16, 3]), tf.float32)
    drawn = content_normal(colors, 20, 0).numpy()
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-3
    np.testing.assert_allclose(content_normal(tf.reshape(colors, [500, 768]), 20, 0), drawn, atol=2e-6)
    swapped = content_normal(colors[..., ::-1], 20, 0).numpy()
    assert abs(np.corrcoef(drawn.ravel(), swapped.ravel())[0, 1]) < 0.05
