"""Newell's teapot: bicubic Bezier patches cut into triangles, with the same bytes on every machine."""

from __future__ import annotations

import math
import operator
import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from teapot_renderer.mesh import Mesh, centered_and_scaled, quarter_turned
from teapot_renderer.text_files import finite_numbers, quoted, statements

NEWELL = Path(__file__).with_name("newell.bpt")
"""The control points of the Utah teapot; the file says where they are from."""
FINENESS = 10
"""What is used unless somebody asks for more."""
MAX_FINENESS = 100
"""At most so many quadrilaterals along a side of a patch: more would not fit the exact arithmetic, nor any picture."""
_MAX_PATCHES = 10_000
_MAX_TRIANGLES = 2_000_000
"""No picture shows more, and cutting them takes a kilobyte for each."""
_GRID = 4_000_000
"""Control points become whole numbers up to this: times `MAX_FINENESS` to the sixth power it stays within 64 bits."""
_FORMAT = "expected the number of patches, then for each the line '3 3' and 16 lines of x y z"


def teapot(fineness: int = FINENESS) -> Mesh:
    """The Utah teapot, upright, in the middle of the frame.

    It is a stand-in for the mesh of the published teapots, a statistical model of many teapots that is not public. It
    is placed as that one was: the data's own axes turned by -90 degrees about the vertical. The published model's own
    axes are not known beyond that its spout lies along one of them, as Newell's spout lies along +x; so at azimuth 0
    the spout points to the camera and the handle away from it. The published azimuths are uniform over the whole
    circle, so another choice would only move where the circle begins.

    Args:
        fineness: n, for n x n quadrilaterals a patch, 1 to 100. At 64 pixels, nothing finer than 10 can be told apart.
            Default: 10.

    Returns:
        the mesh, of 64 n^2 - 8 n triangles and 32 n^2 + 4 n + 1 vertices, in scene units.

    Raises:
        ValueError: for another fineness.

    Source: Newell, "The utilization of procedure models in digital image synthesis" (1975).
    """
    return placed(read_patches(NEWELL), fineness, f"Utah teapot, fineness {fineness}")


def placed(patches: NDArray[np.float64], fineness: int, name: str) -> Mesh:
    """Patches as a mesh in scene units: cut into triangles, turned by -90 degrees, centered and scaled.

    Args:
        patches: control points, (patches, 4, 4, 3), z up.
        fineness: see `teapot`.
        name: of the mesh.

    Raises:
        ValueError: see `tessellated` and `centered_and_scaled`.
    """
    vertices, faces = tessellated(patches, fineness)
    return centered_and_scaled(quarter_turned(Mesh(vertices, faces, name)))


