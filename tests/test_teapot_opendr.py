"""Tests of the OpenDR back-end and of its import; without OpenDR, those that draw are skipped with a warning."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import inspect
import os
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common.errors import UserError
from teapot_renderer import install_opendr, opendr_backend, opendr_import
from teapot_renderer.mesh import Mesh
from teapot_renderer.opendr_backend import OpendrRenderer
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

ROOT = Path(__file__).resolve().parent.parent
Floats = NDArray[np.float64]
ALBEDO = (0.3, 0.5, 0.9)


@pytest.fixture(scope="module")
def opendr() -> None:
    """Skips where OpenDR is not installed, and says so in pytest's summary; installed, it must work."""
    problem = opendr_import.opendr_problem()
    if problem is not None:
        assert problem.startswith("not installed: "), problem
        reason = f"NOT TESTED: OpenDR cannot be used here: {problem}; run: {opendr_import.INSTALL}"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)


def _python(code: str, *options: str, **environment: str) -> str:
    """What a new process prints on standard output."""
    result = subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def _square(half: float = 0.1, center: tuple[float, float, float] = (0.0, 0.0, 0.0), away: bool = False) -> Mesh:
    """A square across the y axis, with its normal toward the camera, or away from it."""
    corners = np.array([[-half, 0, -half], [half, 0, -half], [half, 0, half], [-half, 0, half]]) + center
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return Mesh(corners, faces[:, ::-1] if away else faces, "square")


def _ball(center: tuple[float, float, float], radius: float = 0.008) -> Mesh:
    axes = np.concatenate([np.eye(3), -np.eye(3)]) * radius
    faces = [[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]]
    return Mesh(axes + center, np.array(faces), "octahedron")


def _potato(rings: int = 8) -> Mesh:
    """A round thing without symmetry, with one vertex that no face has."""
    polar, azimuth = np.meshgrid(
        np.linspace(0.1, np.pi - 0.1, rings), np.arange(2 * rings) * np.pi / rings, indexing="ij"
    )
    points = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], -1)
    points = points.reshape(-1, 3) * 0.1
    points *= 1.0 + 0.3 * np.sin(40.0 * points[:, :1]) + 2.0 * points[:, 1:2]
    around = 2 * rings
    corner = np.arange((rings - 1) * around)
    right = corner // around * around + (corner + 1) % around
    faces = np.concatenate(
        [np.stack([corner, corner + around, right], 1), np.stack([right, corner + around, right + around], 1)]
    )
    return Mesh(np.concatenate([points, [[0.0, 0.0, 0.0]]]), faces, "potato")


def _lights(n: int, rng: np.random.Generator) -> dict[str, Light]:
    around, elevation = rng.uniform(0, 2 * np.pi, n), rng.uniform(0, np.pi, n)
    return {
        "directional": DirectionalLight(light_direction(around, elevation)),
        "dim": DirectionalLight(light_direction(elevation, around / 2), ambient=0.0, intensity=0.4),
        "point": PointLight(rng.normal(size=(n, 3)) * 0.3),
        "near": PointLight(rng.normal(size=(n, 3)) * 0.1, ambient=0.1, intensity=1.5),
        "harmonics": SphericalHarmonics(rng.normal(size=(n, 9)) + 2.0 * np.eye(9)[0]),
    }


def _scenes(light: Light, n: int, rng: np.random.Generator) -> Scenes:
    angles = rng.uniform(0.0, 2 * np.pi, (3, n))
    return Scenes(object_rotation(*angles), rng.uniform(0, 1, (n, 3)), rng.uniform(0, np.pi / 2, n), light)


def _one(
    rotation: Floats | None = None, direction: Any = (0.0, -1.0, 0.0), elevation: float = 0.0, albedo: Any = ALBEDO
) -> Scenes:
    light = DirectionalLight(np.array([direction], np.float64))
    turned = np.eye(3)[None] if rotation is None else rotation
    return Scenes(turned, np.array([albedo]), np.array([elevation]), light)


