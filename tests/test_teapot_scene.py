"""The scene: rotations, light, camera and shading as the data set of InfoGAN-CR has them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from teapot_renderer import DirectionalLight, Mesh, PointLight, Scenes, SphericalHarmonics
from teapot_renderer.scene import light_direction, object_rotation, rotation_about_z
from teapot_renderer.trigonometry import cosine, sine

ANGLES = st.floats(-20.0, 20.0)


def column_rotation(axis: str, angle: float) -> np.ndarray:
    """The usual rotation matrix for column vectors."""
    c, s = math.cos(angle), math.sin(angle)
    if axis == "z":
        return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


@given(ANGLES, ANGLES, ANGLES)
def test_object_rotation_is_the_published_product(gamma: float, beta: float, alpha: float) -> None:
    expected = column_rotation("z", gamma) @ column_rotation("x", -beta) @ column_rotation("z", alpha)
    np.testing.assert_allclose(object_rotation(gamma, beta, alpha)[0], expected, atol=1e-14)


@given(ANGLES, ANGLES, ANGLES)
def test_up_axis_and_light_point_where_the_published_ones_do(gamma: float, beta: float, alpha: float) -> None:
    up = np.array([0.0, 0.0, 1.0]) @ object_rotation(gamma, beta, alpha)[0]
    tilted = [-math.sin(alpha) * math.sin(beta), -math.cos(alpha) * math.sin(beta), math.cos(beta)]
    np.testing.assert_allclose(up, tilted, atol=1e-14)
    expected = column_rotation("z", alpha) @ column_rotation("x", beta) @ [0.0, 0.0, 1.0]
    np.testing.assert_allclose(light_direction(alpha, beta)[0], expected, atol=1e-14)


def test_rotation_about_z_turns_row_vectors_backward() -> None:
    turned = np.array([1.0, 0.0, 0.0]) @ rotation_about_z(math.pi / 2)[0]
    np.testing.assert_allclose(turned, [0.0, -1.0, 0.0], atol=1e-15)


def test_camera_stands_and_looks_as_published() -> None:
    elevations = np.array([0.0, 0.3, 1.2, math.pi / 2])
    scenes = some_scenes(4, elevations=elevations)
    c, s = np.cos(elevations), np.sin(elevations)
    np.testing.assert_allclose(scenes.cameras(), np.stack([0 * c, -0.5 * c, 0.5 * s], 1), atol=1e-15)
    right, up, forward = scenes.axes().transpose(1, 0, 2)
    np.testing.assert_allclose(right, np.tile([1.0, 0.0, 0.0], (4, 1)))
    np.testing.assert_allclose(up, np.stack([0 * c, s, c], 1), atol=1e-15)
    np.testing.assert_allclose(forward, np.stack([0 * c, c, -s], 1), atol=1e-15)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_sine_and_cosine_are_right_to_the_last_bits(angles: list[float]) -> None:
    values = np.array(angles)
    np.testing.assert_allclose(sine(values), np.sin(values), rtol=0, atol=5e-16)
    np.testing.assert_allclose(cosine(values), np.cos(values), rtol=0, atol=5e-16)


def test_sine_does_not_depend_on_the_processor() -> None:
    # Known bits; numpy's own sine gives others on some processors.
    bits = sine(np.array([0.1, 1.0, 2.5, -7.0, 1234.5])).view(np.uint64)
    assert [f"{value:016x}" for value in bits] == SINE_BITS


SINE_BITS = ["3fb98eaecb8bcb2c", "3feaed548f090cee", "3fe326af0dcfcab0", "bfe50608c26d0a09", "3fc29c531dfd031b"]


def a_mesh() -> Mesh:
    """An octahedron: its normals are its vertices' directions."""
    corners = 0.1 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    faces = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
    return Mesh(corners, np.array(faces, np.int32), "octahedron")


def some_scenes(count: int, elevations: np.ndarray | None = None, light: object = None) -> Scenes:
    """Random orientations."""
    rng = np.random.default_rng(3)
    rotations = object_rotation(*rng.uniform(0, 6, (3, count)))
    light = light or DirectionalLight(light_direction(*rng.uniform(0, 3, (2, count))))
    heights = elevations if elevations is not None else np.zeros(count)
    return Scenes(rotations, rng.uniform(size=(count, 3)), heights, light)  # type: ignore[arg-type]


