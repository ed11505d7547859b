"""The mesh of the published teapots, from the file `teapotModel.pkl` of its authors."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from common.errors import UserError
from common.pickled_arrays import read_pickled
from teapot_renderer.mesh import Mesh, quarter_turned

NAME = "published teapot model"
SCALE = 0.09
"""From the model's units to scene units, in the generator of the published data."""
_ENTRIES = ("meshLinearTransform", "ppcaB", "faces")


def read_teapot_model(path: str | os.PathLike[str]) -> Mesh:
    """The mean teapot of the published shape model, prepared as the generator of the published data does it.

    The model (probabilistic principal components of the landmarks of many teapots) is used with all its coefficients 0,
    as there: the vertices are `meshLinearTransform` times the mean landmarks `ppcaB`, turned by -90 degrees about the
    vertical, moved so that their mean is the origin, and multiplied by 0.09. Nothing in the file is run.

    Args:
        path: the file `teapotModel.pkl`.

    Returns:
        the mesh in scene units.

    Raises:
        UserError: if the file is damaged, or is no such model.

    Source: InfoGAN-CR (Lin et al. 2020), 3D_teapot; the model is of Moreno, Williams, Nash and Kohli (2016).
    """
    model = read_pickled(path, only=_ENTRIES)
    transform = _numbers(path, model, "meshLinearTransform", "fiu")
    mean = _numbers(path, model, "ppcaB", "fiu").reshape(-1)
    faces = _numbers(path, model, "faces", "iu")
    if transform.ndim != 2 or not transform.size or mean.size != 3 * transform.shape[1]:
        raise UserError(
            f"{path}: meshLinearTransform has shape {transform.shape} and ppcaB {mean.size} numbers; expected "
            "(vertices, landmarks) and three for each landmark; this is no teapot model"
        )
    landmarks = mean.astype(np.float64).reshape(-1, 3)
    vertices = np.zeros((len(transform), 3))
    # One landmark after the other: products of the linear algebra libraries differ by machine in their last bits.
    with np.errstate(over="ignore", invalid="ignore"):
        for weights, landmark in zip(transform.astype(np.float64).T, landmarks, strict=True):
            vertices += weights[:, None] * landmark
    try:
        turned = quarter_turned(Mesh(vertices, faces.astype(np.int64), NAME))  # type: ignore[arg-type]
    except ValueError as error:
        raise UserError(f"{path}: {error}; this is no teapot model") from None
    centered = turned.vertices - turned.vertices.sum(axis=0) / len(vertices)
    return Mesh(centered * SCALE, turned.faces, NAME)


def _numbers(path: str | os.PathLike[str], model: dict[str, Any], name: str, kinds: str) -> np.ndarray:
    """An entry that must be an array of certain kinds of numbers, as numpy's letters tell them."""
    array = model[name]
    if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        expected = "whole numbers" if kinds == "iu" else "numbers"
        raise UserError(f"{path}: {name} is {kind}; expected an array of {expected}; this is no teapot model")
    return array