def _center(image: NDArray[np.uint8]) -> tuple[float, float]:
    """The middle of what is not background: to the right of and above the image's center, in pixels."""
    rows, columns = np.nonzero((image != 255).any(axis=2))
    assert len(rows)
    return float(columns.mean()) + 0.5 - 32.0, 32.0 - float(rows.mean()) - 0.5


def test_lent_names_are_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    linalg = pytest.importorskip("scipy.sparse.linalg")
    before, had = dict(vars(np)), hasattr(inspect, "getargspec")
    # As in a scipy that no longer has it.
    interface = "scipy.sparse.linalg.interface"
    monkeypatch.setitem(sys.modules, interface, None)
    names = []
    with pytest.raises(KeyError, match="on the way"), opendr_import._lent_names():  # noqa: PT012
        names += [vars(np)[name] for name in ("int", "object", "unicode")]
        names += [vars(inspect)["getargspec"](lambda a, b: None).args, vars(sys.modules[interface])["LinearOperator"]]
        raise KeyError("on the way")
    assert names == [int, object, str, ["a", "b"], linalg.LinearOperator]
    assert dict(vars(np)) == before
    assert hasattr(inspect, "getargspec") is had
    assert interface not in sys.modules


def test_own_libraries_are_for_one_import(monkeypatch: pytest.MonkeyPatch) -> None:
    constants, flags = types.ModuleType("constants"), sys.getdlopenflags()
    monkeypatch.setitem(sys.modules, "opendr.contexts._constants", constants)
    for other in (None, types.ModuleType("somebody's _constants")):
        if other is not None:
            monkeypatch.setitem(sys.modules, "_constants", other)
        with opendr_import._own_libraries():
            assert sys.modules["_constants"] is constants
            assert sys.getdlopenflags() & os.RTLD_DEEPBIND
        assert sys.modules.get("_constants") is other
        assert sys.getdlopenflags() == flags


def test_argspec_is_what_it_was() -> None:
    spec = opendr_import._getargspec(lambda a, b=3, *c, **d: None)
    assert tuple(spec) == (["a", "b"], "c", "d", (3,))
    assert (spec.args, spec.keywords) == (["a", "b"], "d")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Pretends that these packages are installed, in these versions."""
    versions = {"chumpy": "0.70", "opendr": "0.78"}
    present = {"scipy", "six", "cv2"}

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    def find_spec(name: str) -> object:
        return object() if name in present | set(versions) else None

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    monkeypatch.setattr(opendr_import, "_imported", lambda: ((1, 2, 3, 4), None))
    return versions


def test_problem_names_what_is_missing(installed: dict[str, str]) -> None:
    assert opendr_import.opendr_problem() is None
    assert opendr_import.opendr_modules().renderer == 4
    del installed["chumpy"]
    assert opendr_import.opendr_problem() == "not installed: chumpy"
    with pytest.raises(opendr_import.OpendrMissing, match=r"chumpy.*teapot_renderer\.install_opendr"):
        opendr_import.opendr_modules()


def test_an_unrelated_package_is_told_apart(installed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    installed["opendr-toolkit"] = "3.0.0"
    assert "pip uninstall opendr-toolkit" in str(opendr_import.opendr_problem())
    del installed["opendr-toolkit"]
    installed["opendr"] = "0.76"
    assert opendr_import.opendr_problem() == "opendr 0.76 is installed; needed: 0.78"
    del installed["opendr"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert "not installed from opendr 0.78" in str(opendr_import.opendr_problem())


def test_a_failing_import_is_a_reason_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "chumpy").mkdir()
    (tmp_path / "chumpy" / "__init__.py").write_text("from numpy import int\nraise RuntimeError('broken\\nbuild')\n")
    code = (
        "import sys; from teapot_renderer import opendr_import\n"
        "print(opendr_import._imported()[1]); print('chumpy' in sys.modules, 'int' in vars(__import__('numpy')))"
    )
    expected = ["its import fails with RuntimeError: broken build", "False False"]
    assert _python(code, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}").splitlines() == expected


@pytest.mark.usefixtures("opendr")
def test_the_import_leaves_no_trace() -> None:
    code = """
