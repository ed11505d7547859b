"""Winograd's minimal filtering for convolutions with kernel 4 at stride 2: their results, with 0.39 of the products.

With blocks of 2 x 2 pixels taken as channels such a convolution has kernel 2 and stride 1: along an axis, output i
comes from blocks i and i + 1. Blocks of pixels, kernels and features are each transformed along both axes, to what
they are worth at the points of an algorithm; at each point one matrix product over channels is left.

    features = A^T [(G kernel) (B pixels)]                   the convolution
    pixels' gradient = B^T [(G kernel) (A upstream)]         and the transposed convolution
    kernel's gradient = G^T [(B pixels) (A upstream)]

In float32 results differ from those of the plain convolution by some 1e-5 of their largest value.

Sources: Winograd, Arithmetic Complexity of Computations (1980); Lavin and Gray, Fast Algorithms for Convolutional
Neural Networks (CVPR 2016), there for kernels 3 x 3 at stride 1. Here F(4, 2) and F(3, 2) by Toom and Cook.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

_POINTS = (0.0, 1.0, -1.0, 0.5)
"""Finite points, from the first on; infinity is always there. Small ones keep rounding errors small."""
_LONG_TILE = 4
_TAPS = 2

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Algorithm:
    """F(outputs, 2) along one axis, for one tile.

    Args:
        kernel: G `[points, 2]`.
        features: A `[points, outputs]`.
        pixels: B `[points, outputs + 1]`.
    """

    kernel: Matrix
    features: Matrix
    pixels: Matrix


def algorithm(outputs: int) -> Algorithm:
    """Toom and Cook's algorithm for `outputs` (1 to 4) outputs of a filter of two taps, in `outputs + 1` products."""
    points = _POINTS[:outputs]

    def powers(count: int) -> Matrix:
        last = [0.0] * (count - 1) + [1.0]
        return np.array([[point**power for power in range(count)] for point in points] + [last])

    pixels = np.linalg.inv(powers(outputs + 1)).T
    scale = np.abs(pixels).max(axis=1, keepdims=True)
    return Algorithm(powers(_TAPS) * scale, powers(outputs), pixels / scale)


def _joined(lengths: tuple[int, ...]) -> Algorithm:
    """Algorithms of neighboring tiles as one of a larger tile."""
    outputs = sum(lengths)
    kernels, features, pixels = [], [], []
    start = 0
    for length in lengths:
        part = algorithm(length)
        kernels.append(part.kernel)
        features.append(np.pad(part.features, [(0, 0), (start, outputs - start - length)]))
        pixels.append(np.pad(part.pixels, [(0, 0), (start, outputs - start - length)]))
        start += length
    return Algorithm(np.concatenate(kernels), np.concatenate(features), np.concatenate(pixels))


@dataclass(frozen=True)
class Axis:
    """How the outputs along an axis are cut into equal tiles.

    Args:
        lengths: the algorithms that make up a tile.
        tiles: how many tiles follow each other; neighbors share one block of pixels.
    """

    lengths: tuple[int, ...]
    tiles: int

    @property
    def length(self) -> int:
        """Outputs of a tile."""
        return sum(self.lengths)

    @property
    def outputs(self) -> int:
        """Outputs along the axis; there are twice as many pixels."""
        return self.length * self.tiles


