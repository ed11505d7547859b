"""Tests of the redrawn dSprites: known answers, real images where they are, the packed whole, errors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data_gen import dsprites_reconstruction as drawing

RAW_DIR = os.environ.get("SPOUT_RAW_DIR")
ALLOWED_WRONG_PIXELS = 0.12
SHAPES = ("square", "ellipse", "heart")


def _one(*levels: int) -> NDArray[np.uint8]:
    return drawing.reconstruct(np.array([levels]))[0]


def _centroid(image: NDArray[np.uint8]) -> tuple[float, float]:
    rows, columns = np.nonzero(image)
    return float(columns.mean()) + 0.5, float(rows.mean()) + 0.5


def _random_classes(count: int, seed: int = 0) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, size, count) for size in drawing.FACTOR_SIZES], axis=1)


def _real(name: str) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    found = sorted(Path(RAW_DIR).rglob(name)) if RAW_DIR else []
    if not found:
        pytest.skip(f"set SPOUT_RAW_DIR to a folder with {name}")
    with np.load(found[0], allow_pickle=False) as archive:
        indices, images = archive["original_dataset_indices"], archive["imgs"]
    return np.stack(np.unravel_index(indices, drawing.FACTOR_SIZES), axis=1), images


def test_square_at_full_scale_upright() -> None:
    image = _one(0, 5, 0, 0, 31)
    # 16 - 9.6 = 6.4 and 16 + 9.6 = 25.6: the centers 6.5 to 25.5 are inside; at 48 those from 38.5 to 57.5.
    expected = np.zeros((64, 64), np.uint8)
    expected[38:58, 6:26] = 1
    np.testing.assert_array_equal(image, expected)
    assert _centroid(image) == (16.0, 48.0)


@pytest.mark.parametrize(
    ("shape", "area"), [(0, 19.2**2), (1, np.pi * 9.6**2), (2, 9.6 * 9.6 / 14.5 * 180 / 16 * np.pi)]
)
def test_mean_area_is_that_of_the_outline(shape: int, area: float) -> None:
    classes = _random_classes(400, seed=shape)
    classes[:, 0] = shape
    size = 0.5 + 0.1 * classes[:, 1]
    ratio = drawing.reconstruct(classes).sum(axis=(1, 2)) / (area * size**2)
    assert ratio.mean() == pytest.approx(1, abs=0.005)


def test_ellipse_is_wide_and_turns_counterclockwise_on_the_screen() -> None:
    upright = _one(1, 5, 0, 16, 16)
    rows, columns = np.nonzero(upright)
    assert np.ptp(columns) + 1 in (25, 26)
    assert np.ptp(rows) + 1 in (14, 15)
    rows, columns = np.nonzero(_one(1, 5, 5, 16, 16))
    assert np.cov(columns, rows)[0, 1] < -5


def test_heart_points_down() -> None:
    image = _one(2, 5, 0, 0, 0)
    rows = np.flatnonzero(image.any(axis=1))
    assert image[rows[-1]].sum() <= 2
    assert image[rows[0]].sum() > 4
    np.testing.assert_array_equal(image[:, :16], image[:, 16:32][:, ::-1])


def test_positions_move_the_center() -> None:
    images = drawing.reconstruct(np.array([[1, 3, 0, x, y] for x, y in ((0, 0), (31, 0), (0, 31), (31, 31))]))
    np.testing.assert_array_equal(images[1], np.roll(images[0], 32, axis=1))
    np.testing.assert_array_equal(images[2], np.roll(images[0], 32, axis=0))
    np.testing.assert_array_equal(images[3], np.roll(images[0], (32, 32), axis=(0, 1)))


def test_last_orientation_is_the_first() -> None:
    classes = _random_classes(600, seed=3)
    classes[:, 2] = 0
    turned = classes.copy()
    turned[:, 2] = 39
    np.testing.assert_array_equal(drawing.reconstruct(classes), drawing.reconstruct(turned))


def test_packed_has_the_published_order() -> None:
    packed = drawing.reconstruct_all_packed()
    assert packed.shape == (737280, 512)
    assert packed.dtype == np.uint8
    classes = _random_classes(2000, seed=4)
    images = drawing.reconstruct(classes)
    rows = np.ravel_multi_index(classes.T, drawing.FACTOR_SIZES)
    np.testing.assert_array_equal(packed[rows], np.packbits(images.reshape(len(images), -1), axis=1))


def test_packed_watches_and_refuses() -> None:
    with pytest.raises(ValueError, match=r"uint8 of shape \(737280, 512\)"):
        drawing.reconstruct_all_packed(packed=np.empty((10, 512), np.uint8))
    seen: list[int] = []

    class StoppedError(Exception):
        pass

    def watch(kinds: range) -> list[int]:
        seen.append(len(kinds))
        raise StoppedError

    with pytest.raises(StoppedError):
        drawing.reconstruct_all_packed(progress=watch, packed=np.empty((737280, 512), np.uint8))
    assert seen == [720]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_color_column_types_and_no_images(dtype: type) -> None:
    classes: NDArray[Any] = _random_classes(20, seed=5).astype(dtype)
    colored = np.concatenate([np.zeros((20, 1), dtype), classes], axis=1)
    images = drawing.reconstruct(colored)
    assert images.dtype == np.uint8
    assert set(np.unique(images)) == {0, 1}
    np.testing.assert_array_equal(images, drawing.reconstruct(classes))
    assert drawing.reconstruct(classes[:0]).shape == (0, 64, 64)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (np.zeros(5, int), r"shape \(5,\); give \(N, 5\)"),
        (np.zeros((2, 4), int), r"shape \(2, 4\)"),
        (np.zeros((1, 5)), "type float64; give the integer levels"),
        (np.zeros((1, 5), bool), "type bool"),
        (np.array([[0, 0, 0, 0, 0], [3, 0, 0, 0, 0]]), "shape level 3 in row 1; dSprites has levels 0 to 2"),
        (np.array([[0, 0, 40, 0, 0]]), "orientation level 40 .* 0 to 39"),
        (np.array([[0, -1, 0, 0, 0]]), "scale level -1 .* 0 to 5"),
        (np.array([[1, 0, 0, 0, 0, 0]]), "color level 1 .* 0 to 0"),
        (np.array([[0, 0, 0, 0, 32]]), "y level 32 .* 0 to 31"),
    ],
)
def test_bad_classes_are_refused(classes: NDArray[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drawing.reconstruct(classes)


def test_bad_outlines_are_refused() -> None:
    with pytest.raises(ValueError, match="shape is 3; give 0"):
        drawing.outline(3)
    with pytest.raises(ValueError, match=r"beyond 15\.5 pixels"):
        drawing.draw_positions(2 * drawing.outline(0), 0, 0, np.arange(2), np.arange(2))


@pytest.mark.parametrize("shape", range(3), ids=SHAPES)
def test_real_sub_grid_at_orientations_not_fitted(shape: int) -> None:
    levels, images = _real("dsprites_downsampled.npz")
    members = (levels[:, 0] == shape) & (levels[:, 2] % 8 != 0)
    wrong = drawing.reconstruct(levels[members]) != images[members]
    assert members.sum() == 7680
    assert wrong.sum() / members.sum() < ALLOWED_WRONG_PIXELS / 100


@pytest.mark.parametrize("shape", range(2), ids=SHAPES[:2])
def test_real_random_sample_without_the_sub_grid(shape: int) -> None:
    levels, images = _real("dsprites_random_10000.npz")
    on_grid = (levels[:, 2] % 4 == 0) & (levels[:, 3:] % 2 == 0).all(axis=1)
    members = (levels[:, 0] == shape) & ~on_grid
    wrong = drawing.reconstruct(levels[members]) != images[members]
    assert members.sum() > 3000
    assert wrong.sum() / members.sum() < ALLOWED_WRONG_PIXELS / 100


def test_real_last_orientation_is_the_first() -> None:
    levels, images = _real("dsprites_random_10000.npz")
    ends = np.isin(levels[:, 2], (0, 39))
    other = levels[ends].copy()
    other[:, 2] = 39 - other[:, 2]
    # Drawn at the other end of the turn, the real images are met all the same.
    wrong = (drawing.reconstruct(other) != images[ends]).sum(axis=(1, 2))
    assert ends.sum() > 400
    assert wrong.max() == 0
