"""The fast back-end: a rasterizer of our own, compiled by numba, that follows OpenGL's rules sample by sample.

Vertices are snapped to a 256th of a sample as the reference's OpenGL does it, coverage is decided in integers, the
nearest triangle of each sample is kept, and only what is seen is shaded: colors are cut to [0, 1] at the vertices,
interpolated with perspective, rounded to 8 bits per sample and averaged over the pixel. There is no fused or reordered
arithmetic, so that every machine draws the same bytes.

A sample is one 64-bit number: above, the bits of the nearness (one over the distance from the camera, a positive float,
whose bits have the order of its values), below, the color. The nearest triangle's is then the maximum.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from teapot_renderer.fast_strip import LANES, draw_rows, least_of_square
from teapot_renderer.mesh import Mesh
from teapot_renderer.scene import BACKGROUND, CAMERA_DISTANCE, FOCAL_LENGTH, Scenes

BLOCK = 32
"""Scenes whose vertices are lit in one call; more would not fit the processor's caches."""

_SUBPIXELS = 8
"""Bits of a vertex's position below the sample grid, as in Mesa's rasterizer."""
_HUGE = 1 << 18
"""Width or height of a triangle, in 256ths of a sample, from which on its edge functions may need more than 32 bits."""
_TILE_BITS = 2
_TILE = 1 << _TILE_BITS
"""Side of the squares of samples for which the farthest one is known."""
_EMPTY = 0xFFFFFF
"""A sample of background: white, and farther than anything."""

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy")


def draw(mesh: Mesh, scenes: Scenes, size: int, samples_per_side: int) -> NDArray[np.uint8]:
    """Draws scenes on one core; see `teapot_renderer.render`, which checks the arguments.

    Args:
        mesh: within the camera's distance.
        scenes: n scenes.
        size: height and width of the images in pixels.
        samples_per_side: k, for k * k samples in a pixel.

    Returns:
        uint8 of shape (n, size, size, 3).
    """
    images = np.empty((len(scenes), size, size, 3), np.uint8)
    for start in range(0, len(scenes), BLOCK):
        block = scenes[start : start + BLOCK]
        # Object space to camera space: right, up, forward.
        axes = block.axes()
        turn = np.zeros_like(axes)
        for row in range(3):
            turn += block.rotations[:, :, row, None] * axes.transpose(0, 2, 1)[:, row, None, :]
        shades = block.shades(mesh).astype(np.float32)
        _draw_block(
            mesh.vertices,
            mesh.faces,
            turn,
            shades,
            block.albedos.astype(np.float32),
            CAMERA_DISTANCE,
            FOCAL_LENGTH * size * samples_per_side,
            samples_per_side,
            images[start : start + BLOCK],
        )
    return images


