"""The OpenDR back-end, the reference: OpenDR's own camera, lights and rasterizer, joined as a chumpy graph.

OpenDR has one sample in a pixel. More of them are drawn as a larger image, of which every square of samples is averaged
(in 8 bits, halves rounded up).

Source: Loper and Black 2014, "OpenDR: An approximate differentiable renderer".
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teapot_renderer.mesh import Mesh
from teapot_renderer.opendr_import import opendr_modules
from teapot_renderer.rendering import samples_per_side
from teapot_renderer.scene import (
    BACKGROUND,
    CAMERA_DISTANCE,
    FAR,
    FOCAL_LENGTH,
    NEAR,
    DirectionalLight,
    PointLight,
    Scenes,
    SphericalHarmonics,
)

Images = NDArray[np.uint8]
Floats = NDArray[np.float64]

_HALF_PIXEL = 0.5
"""What OpenDR adds to the principal point."""
_TOUCHING = 1e-9
"""So far, in scene units, a lamp is kept from a vertex: OpenDR divides by their distance."""

_drawing = threading.Lock()


def render(mesh: Mesh, scenes: Scenes, size: int, samples: int) -> Images:
    """Draws scenes with OpenDR.

    Args:
        mesh: the object of all scenes.
        scenes: n scenes.
        size: height and width of the images in pixels.
        samples: in each pixel, a square number.

    Returns:
        uint8 of shape (n, size, size, 3).

    Raises:
        OpendrMissing: if OpenDR cannot be used here.
        ValueError: for a size or a number of samples that cannot be.
    """
    return OpendrRenderer(mesh, size, samples).draw(scenes)


class OpendrRenderer:
    """One OpenDR renderer for one mesh, kept for many scenes.

    Args:
        mesh: the object.
        size: height and width of the images in pixels.
        samples: in each pixel, a square number.

    Raises:
        OpendrMissing: if OpenDR cannot be used here.
        ValueError: for a size or a number of samples that cannot be.
    """

    def __init__(self, mesh: Mesh, size: int, samples: int) -> None:
        self._per_side = samples_per_side(size, samples)
        self._size = size
        self._mesh = mesh
        self._opendr = opendr_modules()
        ch = self._opendr.chumpy
        # The leaves of the graph: what changes from scene to scene.
        self._rotation = ch.array(np.eye(3))
        self._albedo = ch.array(np.ones((1, 3)))
        self._camera_turn = ch.array(np.zeros(3))
        self._vertices = ch.array(mesh.vertices).dot(self._rotation)
        self._normals = ch.array(mesh.normals).dot(self._rotation)
        # Of the last light: its type and shares, the node of the colors, and what sets the light's leaves.
        self._light: tuple[tuple[Any, ...], Any, Callable[[Floats], None]] | None = None
        with _drawing:
            self._target = self._new_renderer()

    def draw(self, scenes: Scenes) -> Images:
        """Draws scenes.

        Args:
            scenes: n scenes.

        Returns:
            uint8 of shape (n, size, size, 3).
        """
        images = np.empty((len(scenes), self._size, self._size, 3), np.uint8)
        with _drawing:
            for number in range(len(scenes)):
                self._set(scenes, number)
                images[number] = _mean_of_samples(np.rint(self._target.color_image * 255.0), self._per_side)
        return images

    def colors(self, scenes: Scenes) -> Floats:
        """The colors that OpenDR's lights give to the vertices, cut to [0, 1]: (n, vertices, 3)."""
        colors = np.empty((len(scenes), len(self._mesh.vertices), 3))
        with _drawing:
            for number in range(len(scenes)):
                self._set(scenes, number)
                colors[number] = self._target.vc.r
        return colors

    def _new_renderer(self) -> Any:
        """OpenDR's renderer with the camera; the colors are still white."""
        ch, side = self._opendr.chumpy, self._size * self._per_side
        focal = FOCAL_LENGTH * side
        target = self._opendr.renderer.ColoredRenderer()
        # OpenDR wants the camera first, then the frustum, then the rest.
        target.camera = self._opendr.camera.ProjectPoints(
            v=self._vertices,
            rt=self._camera_turn,
            t=ch.array([0.0, 0.0, CAMERA_DISTANCE]),
            f=ch.array([focal, focal]),
            c=ch.array([side / 2.0 - _HALF_PIXEL] * 2),
            k=ch.zeros(5),
        )
        target.frustum = {"near": NEAR, "far": FAR, "width": side, "height": side}
        # Overdraw would draw the edges a second time, as lines.
        target.set(
            v=self._vertices,
            f=self._mesh.faces.astype(np.uint32),
            vc=ch.ones_like(self._mesh.vertices),
            bgcolor=ch.array([BACKGROUND / 255.0] * 3),
            overdraw=False,
        )
        # The first drawing sets OpenGL up. Later ones ask for the image alone, not for the projected points.
        np.asarray(target.r)
        return target

    def _set(self, scenes: Scenes, number: int) -> None:
        """Sets the leaves to one scene."""
        self._rotation[:] = scenes.rotations[number]
        self._albedo[:] = scenes.albedos[number]
        # OpenCV's camera looks along +z with y down; ours, unturned, along +y with z up.
        self._camera_turn[:] = [math.pi / 2.0 + scenes.elevations[number], 0.0, 0.0]
        light = scenes.light
        key: tuple[Any, ...]
        if isinstance(light, SphericalHarmonics):
            key, build, values = (SphericalHarmonics,), self._harmonics, light.coefficients[number]
        else:
            key = (type(light), light.ambient, light.intensity)
            if isinstance(light, PointLight):
                build, values = functools.partial(self._lamp, light), light.positions[number]
            else:
                build, values = functools.partial(self._parallel, light), light.directions[number]
        if self._light is None or self._light[0] != key:
            self._light = (key, *build())
            self._target.vc = self._light[1]
        self._light[2](values)

    def _parallel(self, light: DirectionalLight) -> tuple[Any, Callable[[Floats], None]]:
        ch = self._opendr.chumpy
        direction = ch.array(np.zeros((3, 1)))
        lit = light.intensity * ch.maximum(self._normals.dot(direction), 0.0)

        def set_direction(value: Floats) -> None:
            direction[:] = value[:, None]

        return self._cut(self._albedo * (lit + light.ambient)), set_direction

    def _lamp(self, light: PointLight) -> tuple[Any, Callable[[Floats], None]]:
        ch, mesh = self._opendr.chumpy, self._mesh
        position = ch.array(np.zeros(3))
        lit = self._opendr.lighting.LambertianPointLight(
            f=mesh.faces,
            num_verts=len(mesh.vertices),
            v=self._vertices,
            vn=self._normals,
            vc=ch.array(np.ones_like(mesh.vertices)) * self._albedo,
            light_pos=position,
            light_color=ch.array(np.full(3, light.intensity)),
        )

        def set_position(value: Floats) -> None:
            position[:] = self._apart_from_vertices(value)

        return self._cut(lit + light.ambient * self._albedo), set_position

    def _apart_from_vertices(self, position: Floats) -> Floats:
        """The lamp's position; where a vertex is, a little behind it, so that this vertex is unlit."""
        distances = np.abs(self._vertices.r - position).max(axis=1)
        nearest = int(distances.argmin())
        if distances[nearest] >= _TOUCHING:
            return position
        normal = self._normals.r[nearest]
        return position - 2.0 * _TOUCHING * (normal if normal.any() else np.array([0.0, 0.0, 1.0]))

    def _harmonics(self) -> tuple[Any, Callable[[Floats], None]]:
        ch = self._opendr.chumpy
        components = ch.array(np.zeros(9))
        lit = self._opendr.lighting.SphericalHarmonics(
            vn=self._normals, components=components, light_color=ch.array(np.ones(3))
        )

        def set_components(value: Floats) -> None:
            components[:] = value

        return self._cut(lit * self._albedo), set_components

    def _cut(self, colors: Any) -> Any:
        """OpenGL cuts colors to [0, 1] at the vertices; said here, so that one sees it."""
        return self._opendr.chumpy.clip(colors, 0.0, 1.0)


def _mean_of_samples(values: Floats, side: int) -> Images:
    """Averages squares of `side` x `side` whole numbers, halves rounded up: (h side, w side, 3) gives (h, w, 3)."""
    samples = values.astype(np.uint8)
    if side == 1:
        return samples
    height, width = samples.shape[0] // side, samples.shape[1] // side
    # Rows first: their sum runs along the memory.
    total = samples.reshape(height, side, -1).sum(axis=1, dtype=np.uint32).reshape(height, width, side, 3).sum(axis=2)
    count = side * side
    return ((total + count // 2) // count).astype(np.uint8)
