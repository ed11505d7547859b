"""Drawing: the back-ends agree, the pixels are known ones, and neither threads nor blocks change them."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from common.errors import UserError
from data_gen.teapot_latents import VARIANTS
from teapot_renderer import (
    DirectionalLight,
    Light,
    Mesh,
    PointLight,
    Scenes,
    SphericalHarmonics,
    choose_backend,
    light_direction,
    object_rotation,
    render,
    render_blocks,
)
from teapot_renderer.bezier import teapot
from teapot_renderer.opendr_import import opendr_problem

needs_opendr = pytest.mark.skipif(opendr_problem() is not None, reason=f"OpenDR: {opendr_problem()}")
UP = np.array([[0.0, 0.0, 1.0]])


def scenes_of(variant: str, count: int, seed: int = 5) -> Scenes:
    """Scenes with the latents of a variant."""
    about = VARIANTS[variant]
    return about.scenes(about.draw(np.random.RandomState(seed), count))


def upright(light: Light, color: tuple[float, float, float] = (0.3, 0.5, 0.9), elevation: float = 0.0) -> Scenes:
    """One scene with the object as it is."""
    return Scenes(object_rotation(0, 0, 0), np.array([color]), np.array([elevation]), light)


def square(side: float = 0.05) -> Mesh:
    """A square that faces the level camera."""
    corners = [[-side, 0, -side], [side, 0, -side], [side, 0, side], [-side, 0, side]]
    return Mesh(np.array(corners), np.array([[0, 1, 2], [0, 2, 3]], np.int32), "square")


def box(half: float) -> Mesh:
    """A box of twelve large triangles."""
    corners = half * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    sides = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Mesh(corners, np.array([t for a, b, c, d in sides for t in ((a, b, c), (a, c, d))], np.int32), "box")


@needs_opendr
@pytest.mark.parametrize("variant", VARIANTS)
def test_back_ends_agree_on_the_data_set(variant: str) -> None:
    scenes = scenes_of(variant, 200)
    reference = render(teapot(), scenes, backend="opendr").astype(int)
    difference = np.abs(reference - render(teapot(), scenes, backend="fast"))
    # Asked for are 0.05 of 255; it is a hundred times less, as both follow the same rules sample by sample.
    assert difference.mean() < 0.005
    assert (difference > 2).mean() < 1e-4


@needs_opendr
@pytest.mark.parametrize(("size", "samples"), [(64, 1), (31, 9), (100, 4), (16, 64)])
def test_back_ends_agree_at_other_sizes(size: int, samples: int) -> None:
    scenes = scenes_of("uniform_light", 20)
    reference = render(teapot(), scenes, size, "opendr", samples).astype(int)
    assert np.abs(reference - render(teapot(), scenes, size, "fast", samples)).mean() < 0.02


@needs_opendr
@pytest.mark.parametrize("kind", ["point", "harmonics"])
def test_back_ends_agree_on_other_lights(kind: str) -> None:
    rng = np.random.default_rng(0)
    base = scenes_of("all_color", 10)
    positions = rng.normal(size=(10, 3))
    positions *= 0.4 / np.linalg.norm(positions, axis=1, keepdims=True)
    light = PointLight(positions, 0.3, 0.6) if kind == "point" else SphericalHarmonics(rng.normal(size=(10, 9)) + 1.0)
    scenes = Scenes(base.rotations, base.albedos, base.elevations, light)
    reference = render(teapot(), scenes, backend="opendr").astype(int)
    assert np.abs(reference - render(teapot(), scenes, backend="fast")).mean() < 0.01


@needs_opendr
@pytest.mark.parametrize(("mesh", "size"), [(box(0.07), 64), (box(0.07), 800), (teapot(2), 800), (box(0.25), 400)])
def test_back_ends_agree_on_huge_triangles(mesh: Mesh, size: int) -> None:
    # At 800 pixels with 4 samples the box' triangles are wider than 1,024 samples; the large box leaves the picture.
    scenes = scenes_of("uniform_light", 2)
    reference = render(mesh, scenes, size, "opendr", 4).astype(int)
    assert np.abs(reference - render(mesh, scenes, size, "fast", 4)).mean() < 0.01


def test_the_fast_back_end_draws_known_bytes() -> None:
    # The same on every machine. Whoever changes them counts `FAST_VERSION` up.
    digests = {}
    for variant in VARIANTS:
        digests[variant] = hashlib.sha256(
            render(teapot(), scenes_of(variant, 12), backend="fast").tobytes()
        ).hexdigest()
    assert {name: digest[:16] for name, digest in digests.items()} == KNOWN


KNOWN = {"all_color": "468a8d2ce5b1b134", "up_light": "ebab92f2dca056e4", "uniform_light": "6e4869ed178e4c91"}


def test_threads_and_blocks_do_not_change_the_pictures() -> None:
    mesh, scenes = teapot(5), scenes_of("all_color", 150)
    whole = render(mesh, scenes, 32, "fast")
    np.testing.assert_array_equal(whole, render(mesh, scenes, 32, "fast", workers=3))
    blocks = [scenes[start : start + 7] for start in range(0, 150, 7)]
    drawn = list(render_blocks(mesh, iter(blocks), 32, "fast", workers=2))
    assert [len(images) for images in drawn] == [7] * 21 + [3]
    np.testing.assert_array_equal(whole, np.concatenate(drawn))


@needs_opendr
def test_processes_do_not_change_the_pictures() -> None:
    mesh, scenes = teapot(4), scenes_of("uniform_light", 70)
    alone = render(mesh, scenes, 16, "opendr", 4)
    np.testing.assert_array_equal(alone, render(mesh, scenes, 16, "opendr", 4, workers=2))


@pytest.mark.parametrize("backend", ["fast", pytest.param("opendr", marks=needs_opendr)])
def test_background_is_white_and_a_lit_face_has_the_color_of_the_formula(backend: str) -> None:
    for elevation in (0.0, 0.4, 1.3, 2.0, math.pi):
        light = DirectionalLight(light_direction(0.0, elevation))
        image = render(square(), upright(light, (0.2, 0.41, 0.77)), 64, backend)[0]
        # A light of azimuth 0 and elevation pi / 2 stands behind the camera, which the square faces.
        shade = 0.9 * max(0.0, math.sin(elevation)) + 0.5
        expected = [math.floor(255 * min(1.0, albedo * shade) + 0.5) for albedo in (0.2, 0.41, 0.77)]
        np.testing.assert_allclose(image[32, 32], expected, atol=1)
        for margin in (image[:10], image[-10:], image[:, :10], image[:, -10:]):
            assert (margin == 255).all()


def test_perspective_is_the_published_one() -> None:
    # The square's edges are at 105 / 0.5 * 0.05 = 10.5 pixels from the middle of 64: half a pixel is covered.
    image = render(square(), upright(DirectionalLight(UP), (0.0, 0.0, 0.0)), 64, "fast")[0, :, :, 0]
    np.testing.assert_allclose(image[32, 20:23], [255, 128, 0], atol=1)
    np.testing.assert_array_equal(image, image[::-1])
    np.testing.assert_array_equal(image, image[:, ::-1])
    # Seen from 60 degrees above it is half as high, and its upper edge, now nearer, is longer.
    image = render(square(), upright(DirectionalLight(UP), (0.0, 0.0, 0.0), math.pi / 3), 64, "fast")[0, :, :, 0]
    rows = np.flatnonzero((image < 255).any(axis=1))
    assert 10 <= len(rows) <= 12
    assert (image[rows[1]] < 128).sum() > (image[rows[-2]] < 128).sum()


def test_the_nearer_surface_hides_the_farther_one() -> None:
    near, far, away = square(0.02), square(0.06), np.array([0.0, 0.05, 0.0])
    both = Mesh(
        np.concatenate([far.vertices + away, near.vertices - away]),
        np.concatenate([far.faces, near.faces + 4]),
        "two",
    )
    other_order = Mesh(both.vertices, both.faces[::-1], "two")
    turned_over = Mesh(both.vertices, np.concatenate([far.faces, near.faces[:, ::-1] + 4]), "two")
    scenes = upright(DirectionalLight(light_direction(0.0, math.pi / 2)))
    image = render(both, scenes, 64, "fast")[0]
    np.testing.assert_array_equal(image, render(other_order, scenes, 64, "fast")[0])
    # The near square's back is seen now: it gets no light.
    dark = render(turned_over, scenes, 64, "fast")[0]
    assert (image[32, 32] > dark[32, 32]).all()
    np.testing.assert_array_equal(image[32, 20], dark[32, 20])


def test_nothing_is_drawn_of_no_scenes() -> None:
    scenes = scenes_of("up_light", 3)[0:0]
    assert render(teapot(3), scenes, 32, "fast").shape == (0, 32, 32, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "at least 1 pixel"),
        ({"samples": 5}, "square number"),
        ({"samples": 0}, "square number"),
        ({"samples": 400}, "square number"),
        ({"size": 2000}, "samples in a row"),
        ({"workers": 0}, "at least 1"),
        ({"mesh": square(0.4)}, "scale it"),
    ],
)
def test_what_cannot_be_drawn_is_refused(change: dict[str, object], message: str) -> None:
    arguments = {"mesh": square(), "scenes": upright(DirectionalLight(UP)), "backend": "fast", **change}
    with pytest.raises(ValueError, match=message):
        render(**arguments)  # type: ignore[arg-type]


def test_back_ends_are_chosen_and_named() -> None:
    with pytest.raises(UserError, match=r"unknown back-end 'fsat'.*fast"):
        choose_backend("fsat")
    assert choose_backend("fast")[0] == "fast"
    name, reason = choose_backend("auto")
    assert name == ("fast" if opendr_problem() else "opendr")
    assert reason


def test_without_opendr_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teapot_renderer.rendering.opendr_problem", lambda: "not installed: opendr")
    assert choose_backend("auto")[0] == "fast"
    assert "install_opendr" in choose_backend("auto")[1]
    with pytest.raises(UserError, match=r"not installed: opendr; run: .*install_opendr"):
        choose_backend("opendr")
