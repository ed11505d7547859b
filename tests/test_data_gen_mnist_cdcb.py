"""MNIST-CDCB: the published pairs reproduced, colors as a function of seed and number, published folders."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import data_gen
from common.errors import UserError
from data_gen import mnist, mnist_cdcb
from data_gen.mnist_cdcb import bicubic_weights, colorize, random_colors
from data_gen.pairs import PairedDataset

# How the ten published pairs were colored: background, digit, pixels of the stroke.
PUBLISHED = (
    ((157, 121, 123), (131, 194, 175), 78),
    ((113, 195, 240), (242, 54, 15), 129),
    ((63, 148, 51), (109, 141, 49), 43),
    ((52, 150, 96), (7, 142, 123), 156),
    ((125, 92, 162), (55, 188, 2), 84),
    ((39, 154, 58), (109, 146, 142), 60),
    ((41, 166, 12), (183, 120, 84), 92),
    ((222, 185, 38), (119, 16, 122), 89),
    ((70, 250, 90), (108, 168, 144), 129),
    ((252, 37, 137), (201, 91, 179), 136),
)


def load(**options: Any) -> PairedDataset:
    dataset = data_gen.load("mnist_cdcb", **options)
    assert isinstance(dataset, PairedDataset)
    return dataset


def estimated_colors(digit: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[list[int], list[int]]:
    """The colors of a published pair: of the background from the corner, of the digit by least squares.

    Where nothing is cut off, y is the gray of the fringe plus the color times the share of the stroke, all enlarged.
    """
    weights = bicubic_weights(256)
    share = weights @ (digit > 102).astype(float) @ weights.T
    gray = weights @ np.where(digit > 102, 0, digit).astype(float) @ weights.T
    color = []
    for channel in range(3):
        inside = (share > 0.5) & (y[..., channel] > 0) & (y[..., channel] < 255)
        rest = (y[..., channel] + 0.5)[inside] * 255 / 255.5 - gray[inside]
        color.append(round(float(rest @ share[inside] / (share[inside] @ share[inside]))))
    return x[0, 0].tolist(), color


def test_the_ten_published_pairs_are_reproduced(raw_dir: Path) -> None:
    digits = data_gen.load("mnist", split="test", raw_dir=raw_dir).images_at(np.arange(10))[..., 0]
    published = load(raw_dir=raw_dir, source="published")
    assert (published.name, published.num_examples) == ("mnist_cdcb_sample", 10)
    wrong = 0
    for number, (background, foreground, stroke) in enumerate(PUBLISHED):
        x, y = published.x_images_at([number])[0], published.y_images_at([number])[0]
        digit = digits[number]
        assert (digit > 102).sum() == stroke
        assert estimated_colors(digit, x, y) == (list(background), list(foreground))
        made = colorize(digit, background, foreground)
        differences = np.abs(np.stack(made).astype(int) - np.stack([x, y]))
        assert differences.max() <= 1
        wrong += int((differences > 0).sum())
    assert wrong <= 18


@pytest.mark.parametrize("size", [64, 128, 256])
def test_the_filter_is_that_of_tensorflow_1(size: int) -> None:
    import tensorflow as tf

    weights = bicubic_weights(size)
    np.testing.assert_array_equal(weights.sum(axis=1), 1.0)
    np.testing.assert_array_equal(weights * 2.0**20, np.round(weights * 2.0**20))
    digits = mnist.synthetic(num_examples=20).images_at(np.arange(4))[..., 0]
    colors = random_colors(np.arange(4))
    differing = 0
    for digit, color in zip(digits, colors, strict=True):
        stroke = (digit > 102)[..., None]
        small = [np.where(stroke, digit[..., None], color[:3]), np.where(stroke, color[3:], digit[..., None])]
        large = tf.raw_ops.ResizeBicubic(
            images=np.stack(small).astype(np.float32) / np.float32(255),
            size=[size, size],
            align_corners=False,
            half_pixel_centers=False,
        )
        expected = np.floor(np.clip(large.numpy(), 0, 1) * np.float32(255.5)).astype(np.int64)
        differences = np.abs(np.stack(colorize(digit, color[:3], color[3:], size)) - expected)
        assert differences.max() <= 1
        differing += int((differences > 0).sum())
    assert differing <= 2e-5 * 8 * size * size * 3


def test_what_colorize_refuses() -> None:
    digit = np.zeros((28, 28), np.uint8)
    with pytest.raises(ValueError, match=r"a digit is float64 of shape \(28, 28\)"):
        colorize(digit.astype(float), (0, 0, 0), (0, 0, 0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"a digit is uint8 of shape \(32, 32\)"):
        colorize(np.zeros((32, 32), np.uint8), (0, 0, 0), (0, 0, 0))
    for color in ((0, 0), (0, 0, 256), (-1, 0, 0), (0.5, 0, 0)):
        with pytest.raises(ValueError, match="expected three integers from 0 to 255"):
            colorize(digit, color, (0, 0, 0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="size is 100; allowed: 64, 128, 256"):
        colorize(digit, (0, 0, 0), (0, 0, 0), 100)


def test_colors_depend_on_seed_and_number_alone() -> None:
    numbers = np.arange(70_000)
    colors = random_colors(numbers)
    assert (random_colors(numbers[::-1])[::-1] == colors).all()
    assert (random_colors(numbers[5:9]) == colors[5:9]).all()
    assert (random_colors(numbers[:100], seed=1) != colors[:100]).any(axis=1).all()
    assert len(np.unique(colors, axis=0)) == 70_000
    for column in colors.T:
        counts = np.bincount(column, minlength=256)
        # A fair draw has 273 of each value, and 99.9 % of them have a statistic below 332.
        assert ((counts - 70_000 / 256) ** 2 / (70_000 / 256)).sum() < 332
    assert np.abs(np.corrcoef(colors.T) - np.eye(6)).max() < 0.02
    assert np.abs([np.corrcoef(column[:-1], column[1:])[0, 1] for column in colors.T.astype(float)]).max() < 0.02


@pytest.mark.parametrize("size", [64, 256])
def test_what_trains_is_what_is_shown_bit_for_bit(size: int) -> None:
    import tensorflow as tf

    from data_gen.order import indices_at

    dataset = mnist_cdcb.synthetic(size=size)
    assert dataset.fits_device
    source = dataset.pair_source(4, seed=3)
    x, y = tf.function(source)(tf.constant(9))
    numbers = indices_at(9, 4, dataset.num_examples, 3).numpy()
    for found, expected in ((x, dataset.x_images_at(numbers)), (y, dataset.y_images_at(numbers))):
        assert (np.round(found.numpy() * 255) == expected).all()
        assert np.array_equal(found, expected.astype(np.float32) * np.float32(1 / 255))
    streamed = next(iter(dataset.pair_pipeline(4, seed=3, start_step=9)))
    assert np.array_equal(streamed[0], x)
    assert np.array_equal(streamed[1], y)


def test_parts_and_names(raw_dir: Path) -> None:
    train = load(raw_dir=raw_dir, source="reconstructed", size=64)
    assert (train.name, train.source, train.num_examples) == ("mnist_cdcb_reconstructed_64", "reconstructed", 60_000)
    assert train.x_shape == train.y_shape == (64, 64, 3)
    assert train.image_shape == (64, 128, 3)
    test = train.held_out
    assert isinstance(test, PairedDataset)
    assert (test.name, test.num_examples) == ("mnist_cdcb_reconstructed_64_test", 10_000)
    assert test.factors_at(range(5)).ravel().tolist() == [7, 2, 1, 0, 4]
    alone = load(raw_dir=raw_dir, source="reconstructed", size=64, split="test")
    assert (alone.images_at([0, 9_999]) == test.images_at([0, 9_999])).all()
    # Colors go on from the training images to those to test on.
    digit = data_gen.load("mnist", split="test", raw_dir=raw_dir).images_at([3])[0, ..., 0]
    color = random_colors(np.array([60_003]))[0]
    assert (test.x_images_at([3])[0] == colorize(digit, color[:3], color[3:], 64)[0]).all()
    valid = load(raw_dir=raw_dir, source="reconstructed", size=64, split="valid")
    assert (valid.num_examples, valid.held_out) == (800, None)
    assert (valid.images_at([799]) == train.images_at([799])).all()
    fewer = load(raw_dir=raw_dir, source="reconstructed", size=64, num_train=50_000)
    assert (fewer.name, fewer.num_examples) == ("mnist_cdcb_reconstructed_64_train50000", 50_000)
    limited = load(raw_dir=raw_dir, source="reconstructed", limit=10)
    assert (limited.name, limited.num_examples) == ("mnist_cdcb_reconstructed_limit10", 10)
    assert limited.held_out is not None


def test_the_miniature() -> None:
    first, again, other = (mnist_cdcb.synthetic(size=64, seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert first.name == "mnist_cdcb_synthetic_64"
    x, y = first.x_images_at([0])[0], first.y_images_at([0])[0]
    assert (x[0, 0] == random_colors(np.array([0]))[0, :3]).all()
    assert not y[0, 0].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "vaild"}, "unknown split 'vaild' of mnist_cdcb; did you mean 'valid'"),
        ({"size": 32}, "size is 32; allowed: 64, 128, 256"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(source="synthetic", **options)


def test_without_files_it_says_what_to_get(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no MNIST in"):
        load(raw_dir=tmp_path)
    with pytest.raises(UserError, match=r"no published MNIST-CDCB in .*MNIST-CDCB-256Ims.tar.gz from http"):
        load(raw_dir=tmp_path, source="published")


def png(number: int, size: tuple[int, int] = (512, 256)) -> bytes:
    """A pair of two plain halves that tell its number."""
    pixels = np.full((size[1], size[0], 3), number, np.uint8)
    pixels[:, size[0] // 2 :] = 255 - number
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write_published(root: Path, packed: bool) -> None:
    """The layout of the publisher, as a folder or as an archive."""
    files = {
        f"{part}/{n:05d}.png": png(start + n) for part, start in (("train", 0), ("test", 100)) for n in range(1, 5)
    }
    if packed:
        with tarfile.open(root / "MNIST-CDCB-256Ims.tar.gz", "w:gz") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(f"MNIST-CDCB/{name}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return
    for name, data in files.items():
        path = root / "MNIST-CDCB" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.mark.parametrize("packed", [False, True])
def test_published_folders_and_archives(packed: bool, tmp_path: Path) -> None:
    write_published(tmp_path, packed)
    train = load(raw_dir=tmp_path, data_dir=tmp_path / "data")
    assert (train.name, train.source, train.num_examples) == ("mnist_cdcb", "published", 4)
    assert train.x_images_at(range(4))[:, 5, 5, 1].tolist() == [1, 2, 3, 4]
    assert train.y_images_at(range(4))[:, 5, 5, 1].tolist() == [254, 253, 252, 251]
    assert isinstance(train.held_out, PairedDataset)
    assert train.held_out.x_images_at(range(4))[:, 5, 5, 1].tolist() == [101, 102, 103, 104]
    assert load(raw_dir=tmp_path, data_dir=tmp_path, split="valid").num_examples == 4
    assert not train.fits_device
    with pytest.raises(UserError, match="published pairs have 256x256 pixels, not 64"):
        load(raw_dir=tmp_path, size=64)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (png(1, (256, 256)), "00002.png has 256x256 pixels; pairs have 512x256"),
        (png(1)[:200], "00002.png cannot be read"),
        (b"<html>", "00002.png cannot be read"),
    ],
)
def test_damaged_published_files_are_named(data: bytes, message: str, tmp_path: Path) -> None:
    write_published(tmp_path, packed=False)
    (tmp_path / "MNIST-CDCB" / "train" / "00002.png").write_bytes(data)
    with pytest.raises(UserError, match=message):
        load(raw_dir=tmp_path).images_at([0, 1])


def test_an_archive_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "MNIST-CDCB-256Ims.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("train/../../00001.png")
        archive.addfile(info, io.BytesIO())
    with pytest.raises(UserError, match="leads out of the archive"):
        load(raw_dir=tmp_path, data_dir=tmp_path / "data")
