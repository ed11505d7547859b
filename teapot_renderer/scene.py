"""Scenes: the camera, the object's rotation, the light and the shading that every back-end shares.

World axes: z is up, the camera stands at negative y and looks along +y when its elevation is 0. Vectors are rows and
are multiplied from the right: a vertex `v` of the object stands at `v @ rotation` in the world. All angles are radians.

Sources: the teapot generator of InfoGAN-CR (Lin, Thekumparampil, Fanti, Oh 2020) over the differentiable renderer of
Moreno, Williams, Nash and Kohli (2016).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from teapot_renderer.mesh import Mesh
from teapot_renderer.trigonometry import cosine, sine

Floats = NDArray[np.float64]

CAMERA_DISTANCE = 0.5
"""From the camera to the origin, in scene units."""
FOCAL_LENGTH = 105.0 / 64.0
"""In image sides: 105 pixels for an image of 64; the field of view is 33.9 degrees."""
NEAR, FAR = 0.01, 10.0
"""Nothing nearer to the camera, or farther, is drawn."""
AMBIENT, INTENSITY = 0.5, 0.9
"""Share of the albedo that every vertex shows, and what full light adds; the sum may exceed 1 and is cut there."""
BACKGROUND = 255
"""Plain white."""


@dataclasses.dataclass(frozen=True, eq=False)
class DirectionalLight:
    """Parallel light: a vertex shows `albedo * (intensity * max(0, normal . direction) + ambient)`.

    Args:
        directions: unit vectors towards the light, (n, 3), in the world.
        ambient: share of the albedo that is seen without light. Default: 0.5.
        intensity: what full light adds to it. Default: 0.9.
    """

    directions: Floats
    ambient: float = AMBIENT
    intensity: float = INTENSITY

    def __post_init__(self) -> None:
        object.__setattr__(self, "directions", _array("directions", self.directions, (3,)))
        _check_light(self.ambient, self.intensity)

    def shades(self, vertices: Floats, normals: Floats, rotations: Floats) -> Floats:
        """By what each vertex of each scene multiplies its albedo, not yet cut at 1.

        Args:
            vertices: of the object, (vertices, 3).
            normals: unit vectors, (vertices, 3).
            rotations: (n, 3, 3).

        Returns:
            (n, vertices).
        """
        toward = _product(self.directions[:, None], rotations.transpose(0, 2, 1))[:, 0]
        return self.intensity * np.maximum(_dots(toward, normals), 0.0) + self.ambient


@dataclasses.dataclass(frozen=True, eq=False)
class PointLight:
    """A lamp nearby, without loss over distance: as `DirectionalLight`, the direction being that from vertex to lamp.

    Args:
        positions: of the lamps, (n, 3), in scene units in the world.
        ambient: share of the albedo that is seen without light. Default: 0.5.
        intensity: what full light adds to it. Default: 0.9.
    """

    positions: Floats
    ambient: float = AMBIENT
    intensity: float = INTENSITY

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", _array("positions", self.positions, (3,)))
        _check_light(self.ambient, self.intensity)

    def shades(self, vertices: Floats, normals: Floats, rotations: Floats) -> Floats:
        """See `DirectionalLight.shades`."""
        lamps = _product(self.positions[:, None], rotations.transpose(0, 2, 1))
        toward = lamps - vertices[None]
        squares = toward * toward
        distances = np.sqrt(squares[..., 0] + squares[..., 1] + squares[..., 2])
        along = toward * normals[None]
        cosines = (along[..., 0] + along[..., 1] + along[..., 2]) / np.maximum(distances, 1e-12)
        return self.intensity * np.maximum(cosines, 0.0) + self.ambient


@dataclasses.dataclass(frozen=True, eq=False)
class SphericalHarmonics:
    """Light from all around, as nine coefficients: a vertex shows `albedo * max(0, coefficients . Y(normal))`.

    Args:
        coefficients: (n, 9), of the real harmonics of the world's directions in the order 1; x, z, y; xy, yz,
            3 z^2 - 1, xz, x^2 - y^2, each normalized to 1 over the sphere.
    """

    coefficients: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "coefficients", _array("coefficients", self.coefficients, (9,)))

    def shades(self, vertices: Floats, normals: Floats, rotations: Floats) -> Floats:
        """See `DirectionalLight.shades`."""
        turned = _product(np.broadcast_to(normals, (len(rotations), *normals.shape)), rotations)
        x, y, z = turned[..., 0], turned[..., 1], turned[..., 2]
        unit = 1.0 / np.sqrt(4.0 * np.pi)
        first, second = np.sqrt(3.0) * unit, np.sqrt(15.0) * unit
        basis = (
            np.full_like(x, unit),
            first * x,
            first * z,
            first * y,
            second * (x * y),
            second * (y * z),
            np.sqrt(5.0) / 2.0 * unit * (3.0 * z * z - 1.0),
            second * (x * z),
            second / 2.0 * (x * x - y * y),
        )
        total = np.zeros_like(x)
        for column, harmonic in enumerate(basis):
            total += self.coefficients[:, column, None] * harmonic
        return np.maximum(total, 0.0)


Light = DirectionalLight | PointLight | SphericalHarmonics


@dataclasses.dataclass(frozen=True, eq=False)
class Scenes:
    """A batch of n scenes with one object each, at the origin.

    Args:
        rotations: of the object, (n, 3, 3), row vectors from the right; see `object_rotation`.
        albedos: red, green and blue of the object, (n, 3), 0 to 1.
        elevations: of the camera above the horizon, (n,), radians.
        light: of n scenes.

    Raises:
        ValueError: if the numbers of scenes differ, or a value is not finite or out of its range.
    """

    rotations: Floats
    albedos: Floats
    elevations: Floats
    light: Light

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotations", _array("rotations", self.rotations, (3, 3)))
        object.__setattr__(self, "albedos", _array("albedos", self.albedos, (3,)))
        object.__setattr__(self, "elevations", _array("elevations", self.elevations, ()))
        lengths = {len(self.rotations), len(self.albedos), len(self.elevations), len(_per_scene(self.light))}
        if len(lengths) != 1:
            raise ValueError(
                f"rotations, albedos, elevations and light are of {sorted(lengths)} scenes; give equal numbers"
            )
        if self.albedos.size and not (self.albedos.min() >= 0.0 and self.albedos.max() <= 1.0):
            raise ValueError(f"albedos reach from {self.albedos.min()} to {self.albedos.max()}; allowed: 0 to 1")
        unit = self.rotations @ self.rotations.transpose(0, 2, 1)
        if self.rotations.size and np.abs(unit - np.eye(3)).max() > 1e-6:
            raise ValueError("a rotation is no rotation: its rows must be of length 1 and at right angles")

    def __len__(self) -> int:
        return len(self.rotations)

    def __getitem__(self, chosen: slice | NDArray[Any]) -> Scenes:
        """Some of the scenes, as a slice or an array of numbers chooses them."""
        field = dataclasses.fields(self.light)[0].name
        some: dict[str, Any] = {field: _per_scene(self.light)[chosen]}
        light = dataclasses.replace(self.light, **some)
        return Scenes(self.rotations[chosen], self.albedos[chosen], self.elevations[chosen], light)

    def shades(self, mesh: Mesh) -> Floats:
        """By what each vertex multiplies its albedo, not yet cut at 1: (n, vertices)."""
        return self.light.shades(mesh.vertices, mesh.normals, self.rotations)

    def cameras(self) -> Floats:
        """Where the cameras stand in the world, (n, 3); they look at the origin."""
        return CAMERA_DISTANCE * -self.axes()[:, 2]

    def axes(self) -> Floats:
        """The cameras' axes in the world, (n, 3, 3): rows to the right, up, and forward."""
        c, s = cosine(self.elevations), sine(self.elevations)
        zero, one = np.zeros_like(c), np.ones_like(c)
        rows = [[one, zero, zero], [zero, s, c], [zero, c, -s]]
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def object_rotation(gamma: ArrayLike, beta: ArrayLike, alpha: ArrayLike) -> Floats:
    """The rotation Rz(gamma) Rx(-beta) Rz(alpha) for row vectors; any orientation is one of these.

    Args:
        gamma: turn about the object's own vertical axis, radians, (n,) or a number.
        beta: how far that axis is tilted from the world's, radians.
        alpha: to which side it is tilted, radians.

    Returns:
        (n, 3, 3); the object's up axis points to (-sin alpha sin beta, -cos alpha sin beta, cos beta).

    Source: InfoGAN-CR, 3D_teapot.
    """
    tilt = -np.asarray(beta, np.float64)
    return _product(_product(rotation_about_z(gamma), _rotation_about_x(tilt)), rotation_about_z(alpha))