def test_normals_are_unit_vectors_weighted_by_area() -> None:
    np.testing.assert_allclose(a_mesh().normals, a_mesh().vertices * 10, atol=1e-15)
    # Two triangles of areas 2 and 1/2 at the origin, in different planes.
    corners = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 1, 0], [0, 0, 1.0]])
    normal = Mesh(corners, np.array([[0, 1, 2], [0, 3, 4]]), "two").normals[0]
    np.testing.assert_allclose(normal, np.array([1, 0, 4]) / math.sqrt(17))


def test_directional_light_shades_as_the_formula_says() -> None:
    scenes, mesh = some_scenes(5), a_mesh()
    assert isinstance(scenes.light, DirectionalLight)
    for scene in range(5):
        normals = mesh.normals @ scenes.rotations[scene]
        expected = 0.9 * np.maximum(0.0, normals @ scenes.light.directions[scene]) + 0.5
        np.testing.assert_allclose(scenes.shades(mesh)[scene], expected, atol=1e-14)


def test_point_light_and_harmonics_shade_as_their_formulas_say() -> None:
    rng, mesh = np.random.default_rng(0), a_mesh()
    positions, coefficients = rng.normal(size=(4, 3)), rng.normal(size=(4, 9))
    lamps = some_scenes(4, light=PointLight(positions, ambient=0.2, intensity=0.7))
    skies = some_scenes(4, light=SphericalHarmonics(coefficients))
    for scene in range(4):
        world, normals = mesh.vertices @ lamps.rotations[scene], mesh.normals @ lamps.rotations[scene]
        toward = positions[scene] - world
        toward /= np.linalg.norm(toward, axis=1, keepdims=True)
        expected = 0.7 * np.maximum(0.0, (toward * normals).sum(1)) + 0.2
        np.testing.assert_allclose(lamps.shades(mesh)[scene], expected, atol=1e-13)
        x, y, z = normals.T
        basis = np.stack([
            0.28209479177387814 * np.ones_like(x), 0.4886025119029199 * x, 0.4886025119029199 * z,
            0.4886025119029199 * y, 1.0925484305920792 * x * y, 1.0925484305920792 * y * z,
            0.31539156525252005 * (3 * z * z - 1), 1.0925484305920792 * x * z, 0.5462742152960396 * (x * x - y * y),
        ], axis=1)  # fmt: skip
        np.testing.assert_allclose(skies.shades(mesh)[scene], np.maximum(0, basis @ coefficients[scene]), atol=1e-13)


def test_some_scenes_of_a_batch() -> None:
    scenes = some_scenes(6)
    part = scenes[np.array([4, 1])]
    assert len(part) == 2
    np.testing.assert_array_equal(part.rotations, scenes.rotations[[4, 1]])
    np.testing.assert_array_equal(part.shades(a_mesh()), scenes.shades(a_mesh())[[4, 1]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rotations": np.zeros((2, 3, 3))}, "no rotation"),
        ({"rotations": np.zeros((2, 3))}, "shape"),
        ({"albedos": np.full((2, 3), 1.5)}, "allowed: 0 to 1"),
        ({"albedos": np.full((3, 3), 0.5)}, "equal numbers"),
        ({"elevations": np.array([np.nan, 0.0])}, "NaN"),
        ({"light": DirectionalLight(np.zeros((1, 3)))}, "equal numbers"),
    ],
)
def test_scenes_that_cannot_be_are_refused(change: dict[str, object], message: str) -> None:
    good = some_scenes(2)
    parts = {"rotations": good.rotations, "albedos": good.albedos, "elevations": good.elevations, "light": good.light}
    with pytest.raises(ValueError, match=message):
        Scenes(**{**parts, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [-0.1, math.inf, math.nan])
def test_lights_that_cannot_be_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        DirectionalLight(np.zeros((1, 3)), ambient=share)
    with pytest.raises(ValueError, match="at least 0"):
        PointLight(np.zeros((1, 3)), intensity=share)
