"""Draws triangle meshes as the 3D Teapot data set shows them: one object, one camera, one light, a white background.

`render(mesh, scenes)` is all that most need; `python -m teapot_renderer` draws from the command line. Importing this
package loads numpy only; the back-ends (OpenDR, numba) are loaded when they draw.
"""

from __future__ import annotations

from teapot_renderer.mesh import Mesh
from teapot_renderer.rendering import backend_version, choose_backend, render, render_blocks
from teapot_renderer.scene import (
    DirectionalLight,
    Light,
    PointLight,
    Scenes,
    SphericalHarmonics,
    light_direction,
    object_rotation,
    rotation_about_z,
)

__all__ = [
    "DirectionalLight",
    "Light",
    "Mesh",
    "PointLight",
    "Scenes",
    "SphericalHarmonics",
    "backend_version",
    "choose_backend",
    "light_direction",
    "object_rotation",
    "render",
    "render_blocks",
    "rotation_about_z",
]
