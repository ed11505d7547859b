"""Meshes from Wavefront OBJ files, and to them."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import NoReturn

import numpy as np

from common.errors import UserError
from common.files import write_text
from teapot_renderer.mesh import Mesh
from teapot_renderer.text_files import finite_numbers, quoted, statements

UPS = ("z", "y")
"""Which axis of a file may point up."""
MAX_ELEMENTS = 1_000_000
"""At most so many vertices, and so many triangles: a picture of 64 pixels shows some thousands, one of 1,000 pixels
cannot show more, and every image would take a second."""
MAX_COORDINATE = 1e30
"""Coordinates beyond are taken for damage; their products would leave the range of floating point."""

# What is not drawn: texture coordinates, normals, names, lines and points, materials.
_PASSED_OVER = frozenset(
    ("vt", "vn", "vp", "g", "o", "s", "mg", "l", "p", "usemtl", "mtllib", "usemap", "maplib", "bevel", "lod")
)
_CORNER = re.compile(r"(-?[0-9]{1,12})(?:/-?[0-9]{1,12}|//-?[0-9]{1,12}|/-?[0-9]{1,12}/-?[0-9]{1,12})?")


def read_obj(path: str | os.PathLike[str], up: str = "z") -> Mesh:
    """Reads the vertices and faces of an OBJ file; polygons become fans of triangles, all else is passed over.

    Args:
        path: the file.
        up: which of the file's axes points up, `z` or `y`; with `y`, its z axis points to the camera. Default: `z`.

    Returns:
        the mesh in the file's units, not centered, named as the file.

    Raises:
        ValueError: for another `up`.
        UserError: if the file is damaged, of another kind, or too large.
    """
    if up not in UPS:
        raise ValueError(f"up is {up!r}; allowed: {', '.join(UPS)}")
    reader = _Reader(path)
    for line, words in statements(path):
        reader.take(line, words)
    return reader.mesh(up)


class _Reader:
    """What has been read so far. Faces may come before their vertices, so their numbers are checked at the end."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self.vertices: list[list[float]] = []
        self.faces: list[tuple[int, int, int]] = []
        self.lines: list[int] = []

    def take(self, line: int, words: list[str]) -> None:
        keyword = words[0]
        if keyword == "v":
            self._take_vertex(line, words)
        elif keyword == "f":
            self._take_face(line, words)
        elif keyword not in _PASSED_OVER:
            self._refuse(line, f"unknown statement {quoted(words)}; expected a polygon mesh in the OBJ format")

    def mesh(self, up: str) -> Mesh:
        if not self.faces:
            raise UserError(f"{self.path}: no faces; expected a polygon mesh in the OBJ format")
        faces = np.array(self.faces, np.int64)
        wrong = np.flatnonzero((faces < 0).any(axis=1) | (faces >= len(self.vertices)).any(axis=1))
        if len(wrong):
            numbers = faces[wrong[0]]
            number = int(numbers[(numbers < 0) | (numbers >= len(self.vertices))][0]) + 1
            there = f"there are {len(self.vertices):,}"
            self._refuse(self.lines[wrong[0]], f"a face names vertex {number:,}, but {there}; the file may be cut off")
        vertices = np.array(self.vertices, np.float64)
        if up == "y":
            x, y, z = vertices.T
            vertices = np.stack([x, -z, y], axis=1)
        return Mesh(vertices, faces.astype(np.int32), Path(self.path).name)

    def _take_vertex(self, line: int, words: list[str]) -> None:
        if len(self.vertices) >= MAX_ELEMENTS:
            self._refuse(line, f"more than {MAX_ELEMENTS:,} vertices; give a coarser mesh")
        # A weight, or a color, or both may follow the three coordinates.
        values = finite_numbers(words[1:]) if len(words) in (4, 5, 7, 8) else None
        if values is None:
            self._refuse(line, f"{quoted(words)} is no vertex; expected v and three finite numbers")
        if max(map(abs, values[:3])) > MAX_COORDINATE:
            self._refuse(line, f"{quoted(words)} lies too far out; coordinates of up to {MAX_COORDINATE:g} are read")
        self.vertices.append(values[:3])

    def _take_face(self, line: int, words: list[str]) -> None:
        if len(self.faces) + len(words) - 3 > MAX_ELEMENTS:
            self._refuse(line, f"more than {MAX_ELEMENTS:,} triangles; give a coarser mesh")
        numbers = []
        for word in words[1:]:
            corner = _CORNER.fullmatch(word)
            number = int(corner[1]) if corner else 0
            if not number:
                self._refuse(line, f"{quoted([word])} is no corner; expected v, v/vt, v//vn or v/vt/vn, counted from 1")
            if number < -len(self.vertices):
                self._refuse(line, f"{number} counts back beyond the {len(self.vertices):,} vertices before it")
            numbers.append(number - 1 if number > 0 else len(self.vertices) + number)
        if len(numbers) < 3:
            self._refuse(line, f"{quoted(words)} has {len(numbers)} corners; a face has at least 3")
        for second, third in itertools.pairwise(numbers[1:]):
            self.faces.append((numbers[0], second, third))
            self.lines.append(line)

    def _refuse(self, line: int, why: str) -> NoReturn:
        raise UserError(f"{self.path}, line {line}: {why}")


def write_obj(mesh: Mesh, path: str | os.PathLike[str]) -> None:
    """Writes a mesh as an OBJ file, z up, in scene units; `read_obj` gives the same numbers again, bit for bit.

    Args:
        mesh: what to write.
        path: where; the file is whole or not there.
    """
    name = " ".join(mesh.name.split())
    lines = [f"# {name}: {len(mesh.vertices)} vertices, {len(mesh.faces)} triangles, z up"]
    lines += [f"v {x!r} {y!r} {z!r}" for x, y, z in mesh.vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (mesh.faces + 1).tolist()]
    write_text(path, "\n".join(lines) + "\n")