def axis(outputs: int) -> Axis | None:
    """The tiles for so many outputs; None where tiles of three and four do not fill them or are too many in one."""
    if outputs % _LONG_TILE == 0:
        return Axis((_LONG_TILE,), outputs // _LONG_TILE)
    threes = -outputs % _LONG_TILE
    fours = (outputs - 3 * threes) // _LONG_TILE
    return Axis((_LONG_TILE,) * fours + (3,) * threes, 1) if fours >= 0 and outputs <= 2 * _LONG_TILE else None


class Filtering:
    """Transforms between maps and their values at the points, for maps of one size.

    Args:
        height, width: tiles of the features' axes; the images have twice as many rows and columns.
    """

    def __init__(self, height: Axis, width: Axis) -> None:
        self.height, self.width = height, width
        self._rows, self._columns = _joined(height.lengths), _joined(width.lengths)
        self._kernel: Matrix = np.asarray(np.kron(self._rows.kernel, self._columns.kernel), np.float64)
        self._places = len(self._kernel)
        self._tiles = height.tiles * width.tiles

    def of_pixels(self, images: tf.Tensor) -> tf.Tensor:
        """Images `[batch, 2 * height, 2 * width, channels]` to `[points, batch * tiles, 4 * channels]`."""
        channels = images.shape[-1]
        pairs = tf.reshape(tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]]), [-1, 2 * channels])
        rows, columns = self.height.outputs + 1, self.width.outputs + 1
        block_rows = _starts(self.height, 1)
        block_columns = _starts(self.width, 1)
        numbers = (block_rows[:, None, :, None, None] * 2 + np.arange(2)) * columns
        numbers = numbers + block_columns[None, :, None, :, None]
        taken = tf.gather(pairs, _in_batch(numbers, 2 * rows * columns, tf.shape(images)[0]))
        return tf.reshape(_along_both(taken, self._rows.pixels, self._columns.pixels), [self._places, -1, 4 * channels])

    def of_features(self, features: tf.Tensor) -> tf.Tensor:
        """Features `[batch, height, width, channels]` to `[points, batch * tiles, channels]`."""
        channels = features.shape[-1]
        rows, columns = _starts(self.height, 0), _starts(self.width, 0)
        numbers = rows[:, None, :, None] * self.width.outputs + columns[None, :, None, :]
        taken = tf.gather(
            tf.reshape(features, [-1, channels]),
            _in_batch(numbers, self.height.outputs * self.width.outputs, tf.shape(features)[0]),
        )
        return tf.reshape(_along_both(taken, self._rows.features, self._columns.features), [self._places, -1, channels])

    def of_kernel(self, kernel: tf.Tensor) -> tf.Tensor:
        """A kernel `[4, 4, pixels' channels, features' channels]` to `[points, 4 * pixels', features']`."""
        channels, features = kernel.shape[2:]
        taps = tf.transpose(tf.reshape(kernel, [2, 2, 2, 2, channels, features]), [0, 2, 1, 3, 4, 5])
        values = tf.matmul(_constant(self._kernel, kernel), tf.reshape(taps, [_TAPS * _TAPS, -1]))
        return tf.reshape(values, [self._places, 4 * channels, features])

    def to_kernel(self, values: tf.Tensor) -> tf.Tensor:
        """The transpose of `of_kernel`."""
        channels, features = values.shape[1] // 4, values.shape[2]
        taps = tf.matmul(_constant(self._kernel, values), tf.reshape(values, [self._places, -1]), transpose_a=True)
        taps = tf.transpose(tf.reshape(taps, [2, 2, 2, 2, channels, features]), [0, 2, 1, 3, 4, 5])
        return tf.reshape(taps, [4, 4, channels, features])

    def to_features(self, values: tf.Tensor) -> tf.Tensor:
        """The transpose of `of_features`."""
        height, width, channels = self.height, self.width, values.shape[-1]
        tiles = _along_both(values, self._rows.features.T, self._columns.features.T)
        tiles = tf.reshape(tiles, [height.length, width.length, -1, height.tiles, width.tiles, channels])
        return tf.reshape(tf.transpose(tiles, [2, 3, 0, 4, 1, 5]), [-1, height.outputs, width.outputs, channels])

    def to_pixels(self, values: tf.Tensor) -> tf.Tensor:
        """The transpose of `of_pixels`: tiles add to the pixels that they share."""
        channels = values.shape[-1] // 4
        pixels = tf.reshape(_along_both(values, self._rows.pixels.T, self._columns.pixels.T), [-1, channels])
        batch = tf.shape(values)[1] // self._tiles
        height, width = 2 * self.height.outputs, 2 * self.width.outputs
        first, *others = _shares(self.height, self.width)

        def numbers(share: _Share) -> tf.Tensor:
            images = tf.range(batch)[:, None]
            places = share.place * (batch * self._tiles * 4) + share.within
            return tf.reshape(images * (self._tiles * 4) + places, [-1])

        images = tf.gather(pixels, numbers(first))
        for share in others:
            targets = tf.reshape(tf.range(batch)[:, None] * (height * width) + share.pixel, [-1, 1])
            images = tf.tensor_scatter_nd_add(images, targets, tf.gather(pixels, numbers(share)))
        return tf.reshape(images, [-1, height, width, channels])


@lru_cache(maxsize=64)
def filtering_of(height: int, width: int) -> Filtering | None:
    """The filtering for features of so many rows and columns; None where tiles do not fill them."""
    rows, columns = axis(height), axis(width)
    return None if rows is None or columns is None else Filtering(rows, columns)


