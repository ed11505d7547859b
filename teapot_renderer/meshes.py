"""One name for each mesh that can be drawn: the built-in teapot, or a file."""

from __future__ import annotations

import os
from pathlib import Path

from common.errors import UserError
from teapot_renderer import bezier, obj, shape_model
from teapot_renderer.mesh import Mesh, centered_and_scaled

UTAH = "utah"
ALLOWED = (
    "utah (the Utah teapot), FILE.obj (a mesh), FILE.bpt (Bezier patches), FILE.pkl (the published teapotModel.pkl)"
)


def kind_of(spec: str | os.PathLike[str]) -> str:
    """Which kind of mesh a name stands for: `utah`, `.obj`, `.bpt` or `.pkl`.

    Raises:
        UserError: for any other.
    """
    name = os.fspath(spec)
    kind = name if name == UTAH else Path(name).suffix.lower()
    if kind not in (UTAH, ".obj", ".bpt", ".pkl"):
        raise UserError(f"mesh {name!r} is not known; allowed: {ALLOWED}")
    return kind


def load_mesh(spec: str | os.PathLike[str], fineness: int = bezier.FINENESS, up: str = "z") -> Mesh:
    """A mesh that stands in the middle of the frame, in scene units.

    Args:
        spec: `utah`, or a file: `.bpt`, placed as the Utah teapot is; `.obj`, centered and scaled but not turned; or
            `.pkl`, the published model, placed exactly as in the published data.
        fineness: how finely patches (`utah`, `.bpt`) are cut, see `bezier.teapot`. Default: 10.
        up: which axis of an `.obj` points up, `z` or `y`. Default: `z`.

    Raises:
        UserError: for another spec or value, or a file that is damaged.
    """
    kind = kind_of(spec)
    try:
        if kind == ".pkl":
            return shape_model.read_teapot_model(spec)
        if kind == ".obj":
            return centered_and_scaled(obj.read_obj(spec, up))
        if kind == UTAH:
            return bezier.teapot(fineness)
        return bezier.placed(bezier.read_patches(spec), fineness, f"{Path(spec).name}, fineness {fineness}")
    except ValueError as error:
        raise UserError(f"mesh {os.fspath(spec)}: {error}") from None