import inspect, os, sys
import numpy as np
import scipy.sparse.linalg
before, inspected, flags = set(vars(np)), set(vars(inspect)), sys.getdlopenflags()
from teapot_renderer.opendr_import import opendr_modules
modules = opendr_modules()
# Submodules that numpy loads by itself when they are used are no trace.
names = {name for name in set(vars(np)) - before if f"numpy.{name}" not in sys.modules}
print(names, set(vars(inspect)) ^ inspected, sys.getdlopenflags() == flags, "_constants" in sys.modules)
from teapot_renderer.install_opendr import drawn
drawn()
"""
    assert _python(code, "-W", "error") == "set() set() True False"


@pytest.mark.usefixtures("opendr")
@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed")
@pytest.mark.parametrize("order", ["tensorflow first", "tensorflow between"])
def test_it_draws_beside_tensorflow(order: str) -> None:
    draw = "from teapot_renderer.install_opendr import drawn; print(drawn()['sha256'])"
    lines = ["import tensorflow", draw] if order == "tensorflow first" else [draw, "import tensorflow", draw]
    found = _python("\n".join(lines), TF_CPP_MIN_LOG_LEVEL="3").splitlines()
    assert set(found) == {install_opendr.drawn()["sha256"]}


@pytest.mark.usefixtures("opendr")
def test_a_forked_process_draws() -> None:
    code = """
import os
from teapot_renderer.install_opendr import drawn
first = drawn()
child = os.fork()
if not child:
    import signal
    signal.alarm(30)
    os._exit(drawn() != first)
