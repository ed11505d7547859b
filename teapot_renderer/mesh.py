"""Triangle meshes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles over shared vertices, in scene units about the origin, z up.

    Args:
        vertices: float64 of shape (vertices, 3).
        faces: int32 of shape (triangles, 3), numbers of vertices, counter-clockwise when seen from outside.
        name: what it is, for reports, for example `Utah teapot`.

    Raises:
        ValueError: for other shapes, values that are not finite, or a number of a vertex that is not there.
    """

    vertices: Floats
    faces: NDArray[np.int32]
    name: str

    def __post_init__(self) -> None:
        vertices = np.ascontiguousarray(self.vertices, np.float64)
        faces = np.asarray(self.faces)
        if vertices.ndim != 2 or vertices.shape[1:] != (3,) or not len(vertices) or not np.isfinite(vertices).all():
            raise ValueError(f"vertices have shape {vertices.shape}; expected finite numbers of shape (vertices, 3)")
        if faces.ndim != 2 or faces.shape[1:] != (3,) or not len(faces) or faces.dtype.kind not in "iu":
            raise ValueError(f"faces are {faces.dtype} of shape {faces.shape}; expected integers (triangles, 3)")
        if faces.min() < 0 or faces.max() >= len(vertices):
            raise ValueError(f"faces name vertices {faces.min()} to {faces.max()}; there are 0 to {len(vertices) - 1}")
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "faces", np.ascontiguousarray(faces, np.int32))

    @functools.cached_property
    def normals(self) -> Floats:
        """Unit vectors at the vertices, (vertices, 3): the mean of the faces around, weighted by their areas.

        A vertex of no face, or of faces without area, has the normal 0.
        """
        corners = self.vertices[self.faces]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        total = np.zeros_like(self.vertices)
        for corner in range(3):
            np.add.at(total, self.faces[:, corner], across)
        lengths = np.sqrt(total[:, 0] ** 2 + total[:, 1] ** 2 + total[:, 2] ** 2)
        return total / np.where(lengths > 0.0, lengths, 1.0)[:, None]

    @property
    def radius(self) -> float:
        """The largest distance of a vertex from the origin, in scene units."""
        return float(np.sqrt((self.vertices**2).sum(axis=1).max()))

    def fingerprint(self) -> str:
        """A SHA-256 of vertices and faces, in hexadecimal."""
        digest = hashlib.sha256(repr((self.vertices.shape, self.faces.shape)).encode())
        digest.update(self.vertices.tobytes())
        digest.update(self.faces.tobytes())
        return digest.hexdigest()


FRAME_RADIUS = 0.13
"""Radius about the origin, in scene units, to which a mesh without a published size is scaled.

A sphere of 0.1457 about the origin touches the edges of the image, and one of 0.14 still leaves a pixel at an image of
64; 0.13 leaves nearly four, so that the object moves and turns in full view, and the background is seen all around.
"""


def centered_and_scaled(mesh: Mesh) -> Mesh:
    """Moves a mesh's bounding box to the origin and scales the mesh to `FRAME_RADIUS`; it is not turned.

    The box, and not the mean of the vertices, because the mean moves when a surface is cut into other triangles.
    Vertices of no face are dropped: they would count for the box, and nobody sees them.

    Args:
        mesh: in any units.

    Returns:
        the mesh in scene units; its farthest vertex is `FRAME_RADIUS` from the origin.

    Raises:
        ValueError: if all its faces lie in one point.
    """
    used, faces = np.unique(mesh.faces, return_inverse=True)
    corners = mesh.vertices[used]
    low, high = corners.min(axis=0), corners.max(axis=0)
    extent = (high - low).max()
    if not 0.0 < extent < np.inf:
        raise ValueError(f"the mesh spans {extent} in its longest direction; expected a finite number above 0")
    # By the extent first: squares of very large or small coordinates would leave the range of floating point.
    unit = (corners - (low + (high - low) / 2.0)) / extent
    x, y, z = unit.T
    radius = np.sqrt(x * x + y * y + z * z).max()
    return Mesh(unit * (FRAME_RADIUS / radius), faces.reshape(-1, 3).astype(np.int32), mesh.name)


def quarter_turned(mesh: Mesh) -> Mesh:
    """Turns a mesh by -90 degrees about the vertical axis, without rounding: what pointed to +x points to -y.

    The generator of the published teapots does so with its own mesh.

    Source: InfoGAN-CR, 3D_teapot.
    """
    x, y, z = mesh.vertices.T
    return Mesh(np.stack([y, -x, z], axis=1), mesh.faces, mesh.name)
