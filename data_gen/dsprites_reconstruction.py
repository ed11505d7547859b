"""Redraws the dSprites images offline from their factors, all but exactly.

How a picture comes about. Each shape is a polygon around the origin, in pixels at scale 1, y downward, R = 9.6:

* square: corners (+-R, +-R);
* ellipse: (1.33 R cos t, R / 1.33 sin t) at t = 2 pi k / 100;
* heart: (R sin(t)^3, -R ((13 cos t - 5 cos 2t - 2 cos 3t - cos 4t) / 14.5 + 0.15)) at t = 2 pi k / 150.

Its corners are multiplied by 0.5 + 0.1 level of scale, turned by -2 pi level / 39 (so level 39 equals level 0), moved
by 16 + 32 level / 31 in x and in y, and rounded to 1/256 pixel. A pixel is set if its center lies inside the rounded
polygon; centers on a left or bottom edge count as inside, those on a right or top edge do not.

How this was found. The constants were fitted to published images by drawing and counting wrong pixels, then replaced
by the round numbers next to the optimum (`python -m benchmarks.fit_dsprites_outline` does it again). Unrounded corners
leave 0.05 wrong pixels per image, all within 1/512 pixel of an edge, which gave the rounding; every number of corners
tried for the ellipse and the heart other than 100 and 150 leaves errors, too.

How good it is, in wrong pixels of 4,096, on real images other than those fitted (the sub-grid is every fourth
orientation level and every second position; of its ten orientations the levels 0, 8, 16, 24 and 32 were fitted):

| shape   | other five orientations of the sub-grid | random sample without the sub-grid     |
|---------|-----------------------------------------|----------------------------------------|
| square  | 3 in 7,680 images, 0.00039 per image    | 1 in 6,222 images, 0.00016 per image   |
| ellipse | 1 in 7,680 images, 0.00013 per image    | 0 in 3,155 images (scale levels 0 to 3)|
| heart   | 1 in 7,680 images, 0.00013 per image    | there is no heart in it                |

Hearts are therefore measured at no odd position level, where squares and ellipses, which are placed in the same way,
are right. Rounding and the rule for edges were settled on squares of the random sample, and first rough outlines were
looked at on all of the sub-grid.

On all images at hand (21,582 squares, 18,515 ellipses, 15,360 hearts) 4, 2 and 1 pixels are wrong. Each of these seven
hangs on a corner within 0.0006 steps of the border between two steps of 1/256 pixel: the program that drew dSprites
fell to the other side there, in an arithmetic of lower precision that is not known.

The images are those of dSprites (Matthey et al., 2017, https://github.com/google-deepmind/dsprites-dataset).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

FACTOR_NAMES = ("shape", "scale", "orientation", "x", "y")
FACTOR_SIZES = (3, 6, 40, 32, 32)
SIDE = 64
PACKED_BYTES = SIDE * SIDE // 8

_RADIUS = 9.6
_ELLIPSE_STRETCH = 1.33
_ELLIPSE_CORNERS = 100
_HEART_CORNERS = 150
_HEART_HALF_HEIGHT = 14.5
_HEART_LIFT = 0.15
_SUBPIXELS = 256
_TURN = 39
# What surely stays inside the picture, whose centers keep 16 pixels from its border.
_LARGEST_RADIUS = 15.5
# Bit 63 is the first pixel of a row, as in numpy.packbits: entry j has the bits of pixel j and all to its right.
_FROM_COLUMN = np.array([(1 << (SIDE - column)) - 1 for column in range(SIDE + 1)], np.uint64)


@functools.cache
def outline(shape: int) -> NDArray[np.float64]:
    """The corners of a shape around the origin.

    Args:
        shape: 0 square, 1 ellipse, 2 heart.

    Returns:
        float64 of shape (corners, 2), x and y in pixels at scale 1, y downward. Read-only.

    Raises:
        ValueError: for another number.
    """
    if shape == 0:
        corners = _RADIUS * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    elif shape == 1:
        t = 2 * np.pi * np.arange(_ELLIPSE_CORNERS) / _ELLIPSE_CORNERS
        corners = _RADIUS * np.stack([_ELLIPSE_STRETCH * np.cos(t), np.sin(t) / _ELLIPSE_STRETCH], axis=1)
    elif shape == 2:
        corners = heart_outline(_HEART_CORNERS, _RADIUS, _RADIUS / _HEART_HALF_HEIGHT, _RADIUS * _HEART_LIFT)
    else:
        raise ValueError(f"shape is {shape}; give 0 (square), 1 (ellipse) or 2 (heart)")
    corners.flags.writeable = False
    return corners


def heart_outline(corners: int, width: float, height: float, lift: float) -> NDArray[np.float64]:
    """The heart as a polygon with free constants.

    Args:
        corners: how many corners, evenly spread over the curve's parameter.
        width: half the heart's width, in pixels.
        height: what multiplies 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, in pixels.
        lift: how far the curve is moved up, in pixels.

    Returns:
        float64 of shape (corners, 2), x and y, y downward.
    """
    t = 2 * np.pi * np.arange(corners) / corners
    curve = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([width * np.sin(t) ** 3, -(height * curve + lift)], axis=1)


def reconstruct(classes: NDArray[Any]) -> NDArray[np.uint8]:
    """Draws images from the levels of their factors.

    Args:
        classes: integers of shape (N, 5): shape 0-2 (square, ellipse, heart), scale 0-5, orientation 0-39, x 0-31,
            y 0-31; or of shape (N, 6) with dSprites' color, always 0, before them.

    Returns:
        uint8 of shape (N, 64, 64), 0 or 1, rows from the top.

    Raises:
        ValueError: for another shape, a type that is not integer, or levels that dSprites does not have.
    """
    levels = _checked(classes)
    words = np.empty((len(levels), SIDE), np.uint64)
    groups, group_of = np.unique(levels[:, :3], axis=0, return_inverse=True)
    # numpy 2.0 gave the inverse another shape.
    order = np.argsort(group_of.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(group_of.reshape(-1), minlength=len(groups)))
    for (shape, scale, orientation), members in zip(groups, np.split(order, ends)[:-1], strict=True):
        x_levels, x_index = np.unique(levels[members, 3], return_inverse=True)
        y_levels, y_index = np.unique(levels[members, 4], return_inverse=True)
        drawn = draw_positions(outline(int(shape)), int(scale), int(orientation), x_levels, y_levels)
        words[members] = drawn[x_index, y_index]
    return np.unpackbits(_bytes_of(words), axis=1).reshape(-1, SIDE, SIDE)


def reconstruct_all_packed(
    progress: Callable[[range], Iterable[int]] | None = None, packed: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Draws all 737,280 images, one bit for a pixel, in some seconds.

    Args:
        progress: wraps the loop over the 720 kinds of picture (shape, scale, orientation), for a progress bar.
            Default: nothing is shown.
        packed: where to put the images, uint8 of shape (737280, 512), such as a memory map. Default: a new array.

    Returns:
        uint8 of shape (737280, 512), rows as `numpy.packbits` makes them from the 4,096 pixels, in the order of the
        published file: shape, scale, orientation, x, y, the last fastest.

    Raises:
        ValueError: if `packed` has another shape or type.
    """
    kinds, positions = int(np.prod(FACTOR_SIZES[:3])), int(np.prod(FACTOR_SIZES[3:]))
    wanted = (kinds * positions, PACKED_BYTES)
    if packed is None:
        packed = np.empty(wanted, np.uint8)
    elif packed.shape != wanted or packed.dtype != np.uint8:
        raise ValueError(f"packed is {packed.dtype} of shape {packed.shape}; give uint8 of shape {wanted}")
    x_levels, y_levels = np.arange(FACTOR_SIZES[3]), np.arange(FACTOR_SIZES[4])
    for kind in range(kinds) if progress is None else progress(range(kinds)):
        shape, scale, orientation = (int(level) for level in np.unravel_index(kind, FACTOR_SIZES[:3]))
        drawn = draw_positions(outline(shape), scale, orientation, x_levels, y_levels)
        packed[kind * positions : (kind + 1) * positions] = _bytes_of(drawn.reshape(positions, SIDE))
    return packed