def halved(images: tf.Tensor, kernel: tf.Tensor, filtering: Filtering) -> tf.Tensor:
    """The 'same' convolution at stride 2.

    Args:
        images: `[batch, 2 * height, 2 * width, in]`.
        kernel: `[4, 4, in, out]`.
        filtering: for features of this height and width.

    Returns:
        `[batch, height, width, out]`.
    """

    @tf.custom_gradient
    def convolve(images: tf.Tensor, kernel: tf.Tensor) -> Any:
        pixels, taps = filtering.of_pixels(images), filtering.of_kernel(kernel)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            features = filtering.of_features(upstream)
            back = filtering.to_pixels(tf.matmul(features, taps, transpose_b=True))
            return back, filtering.to_kernel(tf.matmul(pixels, features, transpose_a=True))

        return filtering.to_features(tf.matmul(pixels, taps)), gradient

    return convolve(images, kernel)


def doubled(features: tf.Tensor, kernel: tf.Tensor, filtering: Filtering) -> tf.Tensor:
    """The 'same' transposed convolution at stride 2: the transpose of `halved`.

    Args:
        features: `[batch, height, width, in]`.
        kernel: `[4, 4, out, in]`.
        filtering: for features of this height and width.

    Returns:
        `[batch, 2 * height, 2 * width, out]`.
    """

    @tf.custom_gradient
    def convolve(features: tf.Tensor, kernel: tf.Tensor) -> Any:
        values, taps = filtering.of_features(features), filtering.of_kernel(kernel)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            pixels = filtering.of_pixels(upstream)
            back = filtering.to_features(tf.matmul(pixels, taps))
            return back, filtering.to_kernel(tf.matmul(pixels, values, transpose_a=True))

        return filtering.to_pixels(tf.matmul(values, taps, transpose_b=True)), gradient

    return convolve(features, kernel)


@dataclass(frozen=True, eq=False)
class _Share:
    """Where pixels of an image find a value among the tiles.

    Args:
        pixel: numbers of the pixels, ascending.
        place: the block's place within its tile.
        within: the tile and the pixel within the block.
    """

    pixel: npt.NDArray[np.int32]
    place: npt.NDArray[np.int32]
    within: npt.NDArray[np.int32]


@lru_cache(maxsize=64)
def _shares(height: Axis, width: Axis) -> list[_Share]:
    """Every pixel's first value, then those of tiles that overlap it from above, from the left and from both."""
    rows, columns = height.length + 1, width.length + 1
    block_row, block_column, tile_row, tile_column, row, column = np.indices(
        (rows, columns, height.tiles, width.tiles, 2, 2), dtype=np.int32
    )
    y = 2 * (tile_row * height.length + block_row) + row - 1
    x = 2 * (tile_column * width.length + block_column) + column - 1
    inside = (y >= 0) & (y < 2 * height.outputs) & (x >= 0) & (x < 2 * width.outputs)
    above = (block_row == height.length) & (tile_row < height.tiles - 1)
    left = (block_column == width.length) & (tile_column < width.tiles - 1)
    shares = []
    for kind in (~above & ~left, above & ~left, ~above & left, above & left):
        chosen = inside & kind
        pixel = (y * 2 * width.outputs + x)[chosen]
        order = np.argsort(pixel)
        place = (block_row * columns + block_column)[chosen]
        within = ((tile_row * width.tiles + tile_column) * 4 + 2 * row + column)[chosen]
        if pixel.size:
            shares.append(_Share(pixel[order], place[order], within[order]))
    return shares


def _starts(axis: Axis, more: int) -> npt.NDArray[np.int32]:
    """`[places, tiles]`: which output, or block of pixels (one `more` to a tile), is at a place of a tile."""
    places, tiles = np.arange(axis.length + more), np.arange(axis.tiles)
    return (places[:, None] + axis.length * tiles).astype(np.int32)


def _in_batch(numbers: npt.NDArray[np.int32], rows: int, batch: tf.Tensor) -> tf.Tensor:
    """Numbers `[places, places, ...]` within an image of so many rows to `[places, batch, ...]`, all in one list."""
    first = numbers.reshape(numbers.shape[0] * numbers.shape[1], 1, -1)
    return tf.reshape(first + (tf.range(batch) * rows)[:, None], [-1])


def _along_both(values: tf.Tensor, rows: Matrix, columns: Matrix) -> tf.Tensor:
    """Values of `rows[1] * columns[1]` places, in that order, times a matrix along each of the two axes."""
    values = tf.reshape(values, [rows.shape[1], columns.shape[1], -1])
    values = tf.matmul(_constant(columns, values), values)
    return tf.matmul(_constant(rows, values), tf.reshape(values, [rows.shape[1], -1]))


def _constant(matrix: Matrix, like: tf.Tensor) -> tf.Tensor:
    return tf.constant(matrix, like.dtype)