@_compiled
def _draw_block(vertices, faces, turn, shades, albedos, distance, focal, k, images):  # type: ignore[no-untyped-def]
    side = images.shape[1] * k
    stride = side + LANES
    across = np.empty(len(vertices), np.int32)
    down = np.empty(len(vertices), np.int32)
    values = np.empty((len(vertices), 4), np.float32)
    # A tile at the end may reach over it.
    samples = np.full((side + _TILE) * stride, _EMPTY, np.int64)
    far = np.empty(((side + _TILE - 1) // _TILE, (side + _TILE - 1) // _TILE), np.int32)
    order = np.empty(len(faces) + 2, np.int32)
    for scene in range(len(turn)):
        _project(vertices, turn[scene], distance, focal, side, across, down, values)
        _color(shades[scene], albedos[scene], values)
        box = _bounds(across, down, side, k)
        _cover(faces, across, down, values, box, stride, samples, far, order)
        images[scene] = BACKGROUND
        _average(samples, box, stride, k, images[scene])


@_compiled
def _project(vertices, turn, distance, focal, side, across, down, values):  # type: ignore[no-untyped-def]
    """Where the vertices stand on the grid of samples, in its 256ths, a sample's center being a whole number."""
    one = float(1 << _SUBPIXELS)
    center = side / 2 - 0.5
    for number in range(len(vertices)):
        x, y, z = vertices[number, 0], vertices[number, 1], vertices[number, 2]
        right = x * turn[0, 0] + y * turn[1, 0] + z * turn[2, 0]
        up = x * turn[0, 1] + y * turn[1, 1] + z * turn[2, 1]
        forward = x * turn[0, 2] + y * turn[1, 2] + z * turn[2, 2]
        inverse = 1.0 / (forward + distance)
        across[number] = np.int32(np.floor((center + focal * right * inverse) * one + 0.5))
        down[number] = np.int32(np.floor((center - focal * up * inverse) * one + 0.5))
        values[number, 0] = np.float32(inverse)


@_compiled
def _color(shades, albedo, values):  # type: ignore[no-untyped-def]
    """Color times nearness at the vertices: these two, unlike color alone, are linear on the screen."""
    one = np.float32(1.0)
    full = np.float32(255.0)
    for number in range(len(shades)):
        near = full * values[number, 0]
        for channel in range(3):
            values[number, channel + 1] = min(shades[number] * albedo[channel], one) * near


@_compiled
def _bounds(across, down, side, k):  # type: ignore[no-untyped-def]
    """First and past-the-last row and column of samples that the object may cover, in whole pixels."""
    top = max(np.int64(0), (np.int64(down.min()) >> _SUBPIXELS) // k * k)
    left = max(np.int64(0), (np.int64(across.min()) >> _SUBPIXELS) // k * k)
    bottom = max(top, min(np.int64(side), ((np.int64(down.max()) >> _SUBPIXELS) // k + 1) * k))
    right = max(left, min(np.int64(side), ((np.int64(across.max()) >> _SUBPIXELS) // k + 1) * k))
    return top, bottom, left, right


@_compiled
def _cover(faces, across, down, values, box, stride, samples, far, order):  # type: ignore[no-untyped-def]
    """Draws what faces the camera, then of the rest what is not hidden behind it."""
    # Written without branches, which the processor could not foresee.
    facing, away = 0, len(faces)
    for face in range(len(faces)):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        ax, ay = np.int64(across[a]), np.int64(down[a])
        area = (across[b] - ax) * (down[c] - ay) - (down[b] - ay) * (across[c] - ax)
        order[facing] = face
        facing += area < 0
        order[away] = face
        away -= area > 0
    for number in range(facing):
        face = order[number]
        _fill(faces[face, 0], faces[face, 2], faces[face, 1], across, down, values, box, stride, samples)
    _farthest(samples, box, stride, far)
    for number in range(len(faces), away, -1):
        face = order[number]
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        if not _is_hidden(a, b, c, across, down, values, box, far):
            _fill(a, b, c, across, down, values, box, stride, samples)


@_compiled
def _farthest(samples, box, stride, far):  # type: ignore[no-untyped-def]
    """The smallest nearness of all samples in each tile of the box, as its bits."""
    top, bottom, left, right = box
    for row in range(top >> _TILE_BITS, (bottom + _TILE - 1) >> _TILE_BITS):
        for column in range(left >> _TILE_BITS, (right + _TILE - 1) >> _TILE_BITS):
            place = samples.ctypes.data + 8 * ((row * stride + column) << _TILE_BITS)
            least = np.int64(least_of_square(place, 8 * stride))  # type: ignore[call-arg]
            far[row, column] = least >> 32


@_compiled
def _is_hidden(a, b, c, across, down, values, box, far):  # type: ignore[no-untyped-def]
    """Whether all that is drawn where a triangle may be seen is nearer than its nearest corner."""
    top, bottom, left, right = box
    bits = _SUBPIXELS + _TILE_BITS
    x0 = max(left >> _TILE_BITS, min(across[a], across[b], across[c]) >> bits)
    x1 = min((right - 1) >> _TILE_BITS, max(across[a], across[b], across[c]) >> bits)
    y0 = max(top >> _TILE_BITS, min(down[a], down[b], down[c]) >> bits)
    y1 = min((bottom - 1) >> _TILE_BITS, max(down[a], down[b], down[c]) >> bits)
    nearest = np.float32(max(values[a, 0], values[b, 0], values[c, 0])).view(np.int32)
    for row in range(y0, y1 + 1):
        for column in range(x0, x1 + 1):
            if nearest >= far[row, column]:
                return False
    return True


@numba.njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _fill(corner_a, corner_b, corner_c, across, down, values, box, stride, samples):  # type: ignore[no-untyped-def]
    """Draws one triangle with corners in the order that makes its area on the screen positive."""
    a, b, c = np.int64(corner_a), np.int64(corner_b), np.int64(corner_c)
    top, bottom, left, right = box
    ax, ay, bx = np.int64(across[a]), np.int64(down[a]), np.int64(across[b])
    by, cx, cy = np.int64(down[b]), np.int64(across[c]), np.int64(down[c])
    low_x, high_x, low_y, high_y = min(ax, bx, cx), max(ax, bx, cx), min(ay, by, cy), max(ay, by, cy)
    step = 1 << _SUBPIXELS
    x0 = max(left, (low_x + step - 1) >> _SUBPIXELS)
    x1 = min(right - 1, high_x >> _SUBPIXELS)
    y0 = max(top, (low_y + step - 1) >> _SUBPIXELS)
    y1 = min(bottom - 1, high_y >> _SUBPIXELS)
    # Three edge functions, each zero on an edge and positive inside: at the first sample, and how they change to the
    # next ones, in 256ths of that.
    px, py = x0 << _SUBPIXELS, y0 << _SUBPIXELS
    steps_right = by - cy, cy - ay, ay - by
    steps_down = cx - bx, ax - cx, bx - ax
    edges = (
        (px - bx) * steps_right[0] + (py - by) * steps_down[0],
        (px - cx) * steps_right[1] + (py - cy) * steps_down[1],
        (px - ax) * steps_right[2] + (py - ay) * steps_down[2],
    )
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    place = samples.ctypes.data + 8 * (y0 * stride + x0)
    rows, strips = y1 - y0 + 1, (x1 - x0 + LANES) // LANES
    if max(high_x - low_x, high_y - low_y) < _HUGE:
        _draw(place, 8 * stride, rows, strips, values, (a, b, c), edges, steps_right, steps_down, area)
    else:
        _draw_huge(place, 8 * stride, rows, strips, values, (a, b, c), edges, steps_right, steps_down, area)


@_compiled
def _draw(place, stride, rows, strips, values, corners, edges, right, down, area):  # type: ignore[no-untyped-def]
    # The shares of the corners in what is linear on the screen: nearness, and color times nearness.
    inverse = np.float32(1.0) / np.float32(area)
    per_sample = inverse * np.float32(1 << _SUBPIXELS)
    draw_rows(  # type: ignore[call-arg]
        place,
        stride,
        rows,
        strips,
        values.ctypes.data,
        corners,
        (np.float32(edges[0]) * inverse, np.float32(edges[1]) * inverse, np.float32(edges[2]) * inverse),
        (np.float32(right[0]) * per_sample, np.float32(right[1]) * per_sample, np.float32(right[2]) * per_sample),
        (np.float32(down[0]) * per_sample, np.float32(down[1]) * per_sample, np.float32(down[2]) * per_sample),
        (_edge(edges[0], right[0], down[0]), _edge(edges[1], right[1], down[1]), _edge(edges[2], right[2], down[2])),
        (np.int32(right[0]), np.int32(right[1]), np.int32(right[2])),
        (np.int32(down[0]), np.int32(down[1]), np.int32(down[2])),
    )


@_compiled
def _edge(value, right, down):  # type: ignore[no-untyped-def]
    """An edge function in 32 bits, cut where only its sign counts.

    Zero is made negative but for the top and the left edge of a triangle, to which the samples on them belong.
    """
    edge = (value - (right < 0 or (right == 0 and down <= 0))) >> _SUBPIXELS
    return np.int32(min(max(edge, -(1 << 30)), 1 << 30))


@_compiled
def _draw_huge(place, stride, rows, strips, values, corners, edges, right, down, area):  # type: ignore[no-untyped-def]
    """Draws strip by strip, because over a huge triangle the edge functions do not change within 32 bits."""
    for row in range(rows):
        for strip in range(strips):
            x, y = (strip * LANES) << _SUBPIXELS, row << _SUBPIXELS
            here = (
                edges[0] + x * right[0] + y * down[0],
                edges[1] + x * right[1] + y * down[1],
                edges[2] + x * right[2] + y * down[2],
            )
            _draw(place + row * stride + strip * LANES * 8, stride, 1, 1, values, corners, here, right, down, area)


@_compiled
def _average(samples, box, stride, k, image):  # type: ignore[no-untyped-def]
    """Averages the samples of each pixel, rounded half up, and empties them for the next image."""
    top, bottom, left, right = box
    total = k * k
    for row in range(top // k, bottom // k):
        for column in range(left // k, right // k):
            red_blue, green = total // 2 * 0x10001, total // 2
            for y in range(row * k, row * k + k):
                for x in range(column * k, column * k + k):
                    place = np.uint64(y * stride + x)
                    value = samples[place]
                    samples[place] = _EMPTY
                    red_blue += value & 0xFF00FF
                    green += (value >> 8) & 0xFF
            image[row, column, 0] = (red_blue >> 16) // total
            image[row, column, 1] = green // total
            image[row, column, 2] = (red_blue & 0xFFFF) // total