def draw_positions(
    corners: NDArray[np.float64],
    scale: int,
    orientation: int,
    x_levels: NDArray[np.integer],
    y_levels: NDArray[np.integer],
) -> NDArray[np.uint64]:
    """Draws one polygon, scaled and turned, at all pairs of positions.

    A corner's rounded x depends on the x level alone and its y on the y level alone, so that the rows an edge crosses
    are found once for each y level and the columns for all x levels together. Every crossing flips the pixels to its
    right; two crossings leave what lies between them.

    Args:
        corners: float64 of shape (corners, 2), see `outline`.
        scale: level 0 to 5.
        orientation: level 0 to 39.
        x_levels: integers of shape (X,), 0 to 31.
        y_levels: integers of shape (Y,), 0 to 31.

    Returns:
        uint64 of shape (X, Y, 64): the rows of each image, the highest bit is the leftmost pixel.

    Raises:
        ValueError: if the polygon may leave the picture.
    """
    if np.hypot(corners[:, 0], corners[:, 1]).max() > _LARGEST_RADIUS:
        raise ValueError(f"the outline reaches beyond {_LARGEST_RADIUS} pixels from its center; give a smaller one")
    x, y = _transformed(corners, scale, orientation)
    x_start, y_start = _rounded(x, x_levels), _rounded(y, y_levels)
    x_end, y_end = np.roll(x_start, -1, axis=1), np.roll(y_start, -1, axis=1)

    # Row r has its centers at r * 256 + 128; an edge holds those above its lower end's, and that end's own.
    half = _SUBPIXELS // 2
    first = (np.minimum(y_start, y_end) - half) // _SUBPIXELS + 1
    count = (np.maximum(y_start, y_end) - half) // _SUBPIXELS + 1 - first
    image, edge = np.nonzero(count)
    repeats = count[image, edge]
    step = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    image, edge = np.repeat(image, repeats), np.repeat(edge, repeats)
    row = first[image, edge] + step
    slot = image * SIDE + row
    order = np.argsort(slot, kind="stable")
    image, edge, row, slot = image[order], edge[order], row[order], slot[order]

    # The first pixel whose center is not left of the crossing, in exact integers: a ceiling of a quotient.
    rise = y_end[image, edge] - y_start[image, edge]
    down = row * _SUBPIXELS + half - y_start[image, edge]
    run = x_end - x_start
    column = -(((half - x_start[:, edge]) * rise - run[:, edge] * down) // (rise * _SUBPIXELS))

    words = np.zeros((len(x_levels), len(y_levels) * SIDE), np.uint64)
    begins = np.flatnonzero(np.diff(slot, prepend=-1))
    words[:, slot[begins]] = np.bitwise_xor.reduceat(_FROM_COLUMN[column], begins, axis=1)
    return words.reshape(len(x_levels), len(y_levels), SIDE)


def _transformed(
    corners: NDArray[np.float64], scale: int, orientation: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scales and turns corners; the last orientation is the first one, to the last bit."""
    angle = -2 * np.pi * (orientation % _TURN) / _TURN
    size = 0.5 + 0.1 * scale
    cosine, sine = size * np.cos(angle), size * np.sin(angle)
    return cosine * corners[:, 0] - sine * corners[:, 1], sine * corners[:, 0] + cosine * corners[:, 1]


def _rounded(offsets: NDArray[np.float64], levels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Moves coordinates to each position, (levels, corners), in whole steps of 1/256 pixel."""
    centers = 16 + 32 * np.asarray(levels) / (FACTOR_SIZES[3] - 1)
    return np.rint(_SUBPIXELS * (offsets[None, :] + centers[:, None])).astype(np.int64)


def _bytes_of(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Turns rows of images, uint64 (n, 64), into what `numpy.packbits` makes of their pixels, uint8 (n, 512)."""
    return np.ascontiguousarray(words).astype(">u8").view(np.uint8).reshape(len(words), PACKED_BYTES)


def _checked(classes: NDArray[Any]) -> NDArray[np.int64]:
    """Returns the five columns of levels, or says what is wrong with them."""
    given = np.asarray(classes)
    if given.ndim != 2 or given.shape[1] not in (5, 6):
        raise ValueError(f"classes have shape {given.shape}; give (N, 5), or (N, 6) with the color before the rest")
    if not np.issubdtype(given.dtype, np.integer):
        raise ValueError(f"classes have type {given.dtype}; give the integer levels of the factors, not their values")
    names: tuple[str, ...] = FACTOR_NAMES
    sizes: tuple[int, ...] = FACTOR_SIZES
    if given.shape[1] == 6:
        names, sizes = ("color", *FACTOR_NAMES), (1, *FACTOR_SIZES)
    for column, (name, size) in enumerate(zip(names, sizes, strict=True)):
        wrong = np.flatnonzero((given[:, column] < 0) | (given[:, column] >= size))
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(
                f"classes have {name} level {given[row, column]} in row {row}; dSprites has levels 0 to {size - 1}"
            )
    return given[:, -5:].astype(np.int64)
