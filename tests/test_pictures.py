"""Sheets, animations and plots."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training import pictures

ROOT = Path(__file__).resolve().parents[1]


def decoded(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def test_grid_places_every_image() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 2, 3, 1), np.uint8)
    grid = pictures.image_grid(images, columns=3, padding=1, background=1.0)
    assert grid.dtype == np.uint8
    expected = np.array(
        [
            [255] * 13,
            [255, 0, 0, 0, 255, 1, 1, 1, 255, 2, 2, 2, 255],
            [255, 0, 0, 0, 255, 1, 1, 1, 255, 2, 2, 2, 255],
            [255] * 13,
            [255, 3, 3, 3, 255, 4, 4, 4, 255, 255, 255, 255, 255],
            [255, 3, 3, 3, 255, 4, 4, 4, 255, 255, 255, 255, 255],
            [255] * 13,
        ]
    )
    assert grid.shape == (7, 13, 3)
    assert all(np.array_equal(grid[:, :, channel], expected) for channel in range(3))


def test_grid_keeps_colors_and_needs_no_padding() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    grid = pictures.image_grid(images, columns=2, padding=0)
    assert grid.shape == (10, 12, 3)
    assert np.array_equal(grid[5:, 6:], images[3])
    assert pictures.image_grid(images[:1], columns=8).shape == (9, 10, 3)
    assert pictures.image_grid(images[:1], columns=8)[0, 0].tolist() == [128, 128, 128]


def test_values_become_bytes() -> None:
    assert pictures.to_uint8(np.array([0.0, 0.5, 1.0, 1.0005, -0.0005])).tolist() == [0, 128, 255, 255, 0]
    assert pictures.to_uint8(np.array([True, False])).tolist() == [255, 0]
    assert pictures.to_uint8(np.array([0.25], np.float16)).tolist() == [64]


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (np.full((1, 2, 2, 1), 1.5), ValueError, "span 1.5 to 1.5"),
        (np.full((1, 2, 2, 1), -1.0), ValueError, r"lie in \[0, 1\]"),
        (np.full((1, 2, 2, 1), np.nan), ValueError, "nan"),
        (np.zeros((1, 2, 2, 1), np.int64), TypeError, "not int64"),
        (np.zeros((2, 2, 1)), ValueError, r"\[N, H, W, C\]"),
        (np.zeros((1, 2, 2, 2)), ValueError, "1 or 3 channels"),
        (np.zeros((0, 2, 2, 1)), ValueError, "not be empty"),
    ],
)
def test_grid_refuses_what_are_no_images(images: np.ndarray, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        pictures.image_grid(images, 2)


@pytest.mark.parametrize(
    "options", [{"columns": 0}, {"padding": -1}, {"background": 1.5}, {"background": float("nan")}]
)
def test_grid_refuses_wrong_options(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        pictures.image_grid(np.zeros((1, 2, 2, 1)), **({"columns": 1} | options))  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 3])
def test_labelled_sheet_holds_the_images_and_dark_labels(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64, channels), dtype=np.uint8)
    bare = pictures.labelled_sheet(images, [], [])
    grid = pictures.image_grid(images.reshape(6, 64, 64, channels), 3, background=1.0)
    assert np.array_equal(bare[: grid.shape[0], : grid.shape[1]], grid)
    sheet = pictures.labelled_sheet(images, ["r0", "r1"], ["-1.10", "+0.00", "+1.10"], "Traversal")
    assert sheet.dtype == np.uint8
    top, left = sheet.shape[0] - bare.shape[0], sheet.shape[1] - bare.shape[1]
    assert top > 20
    assert left > 10
    assert np.array_equal(sheet[top:, left:], bare)
    for part in (sheet[:20], sheet[20:top, left:], sheet[top:, :left]):
        assert part.min() < 100
        assert part.max() == 255


def test_small_images_are_enlarged_so_that_labels_fit() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 2, 28, 28, 1), dtype=np.uint8)
    sheet = pictures.labelled_sheet(images, [], [])
    assert np.array_equal(sheet[2:86:3, 2:86:3, 0], images[0, 0, :, :, 0])
    assert np.array_equal(sheet[4:86:3, 4:86:3, 0], images[0, 0, :, :, 0])


def test_long_and_strange_labels_do_no_harm() -> None:
    images = np.zeros((1, 1, 16, 16, 1))
    labels = ["a very long label " * 20 + "\n\N{GREEK SMALL LETTER BETA}"]
    sheet = pictures.labelled_sheet(images, labels, labels, labels[0])
    assert sheet.shape[1] < 400
    with pytest.raises(ValueError, match="2 row labels for 1 rows"):
        pictures.labelled_sheet(images, ["a", "b"], [])
    with pytest.raises(ValueError, match="2 column labels for 1 columns"):
        pictures.labelled_sheet(images, [], ["a", "b"])
    with pytest.raises(ValueError, match=r"\[R, C, H, W, channels\]"):
        pictures.labelled_sheet(images[0], [], [])


@pytest.mark.parametrize("channels", [1, 3])
def test_png_gives_the_image_back(tmp_path: Path, channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, channels), dtype=np.uint8)
    pictures.save_png(image, tmp_path / "new" / "image.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["image.png"]
    assert np.array_equal(decoded((tmp_path / "new" / "image.png").read_bytes()), np.broadcast_to(image, (9, 7, 3)))
    with pytest.raises(ValueError, match="1 or 3"):
        pictures.save_png(image[:, :, 0], tmp_path / "flat.png")
    assert not (tmp_path / "flat.png").exists()


def test_gif_repeats_and_keeps_its_pace(tmp_path: Path) -> None:
    frames = [np.full((8, 8, 3), level, np.uint8) for level in (0, 100, 200, 255)]
    pictures.save_gif(frames, tmp_path / "a.gif", frames_per_second=8)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.format == "GIF"
        assert image.n_frames == 4  # type: ignore[attr-defined]
        assert image.info["loop"] == 0
        assert image.info["duration"] == 120
        for number, frame in enumerate(frames):
            image.seek(number)
            assert np.abs(np.asarray(image.convert("RGB")).astype(int) - frame).max() <= 8
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


def test_gif_of_binary_images_is_exact_and_of_floats_too() -> None:
    frames = np.random.default_rng(0).integers(0, 2, (3, 16, 16, 1)).astype(np.float32)
    with Image.open(io.BytesIO(pictures.gif_bytes(frames))) as image:
        assert np.array_equal(np.asarray(image.convert("L")), frames[0, :, :, 0] * 255)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pictures.gif_bytes([]), "at least one frame"),
        (lambda: pictures.gif_bytes([np.zeros((2, 2, 1)), np.zeros((3, 2, 1))]), "one size"),
        (lambda: pictures.gif_bytes([np.zeros((2, 2, 1))], frames_per_second=0), "frames_per_second"),
    ],
)
def test_gif_refuses(call: Callable[[], bytes], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_plots_are_png_without_warnings() -> None:
    steps = np.arange(50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots = [
            pictures.line_plot({"D/loss": (steps, np.sin(steps)), "_$x$": ([1], [2])}, "Losses $", "step", "nats"),
            pictures.line_plot({str(n): (steps, steps + n + 1.0) for n in range(20)}, "", "step", "nats"),
            pictures.line_plot({"gap": (steps, np.full(50, np.nan))}, "", "step", ""),
            pictures.line_plot({"empty": ([], [])}, "", "step", ""),
            pictures.bar_plot({"a": 0.5, "b": np.nan, "c": -0.2}, "Scores", "score", {"a": 0.52}, errors={"a": 0.1}),
            pictures.bar_plot({f"metric_{n}": 0.0 for n in range(12)}, "", ""),
            pictures.matrix_plot(np.eye(3), ["a", "b", "c"], ["d", "e", "f"], "Votes"),
            pictures.matrix_plot([[np.nan, np.inf]], ["a"], ["b", "c"], ""),
            pictures.matrix_plot(np.zeros((30, 30)), [str(n) for n in range(30)], [str(n) for n in range(30)], ""),
        ]
    for plot in plots:
        image = decoded(plot)
        assert image.shape[0] > 100
        assert image.min() < 100
        assert image.max() == 255


def test_equal_plots_have_equal_bytes() -> None:
    first, second = (pictures.line_plot({"a": ([0, 1], [0, 1])}, "t", "x", "y") for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pictures.line_plot({}, "", "", ""), "at least one series"),
        (lambda: pictures.line_plot({"a": ([1, 2], [1])}, "", "", ""), "one length"),
        (lambda: pictures.bar_plot({}, "", ""), "at least one bar"),
        (lambda: pictures.bar_plot({"a": 1}, "", "", {"b": 1}), "reference for 'b' but no bar; bars: a"),
        (lambda: pictures.bar_plot({"a": 1}, "", "", errors={"b": 1}), "error for 'b'"),
        (lambda: pictures.matrix_plot([1, 2], ["a"], ["b"], ""), "two axes"),
        (lambda: pictures.matrix_plot([[1, 2]], ["a"], ["b"], ""), "1 row labels and 2 column labels"),
    ],
)
def test_plots_refuse(call: Callable[[], bytes], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_import_needs_neither_matplotlib_nor_tensorflow() -> None:
    code = (
        "import sys, training.pictures, training.report; "
        "sys.exit(bool({'matplotlib', 'tensorflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == 0
