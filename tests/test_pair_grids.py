"""Sheets of models of pairs: which tile shows what, in which order and size."""

from __future__ import annotations

from collections.abc import Iterator

import helpers
import numpy as np
import pytest

from data_gen import mnist_cdcb
from data_gen.dataset import ArrayDataset
from data_gen.pairs import PairedDataset
from models.iiae import IIAE, IIAEOptions
from models.noise import Noise
from models.pairs import OTHER, Domain
from training import pair_grids
from training.pair_grids import (
    CAPTIONS,
    FIGURE_CAPTIONS,
    FIGURE_ORDER,
    KINDS,
    PairPainter,
    published_pictures,
    reference_tiles,
    tile_grid,
    translation_tiles,
)

NOISE = Noise(0, 0)


@pytest.fixture(scope="module")
def model() -> Iterator[IIAE]:
    made = helpers.rouse(IIAEOptions(width=2, shared_size=4).build((32, 32, 3), 0), biases=False)
    before = made.fingerprint()
    yield made
    assert made.fingerprint() == before


@pytest.mark.parametrize("source", ["x", "y"])
def test_tiles_of_translations(model: IIAE, source: Domain) -> None:
    x, y = helpers.data_for(model, 3)
    tiles = translation_tiles(model, x, y, source, NOISE)
    assert tiles.shape == (3, 7, 32, 32, 3)
    own, other = (x, y) if source == "x" else (y, x)
    target = OTHER[source]
    again = model.reconstruct(x, y)[1 if source == "x" else 0]
    by_partner = model.translate(own, source, model.exclusive_code(other, target))
    styles = [model.exclusive_noise(target, 3, NOISE, f"style{number}") for number in range(3)]
    sampled = [model.translate(own, source, style) for style in styles]
    for column, expected in enumerate([own, again, by_partner, *sampled, other]):
        np.testing.assert_allclose(tiles[:, column], expected, atol=1e-6, err_msg=str(column))
    assert len({tile.tobytes() for tile in tiles[0]}) == 7
    figure = tiles[:, list(FIGURE_ORDER)]
    assert np.array_equal(figure[:, 0], tiles[:, 0])
    np.testing.assert_allclose(figure[:, 4], by_partner, atol=1e-6)
    np.testing.assert_allclose(figure[:, 5], other, atol=1e-6)


@pytest.mark.parametrize("source", ["x", "y"])
def test_tiles_with_references(model: IIAE, source: Domain) -> None:
    content, references = helpers.data_for(model, 2)
    tiles = reference_tiles(model, content, references, source, NOISE)
    assert tiles.shape == (2, 3, 32, 32, 3)
    style = model.exclusive_code(references, OTHER[source])
    for column, expected in enumerate([content, model.translate(content, source, style), references]):
        np.testing.assert_allclose(tiles[:, column], expected, atol=1e-6)


def test_drawing_as_trained_differs_and_can_be_repeated(model: IIAE) -> None:
    x, y = helpers.data_for(model, 3)
    calm, first, again = (translation_tiles(model, x, y, "x", NOISE, trained) for trained in (False, True, True))
    assert np.array_equal(first, again)
    for column in (0, 6):
        assert np.array_equal(first[:, column], calm[:, column])
    for column in range(1, 6):
        assert not np.allclose(first[:, column], calm[:, column], atol=1e-3)


def test_the_pictures_of_the_authors_code(model: IIAE) -> None:
    x, y = helpers.data_for(model, 4)
    others = x[::-1], y[::-1]
    noises = [Noise(0, number) for number in range(4)]
    found = published_pictures(model, x, y, others, noises)
    assert list(KINDS) == ["inputs", "outputs", "sample0", "sample1", "sample2", "reference", "swapped", "style"]
    assert set(found) == {f"{kind}_{domain}" for kind in KINDS for domain in "xy"}
    assert {images.shape for images in found.values()} == {(4, 32, 32, 3)}
    assert np.array_equal(found["style_x"], others[0])
    assert np.array_equal(found["style_y"], others[1])
    np.testing.assert_allclose(found["swapped_x"], model.recombine(x, found["style_x"], "x"), atol=1e-6)
    np.testing.assert_allclose(found["reference_x"], model.translate(y, "y", model.exclusive_code(x, "x")), atol=1e-6)
    np.testing.assert_allclose(found["outputs_y"], model.reconstruct(x, y)[1], atol=1e-6)
    sampled = model.translate(x[2:3], "x", model.exclusive_noise("y", 1, noises[2], "style1"))
    np.testing.assert_allclose(found["sample1_y"][2], sampled[0], atol=1e-6)
    alone = published_pictures(model, x[2:3], y[2:3], (x[1:2], y[1:2]), noises[2:3])
    for name, images in alone.items():
        np.testing.assert_allclose(images[0], found[name][2], atol=1e-6, err_msg="depends on the batch: " + name)