def rotation_about_z(angle: ArrayLike) -> Floats:
    """The matrix [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], (n, 3, 3); row vectors turn by minus the angle."""
    c, s, zero, one = _circle(angle)
    return _matrices([[c, -s, zero], [s, c, zero], [zero, zero, one]])


def light_direction(azimuth: ArrayLike, elevation: ArrayLike) -> Floats:
    """Unit vectors towards a light, (sin azimuth sin elevation, -cos azimuth sin elevation, cos elevation).

    Args:
        azimuth: radians, (n,) or a number.
        elevation: angle from straight above (not from the horizon), radians, 0 to pi.

    Returns:
        (n, 3).

    Source: InfoGAN-CR, 3D_teapot: Rz(azimuth) Rx(elevation) applied to (0, 0, 1).
    """
    c, s, _, _ = _circle(azimuth)
    up, out, _, _ = _circle(elevation)
    return np.stack(np.broadcast_arrays(s * out, -c * out, up), axis=-1)


def _rotation_about_x(angle: ArrayLike) -> Floats:
    c, s, zero, one = _circle(angle)
    return _matrices([[one, zero, zero], [zero, c, -s], [zero, s, c]])


def _circle(angle: ArrayLike) -> tuple[Floats, Floats, Floats, Floats]:
    angles = np.atleast_1d(np.asarray(angle, np.float64))
    return cosine(angles), sine(angles), np.zeros_like(angles), np.ones_like(angles)