def tessellated(patches: NDArray[np.float64], fineness: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Cuts bicubic Bezier patches into triangles over shared vertices.

    The control points are rounded to a decimal grid (a millionth of a unit for the teapot, whose numbers are on it),
    and the surface's points are computed from them in whole numbers: points where patches meet come out equal, and
    become one vertex. Triangles that shrink to a line, as at the tip of the lid, are left out.

    Args:
        patches: control points, (patches, 4, 4, 3); all patches wind in the same direction.
        fineness: n, for n x n quadrilaterals a patch, 1 to 100.

    Returns:
        float64 (vertices, 3) and int32 (triangles, 3), counter-clockwise when seen from outside.

    Raises:
        TypeError: if the fineness is no whole number.
        ValueError: for another fineness, other shapes, more than two million triangles, or a surface that is only a
            point or a line.
    """
    fineness = operator.index(fineness)
    if not 1 <= fineness <= MAX_FINENESS:
        raise ValueError(f"fineness is {fineness}; give a whole number from 1 to {MAX_FINENESS}")
    control, scale = _on_grid(patches)
    triangles = 2 * fineness**2 * len(control)
    if triangles > _MAX_TRIANGLES:
        raise ValueError(
            f"{len(control):,} patches of fineness {fineness} make {triangles:,} triangles; give a fineness that makes "
            f"at most {_MAX_TRIANGLES:,}"
        )
    steps = np.arange(fineness + 1, dtype=np.int64)
    weights = [math.comb(3, k) * steps**k * (fineness - steps) ** (3 - k) for k in range(4)]
    points = np.zeros((len(control), fineness + 1, fineness + 1, 3), np.int64)
    for row in range(4):
        for column in range(4):
            weight = weights[row][:, None] * weights[column]
            points += weight[:, :, None] * control[:, None, None, row, column]
    whole, vertex = _welded(points.reshape(-1, 3))
    faces = _triangles(vertex.reshape(points.shape[:3]))
    if not len(faces):
        raise ValueError("the patches have no area; give control points of a surface")
    vertices = whole / (scale * float(fineness**6))
    return vertices, (faces if _volume(vertices, faces) >= 0.0 else faces[:, ::-1]).astype(np.int32)


def _on_grid(patches: NDArray[np.float64]) -> tuple[NDArray[np.int64], float]:
    """Control points as whole numbers, and by what they were multiplied: the largest fitting power of ten."""
    patches = np.asarray(patches, np.float64)
    if patches.ndim != 4 or patches.shape[1:] != (4, 4, 3) or not len(patches) or not np.isfinite(patches).all():
        raise ValueError(f"patches have shape {patches.shape}; expected finite numbers of shape (patches, 4, 4, 3)")
    largest = float(np.abs(patches).max())
    if not 1e-6 <= largest <= _GRID:
        raise ValueError(f"the largest coordinate is {largest}; expected one from 1e-6 to {_GRID:,}")
    scale = 1.0
    while largest * scale * 10.0 <= _GRID:
        scale *= 10.0
    return np.rint(patches * scale).astype(np.int64), scale


def _welded(points: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct points in the order in which they first come, and the number of each given point among them."""
    _, first, number = np.unique(points, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return points[first[order]], rank[number.reshape(-1)]


def _triangles(vertex: NDArray[np.int64]) -> NDArray[np.int64]:
    """Two triangles for each quadrilateral of (patches, n + 1, n + 1) vertices, but none with two equal corners."""
    a, b, c, d = vertex[:, :-1, :-1], vertex[:, 1:, :-1], vertex[:, 1:, 1:], vertex[:, :-1, 1:]
    faces = np.stack([np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)], axis=-2).reshape(-1, 3)
    one, two, three = faces.T
    return faces[(one != two) & (two != three) & (three != one)]


def _volume(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> float:
    """Six times the volume inside, negative if the faces wind clockwise when seen from outside; rims may be open."""
    corners = (vertices - (vertices.min(axis=0) + vertices.max(axis=0)) / 2.0)[faces]
    across = np.cross(corners[:, 0], corners[:, 1])
    return float((across * corners[:, 2]).sum())


def read_patches(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Reads a file of bicubic Bezier patches (`.bpt`): text with a count, degrees and control points.

    Args:
        path: the file; lines that begin with `#` are remarks.

    Returns:
        control points, (patches, 4, 4, 3).

    Raises:
        UserError: if the file is not whole, or of another kind.
    """
    lines = list(statements(path))
    if not lines:
        raise UserError(f"{path}: no patches; {_FORMAT}")
    number, words = lines[0]
    if len(words) != 1 or not re.fullmatch("[0-9]{1,9}", words[0]) or not 1 <= int(words[0]) <= _MAX_PATCHES:
        raise UserError(f"{path}, line {number}: {quoted(words)} is no number of patches; {_FORMAT}")
    count = int(words[0])
    if len(lines) != 1 + 17 * count:
        raise UserError(f"{path}: {len(lines) - 1} lines for {count} patches, not {17 * count}; {_FORMAT}")
    points = []
    for place, (number, words) in enumerate(lines[1:]):
        if place % 17:
            points.append(_point(path, number, words))
        elif words != ["3", "3"]:
            raise UserError(f"{path}, line {number}: {quoted(words)} are not the degrees 3 3; {_FORMAT}")
    return np.array(points, np.float64).reshape(count, 4, 4, 3)


def _point(path: str | os.PathLike[str], number: int, words: list[str]) -> list[float]:
    point = finite_numbers(words)
    if point is None or len(point) != 3:
        raise UserError(f"{path}, line {number}: {quoted(words)} is no point; {_FORMAT}")
    return point