@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_stand_side_by_side(channels: int) -> None:
    values = (np.arange(2 * 7) / 20).reshape(2, 7, 1, 1, 1)
    sheet = tile_grid((values * np.ones((2, 7, 4, 5, channels))).astype(np.float32))
    assert sheet.shape == (8, 35, 3)
    assert sheet.dtype == np.uint8
    for row in range(2):
        for column in range(7):
            tile = sheet[4 * row : 4 * row + 4, 5 * column : 5 * column + 5]
            assert (tile == round((7 * row + column) / 20 * 255)).all()


def test_the_published_size() -> None:
    """Seven tiles of 256 pixels are 1792 wide, a batch of 16 is 4096 high."""
    assert tile_grid(np.zeros((16, 7, 256, 256, 3), np.float32)).shape == (4096, 1792, 3)


def test_the_sheets_of_a_run(model: IIAE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_grids, "_ROWS", 2)
    dataset = mnist_cdcb.synthetic(size=64, num_examples=20)
    bigger = IIAEOptions(width=1, shared_size=2).build((64, 64, 3), 0)
    sheets = PairPainter(bigger, dataset).sheets()
    assert set(sheets) == set(CAPTIONS)
    assert sheets["x_to_y"].shape == sheets["y_to_x"].shape == (2 * 64, 7 * 64, 3)
    assert sheets["x_with_style_y"].shape == (2 * 64, 3 * 64, 3)
    test = dataset.held_out
    assert test is not None
    shown = test.images_at(np.arange(4))
    x, y = shown[:, :, :64], shown[:, :, 64:]
    assert np.array_equal(sheets["x_to_y"][:64, :64], x[0])
    assert np.array_equal(sheets["x_to_y"][64:, -64:], y[1])
    assert np.array_equal(sheets["y_with_style_x"][:64, :64], y[0])
    assert np.array_equal(sheets["y_with_style_x"][:64, -64:], x[2]), "the reference is another pair"


def test_the_four_figures(model: IIAE) -> None:
    """Input, three samples, by reference, reference; six rows; the reconstruction is left out."""
    painter = PairPainter(model, _few(20))
    sheets, figures = painter.sheets(), painter.figures()
    assert set(figures) == set(FIGURE_CAPTIONS) == set(sheets)
    for name in ("x_to_y", "y_to_x"):
        assert figures[name].shape == (6 * 32, 6 * 32, 3)
        for place, column in enumerate(FIGURE_ORDER):
            shown = figures[name][:, 32 * place : 32 * place + 32]
            assert np.array_equal(shown, sheets[name][:, 32 * column : 32 * column + 32])
    for name in ("x_with_style_y", "y_with_style_x"):
        assert np.array_equal(figures[name], sheets[name])


@pytest.mark.parametrize("count", [2, 6])
def test_of_few_pairs_none_is_its_own_reference(model: IIAE, count: int) -> None:
    tiles = PairPainter(model, _few(count)).tiles()
    for row in range(6):
        assert np.array_equal(tiles["x_to_y"][row, 0], tiles["x_with_style_y"][row, 0])
        assert not np.array_equal(tiles["x_to_y"][row, 6], tiles["x_with_style_y"][row, 2])


def _few(count: int) -> PairedDataset:
    rng = np.random.default_rng(0)
    sides = [
        ArrayDataset(rng.integers(0, 256, (count, 32, 32, 3), np.uint8), name=name, source="random") for name in "xy"
    ]
    return PairedDataset(*sides, name="few", source="random")