def _matrices(rows: list[list[Floats]]) -> Floats:
    return np.stack([np.stack(np.broadcast_arrays(*row), axis=-1) for row in rows], axis=-2)


def _product(left: Floats, right: Floats) -> Floats:
    """Products of 3x3 matrices, added up in one order: those of the linear algebra libraries differ by machine."""
    total = left[..., :, 0, None] * right[..., 0, None, :]
    total = total + left[..., :, 1, None] * right[..., 1, None, :]
    return total + left[..., :, 2, None] * right[..., 2, None, :]


def _dots(vectors: Floats, normals: Floats) -> Floats:
    """(n, 3) with (vertices, 3) gives (n, vertices), in one order of additions."""
    x, y, z = normals.T
    return vectors[:, 0, None] * x + vectors[:, 1, None] * y + vectors[:, 2, None] * z


def _array(name: str, values: ArrayLike, tail: tuple[int, ...]) -> Floats:
    array = np.ascontiguousarray(values, np.float64)
    if array.ndim != 1 + len(tail) or array.shape[1:] != tail:
        raise ValueError(f"{name} have shape {array.shape}; expected {('n', *tail)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} hold values that are NaN or infinite")
    return array


def _check_light(ambient: float, intensity: float) -> None:
    for name, value in (("ambient", ambient), ("intensity", intensity)):
        if not 0.0 <= value < np.inf:
            raise ValueError(f"{name} is {value}; give a number of at least 0")


def _per_scene(light: Light) -> Floats:
    values: Floats = getattr(light, dataclasses.fields(light)[0].name)
    return values