print(os.waitpid(child, 0)[1])
"""
    assert _python(code) == "0"


@pytest.mark.usefixtures("opendr")
@pytest.mark.parametrize("samples", [1, 9])
@pytest.mark.parametrize(
    ("direction", "cosine"), [((0.0, -1.0, 0.0), 1.0), ((0.0, -0.6, 0.8), 0.6), ((0.0, 1.0, 0.0), 0.0)]
)
def test_a_square_has_the_color_of_the_formula(samples: int, direction: tuple[float, ...], cosine: float) -> None:
    # Half a side at the distance 0.5 is 21 pixels, less a fifth, so that half a pixel's error would show.
    image = OpendrRenderer(_square(0.099), 64, samples).draw(_one(direction=direction))[0]
    assert np.array_equal(image, image[::-1])
    assert np.array_equal(image, image[:, ::-1])
    # More samples show the edges' pixels as partly covered.
    edge = 11 if samples == 1 else 12
    assert (image[edge:-edge, edge:-edge] == image[32, 32]).all()
    outside = np.ones((64, 64), bool)
    outside[11:53, 11:53] = False
    assert (image[outside] == 255).all()
    expected = 255.0 * np.minimum(np.array(ALBEDO) * (0.9 * cosine + 0.5), 1.0)
    assert np.abs(image[32, 32] - expected).max() <= 0.5 + 1e-4


@pytest.mark.usefixtures("opendr")
def test_back_faces_are_drawn_and_the_nearest_is_seen() -> None:
    away = OpendrRenderer(_square(away=True), 64, 1).draw(_one())[0]
    assert np.abs(away[32, 32] - 255.0 * 0.5 * np.array(ALBEDO)).max() <= 0.5 + 1e-4
    near, far = _square(0.05, (0.0, -0.05, 0.0)), _square(0.1, away=True)
    for first, second in ((near, far), (far, near)):
        vertices = np.concatenate([first.vertices, second.vertices])
        mesh = Mesh(vertices, np.concatenate([first.faces, second.faces + 4]), "squares")
        image = OpendrRenderer(mesh, 64, 1).draw(_one())[0]
        assert (image[32, 32] == np.rint(255.0 * np.minimum(1.4 * np.array(ALBEDO), 1.0))).all()
        assert (image[12, 12] == away[32, 32]).all()


@pytest.mark.usefixtures("opendr")
def test_right_is_right_and_up_is_up() -> None:
    def seen(point: tuple[float, float, float], elevation: float = 0.0) -> tuple[float, float]:
        return _center(OpendrRenderer(_ball(point), 64, 9).draw(_one(elevation=elevation))[0])

    assert seen((0.0, 0.0, 0.0)) == pytest.approx((0.0, 0.0), abs=0.1)
    assert seen((0.1, 0.0, 0.0)) == pytest.approx((21.0, 0.0), abs=0.3)
    assert seen((0.0, 0.0, 0.1)) == pytest.approx((0.0, 21.0), abs=0.3)
    # From straight above, what was far is at the top.
    assert seen((0.0, 0.1, 0.0), np.pi / 2) == pytest.approx((0.0, 21.0), abs=0.3)
    # From 30 degrees: the camera has come up to z = 0.25, y = -0.433.
    along, up = 0.5 - 0.1 * np.sin(np.pi / 6), 0.1 * np.cos(np.pi / 6)
    assert seen((0.0, 0.0, 0.1), np.pi / 6) == pytest.approx((0.0, 105.0 * up / along), abs=0.3)


@pytest.mark.usefixtures("opendr")
@pytest.mark.parametrize(("gamma", "beta", "alpha"), [(0.3, 0.8, 1.1), (2.0, 2.5, 4.0), (5.0, 1.3, 5.5)])
def test_the_up_axis_goes_where_the_convention_says(gamma: float, beta: float, alpha: float) -> None:
    image = OpendrRenderer(_ball((0.0, 0.0, 0.1)), 64, 9).draw(_one(object_rotation(gamma, beta, alpha)))[0]
    x, y, z = -np.sin(alpha) * np.sin(beta), -np.cos(alpha) * np.sin(beta), np.cos(beta)
    scale = 105.0 / (0.5 + 0.1 * y)
    assert _center(image) == pytest.approx((0.1 * x * scale, 0.1 * z * scale), abs=0.4)


@pytest.mark.usefixtures("opendr")
def test_the_light_stays_when_the_object_turns() -> None:
    # The square's normal turns from -y to +x; row vectors turn by minus the angle.
    turned = rotation_about_z(-np.pi / 2)
    assert np.allclose(np.array([0.0, -1.0, 0.0]) @ turned[0], (1.0, 0.0, 0.0))
    lit = OpendrRenderer(_square(), 64, 1).colors(_one(turned, direction=(1.0, 0.0, 0.0)))
    unlit = OpendrRenderer(_square(), 64, 1).colors(_one(turned, direction=(0.0, -1.0, 0.0)))
    assert np.allclose(lit, np.minimum(1.4 * np.array(ALBEDO), 1.0))
    assert np.allclose(unlit, 0.5 * np.array(ALBEDO))


@pytest.mark.usefixtures("opendr")
@pytest.mark.parametrize("name", _lights(1, np.random.default_rng(0)))
def test_opendr_shades_as_the_shared_definition(name: str) -> None:
    rng = np.random.default_rng(1)
    mesh, scenes = _potato(), _scenes(_lights(6, rng)[name], 6, rng)
    expected = np.clip(scenes.shades(mesh)[:, :, None] * scenes.albedos[:, None], 0.0, 1.0)
    assert expected.std() > 0.05
    found = OpendrRenderer(mesh, 8, 1).colors(scenes)
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-12)


@pytest.mark.usefixtures("opendr")
def test_a_lamp_on_a_vertex_leaves_it_unlit() -> None:
    mesh, rotation = _potato(), object_rotation(0.4, 0.5, 0.6)
    # The last vertex is of no face and has no normal.
    mesh = Mesh(np.concatenate([mesh.vertices[:-1], [[0.05, 0.06, 0.07]]]), mesh.faces, "potato")
    lamps = mesh.vertices[[7, -1]] @ rotation[0]
    scenes = Scenes(np.repeat(rotation, 2, 0), np.array([ALBEDO] * 2), np.zeros(2), PointLight(lamps))
    colors = OpendrRenderer(mesh, 8, 1).colors(scenes)
    expected = np.clip(scenes.shades(mesh)[:, :, None] * scenes.albedos[:, None], 0.0, 1.0)
    np.testing.assert_allclose(colors, expected, atol=1e-4)
    np.testing.assert_allclose(colors[[0, 1], [7, -1]], 0.5 * np.array([ALBEDO] * 2), atol=1e-12)


@pytest.mark.usefixtures("opendr")
def test_a_kept_renderer_draws_what_a_new_one_draws() -> None:
    rng = np.random.default_rng(2)
    mesh, kept = _potato(), OpendrRenderer(_potato(), 32, 4)
    scenes = [_scenes(light, 2, rng) for light in _lights(2, rng).values()]
    # One thing at a time changes, so that a forgotten leaf would show; the last is the first again.
    base, other = scenes[0], dataclasses.replace
    scenes += [other(base, albedos=1.0 - base.albedos), other(base, elevations=base.elevations / 2)]
    scenes += [other(base, rotations=base.rotations[::-1]), other(base)]
    drawn = [kept.draw(batch) for batch in scenes]
    assert len({images.tobytes() for images in drawn}) == len(scenes) - 1
    for images, batch in zip(drawn, scenes, strict=True):
        assert np.array_equal(images, opendr_backend.render(mesh, batch, 32, 4))
        assert np.array_equal(images[1:], kept.draw(batch[1:]))


@pytest.mark.usefixtures("opendr")
def test_samples_are_averaged_with_halves_up() -> None:
    rng = np.random.default_rng(3)
    scenes = _scenes(_lights(3, rng)["directional"], 3, rng)
    large = opendr_backend.render(_potato(), scenes, 48, 1).astype(int)
    small = opendr_backend.render(_potato(), scenes, 12, 16)
    total = sum(large[:, row::4, column::4] for row in range(4) for column in range(4))
    assert small.dtype == np.uint8
    assert np.array_equal(small, (total + 8) // 16)
    assert len(np.unique(small)) > 50


def test_mean_of_samples_rounds_halves_up() -> None:
    values = np.zeros((2, 4, 3))
    values[:, :2], values[0, 2:] = [[[1, 1, 255]], [[0, 1, 255]]], [[2, 0, 254], [4, 1, 255]]
    assert opendr_backend._mean_of_samples(values, 2).tolist() == [[[1, 1, 255], [2, 0, 127]]]


@pytest.mark.usefixtures("opendr")
def test_no_scenes_give_no_images() -> None:
    assert opendr_backend.render(_square(), _one()[:0], 16, 1).shape == (0, 16, 16, 3)


@pytest.mark.parametrize(
    ("size", "samples", "expected"),
    [
        (0, 1, "size is 0"),
        (-3, 1, "size is -3"),
        (64, 0, "samples is 0"),
        (64, -4, "samples is -4"),
        (64, 8, "samples is 8; .* 1, 4, 9, 16"),
        (2048, 9, "6144 samples in a row; at most 4096"),
    ],
)
def test_bad_sizes_and_samples_are_refused(size: int, samples: int, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        opendr_backend.render(_square(), _one(), size, samples)


@pytest.mark.usefixtures("opendr")
def test_the_check_of_an_installation_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "libOSMesa" in install_opendr.drawn()["osmesa"]
    draw = OpendrRenderer.draw
    monkeypatch.setattr(OpendrRenderer, "draw", lambda self, scenes: draw(self, scenes)[..., ::-1])
    with pytest.raises(UserError, match="OpenDR draws"):
        install_opendr.drawn()
