"""Circular dSprites: the images of the program of InfoGAN-CR, as the old and the new Pillow draw them."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

import data_gen
from common.errors import UserError
from data_gen import circular_dsprites

# Of the 1,080 images as Pillow 6.2.2 draws them, one byte for a pixel.
OLD_PILLOW = "cfc242ff7f464dd348a797cc3d27e047f1b4cab0fba3a6d86e2bd751722d5bd5"


def drawn_by_pillow(angle: int, radius: int) -> np.ndarray:
    """A disc as the program of InfoGAN-CR asks Pillow to draw it."""
    picture = Image.new("L", (64, 64), 0)
    theta = float(angle) / 40 * math.pi * 2
    x, y = 32 + radius * math.cos(theta), 32 + radius * math.sin(theta)
    ImageDraw.Draw(picture).ellipse((x - 5, y - 5, x + 5, y + 5), fill=255)
    return np.asarray(picture)


def test_the_official_images_are_those_of_the_old_pillow() -> None:
    dataset = data_gen.load("circular_dsprites")
    images = dataset.images_at(np.arange(1080))
    assert images.shape == (1080, 64, 64, 1)
    assert hashlib.sha256(images.tobytes()).hexdigest() == OLD_PILLOW
    assert set(np.unique(images)) == {0, 255}
    assert ((images[0] > 0).sum(), dataset.name, dataset.source) == (101, "circular_dsprites", "drawn")


def test_the_other_variant_is_what_pillow_draws_today() -> None:
    dataset = data_gen.load("circular_dsprites", variant="pillow8")
    expected = np.stack([drawn_by_pillow(angle, radius) for angle in range(40) for radius in range(27)])
    assert (dataset.images_at(np.arange(1080))[..., 0] == expected).all()
    assert dataset.name == "circular_dsprites_pillow8"


def test_factors_are_a_grid_with_the_angle_slowest() -> None:
    dataset = data_gen.load("circular_dsprites")
    space = dataset.grid
    assert [(factor.name, factor.size, factor.kind) for factor in space.factors] == [
        ("angle", 40, "periodic"),
        ("radius", 27, "continuous"),
    ]
    values = dataset.values_at([0, 26, 27, 1079])
    expected = np.array([[0.0, 0.0], [0.0, 26.0], [math.pi / 20, 0.0], [39 * math.pi / 20, 26.0]])
    np.testing.assert_allclose(values.astype(np.float64), expected, rtol=1e-6)
    # A quarter of a turn leads downwards, where y grows.
    image = dataset.images_at(space.index_of([[10, 20]]))[0, ..., 0]
    rows, columns = np.nonzero(image)
    assert (rows.mean(), columns.mean()) == (52, 32)
    at_center = dataset.images_at(space.index_of([[angle, 0] for angle in range(40)]))
    assert (at_center == at_center[0]).all()


def test_the_miniature_is_a_coarser_grid() -> None:
    dataset = circular_dsprites.synthetic((4, 3))
    assert dataset.grid.sizes == (4, 3)
    whole = data_gen.load("circular_dsprites")
    chosen = whole.grid.index_of([[angle, radius] for angle in (0, 10, 20, 30) for radius in (0, 13, 26)])
    assert (dataset.images_at(np.arange(12)) == whole.images_at(chosen)).all()
    assert (dataset.values_at(np.arange(12)) == whole.values_at(chosen)).all()
    assert data_gen.load("circular_dsprites", source="synthetic").source == "synthetic"


@pytest.mark.parametrize("levels", [(0, 3), (41, 3), (3, 28), (3,)])
def test_impossible_levels(levels: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="give two numbers, from 1 to 40 and from 1 to 27"):
        circular_dsprites.synthetic(levels)


def test_unknown_variants() -> None:
    with pytest.raises(UserError, match="unknown variant 'pillow7' of circular_dsprites; did you mean 'pillow8'"):
        data_gen.load("circular_dsprites", variant="pillow7")
