"""Meshes: the teapot's facts, their bytes on every machine, and files of meshes, whole and damaged."""

from __future__ import annotations

import collections
import math
import pickle
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from teapot_renderer import bezier, obj
from teapot_renderer.bezier import placed, read_patches, teapot, tessellated
from teapot_renderer.mesh import FRAME_RADIUS, Mesh, centered_and_scaled, quarter_turned
from teapot_renderer.meshes import load_mesh
from teapot_renderer.obj import read_obj, write_obj
from teapot_renderer.scene import CAMERA_DISTANCE, FOCAL_LENGTH
from teapot_renderer.shape_model import read_teapot_model

_SIDES = ([0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3])
CUBE = Mesh(
    np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)]),
    np.array([corners for a, b, c, d in _SIDES for corners in ([a, b, c], [a, c, d])], np.int32),
    "cube",
)
FLAT = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0), [0.0], indexing="ij"), axis=-1)[:, :, 0][None]
"""One patch in the plane, three units wide."""


def edges(faces: np.ndarray) -> collections.Counter[tuple[int, int]]:
    """How often each edge is gone along, by direction."""
    return collections.Counter(
        (a, b) for face in faces.tolist() for a, b in zip(face, face[1:] + face[:1], strict=True)
    )


@pytest.mark.parametrize("fineness", [1, 2, 5, 7, 10, 16])
def test_sizes_of_the_teapot(fineness: int) -> None:
    mesh = teapot(fineness)
    assert len(mesh.faces) == 64 * fineness**2 - 8 * fineness
    assert len(mesh.vertices) == 32 * fineness**2 + 4 * fineness + 1
    assert len(np.unique(mesh.faces)) == len(mesh.vertices)
    assert mesh.name == f"Utah teapot, fineness {fineness}"


def test_published_sizes() -> None:
    assert {n: (len(teapot(n).faces), len(teapot(n).vertices)) for n in (7, 10, 16)} == {
        7: (3080, 1597),
        10: (6320, 3241),
        16: (16256, 8257),
    }


def test_the_bytes_are_the_same_on_every_machine() -> None:
    assert teapot().fingerprint() == "6cd9bbb06f672c3c2459b2448fbcc2d9d7a4ef253e3b2dd31ee69870b98a75e7"


@pytest.mark.parametrize("fineness", [1, 3, 10])
def test_every_vertex_is_on_the_surface(fineness: int) -> None:
    """Against de Casteljau's construction in fractions: not one vertex is off by more than rounding."""
    patches = read_patches(bezier.NEWELL)
    vertices, _ = tessellated(patches, fineness)
    found = {tuple(vertex) for vertex in vertices.tolist()}

    def along(points: list[Any], t: Fraction) -> Any:
        while len(points) > 1:
            points = [[(1 - t) * a + t * b for a, b in zip(p, q, strict=True)] for p, q in zip(points, points[1:])]  # noqa: B905, RUF007
        return points[0]

    for patch in patches[[0, 13, 18, 20, 31]]:
        exact = [[[Fraction(repr(value)) for value in point] for point in row] for row in patch.tolist()]
        for i, j in {(0, 0), (0, fineness), (fineness // 2, 1), (fineness, fineness // 3)}:
            rows = [along(row, Fraction(j, fineness)) for row in exact]
            point = along(rows, Fraction(i, fineness))
            nearest = min(math.dist(vertex, [float(value) for value in point]) for vertex in found)
            assert nearest < 1e-15


def test_the_surface_is_closed_but_for_the_rims() -> None:
    mesh = teapot()
    directed = edges(mesh.faces)
    assert set(directed.values()) == {1}, "two triangles go along an edge in the same direction"
    open_edges = [edge for edge in directed if edge[::-1] not in directed]
    shared = len(directed) - len(open_edges)
    assert (len(open_edges), shared) == (160, 2 * 9400)
    # Open are the rims of body, lid and spout at one height, and where spout and handle stick in the body.
    natural, _ = tessellated(read_patches(bezier.NEWELL), 10)
    middles = natural[np.array(open_edges)].mean(axis=1)
    rim = np.abs(middles[:, 2] - 2.4) < 1e-9
    assert rim.sum() == 100
    assert (np.hypot(middles[~rim, 0], middles[~rim, 1]) > 1.4).all()
    corners = mesh.vertices[mesh.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert np.linalg.norm(across, axis=1).min() > 0.0


@pytest.mark.parametrize("fineness", [2, 10])
def test_faces_wind_outward(fineness: int) -> None:
    mesh = teapot(fineness)
    x, y, z = mesh.vertices.T
    assert (mesh.normals[z > z.max() - 1e-3][:, 2] > 0.3).all(), "the lid's knob looks up"
    assert (mesh.normals[z < z.min() + 1e-6][:, 2] < -0.9).all(), "the bottom looks down"
    assert mesh.normals[np.argmax(x), 0] > 0.7
    assert mesh.normals[np.argmin(x), 0] < -0.7
    assert mesh.normals[np.argmax(y), 1] > 0.7, "the handle's outermost point looks away from the body"
    assert np.allclose(np.linalg.norm(mesh.normals, axis=1), 1.0)
    spout = np.flatnonzero(y < -0.09)
    assert mesh.normals[spout[np.argmax(x[spout])], 0] > 0.7
    assert mesh.normals[spout[np.argmin(x[spout])], 0] < -0.7


def test_how_the_teapot_stands() -> None:
    """Upright; at azimuth 0 the spout points to the camera, which stands at negative y, and left is like right."""
    mesh = teapot()
    x, y, z = mesh.vertices.T
    spout, handle, knob = mesh.vertices[np.argmin(y)], mesh.vertices[np.argmax(y)], mesh.vertices[np.argmax(z)]
    assert spout[2] > 0.02, "the spout ends high"
    assert abs(handle[2]) < 0.04, "the handle's outermost point is half way up"
    assert math.hypot(knob[0], knob[1]) < 0.025
    mirrored = {(-a, b, c) for a, b, c in np.round(mesh.vertices, 12).tolist()}
    assert mirrored == set(map(tuple, np.round(mesh.vertices, 12).tolist()))
    assert np.ptp(z) < np.ptp(x) < np.ptp(y)


def test_the_middle_and_the_frame() -> None:
    mesh = teapot()
    assert np.abs(mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)).max() < 1e-15
    assert mesh.radius == pytest.approx(FRAME_RADIUS, rel=1e-15)

    def reach(radius: float) -> float:
        """How far from the middle a sphere of this radius is seen, in image sides."""
        return FOCAL_LENGTH * radius / math.sqrt(CAMERA_DISTANCE**2 - radius**2)

    # What the constant's reason says, in pixels of an image of 64.
    assert reach(0.1457) * 64 == pytest.approx(32, abs=0.02)
    assert 1 < 32 - reach(0.14) * 64 < 2
    assert 3.5 < 32 - reach(FRAME_RADIUS) * 64 < 4


def test_normals_are_the_same_on_every_machine() -> None:
    """Bitwise what plain arithmetic in one order gives: additions, multiplications, roots, divisions."""
    mesh = teapot(3)
    vertices, faces = mesh.vertices.tolist(), mesh.faces.tolist()
    across = []
    for a, b, c in faces:
        u = [q - p for p, q in zip(vertices[a], vertices[b], strict=True)]
        v = [q - p for p, q in zip(vertices[a], vertices[c], strict=True)]
        across.append([u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]])
    total = [[0.0, 0.0, 0.0] for _ in vertices]
    for corner in range(3):
        for face, vector in zip(faces, across, strict=True):
            total[face[corner]] = [p + q for p, q in zip(total[face[corner]], vector, strict=True)]
    expected = [[value / math.sqrt(x * x + y * y + z * z) for value in (x, y, z)] for x, y, z in total]
    assert np.array_equal(mesh.normals, np.array(expected))


def test_bad_fineness() -> None:
    with pytest.raises(ValueError, match="150 patches of fineness 100 make 3,000,000 triangles; give a fineness that"):
        tessellated(np.random.default_rng(0).normal(size=(150, 4, 4, 3)), 100)
    for fineness in (0, -1, 101):
        with pytest.raises(ValueError, match=f"fineness is {fineness}; give a whole number from 1 to 100"):
            teapot(fineness)
    with pytest.raises(TypeError):
        teapot(2.5)  # type: ignore[arg-type]


def test_the_finest_teapot_does_not_overflow() -> None:
    patches = read_patches(bezier.NEWELL)[:1] * (3.9 / 1.5)
    vertices, _ = tessellated(patches, 100)
    corners = patches[0][[0, 0, 3, 3], [0, 3, 0, 3]]
    assert all(np.abs(vertices - corner).max(axis=1).min() < 1e-6 for corner in corners)


def test_patches_are_welded_where_they_meet() -> None:
    beside = FLAT + np.array([3.0, 0.0, 0.0])
    vertices, faces = tessellated(np.concatenate([FLAT, beside]), 4)
    assert (len(vertices), len(faces)) == (9 * 5, 64)
    assert np.array_equal(vertices[:, 2], np.zeros(45))
    assert set(edges(faces).values()) == {1}


@pytest.mark.parametrize("flip", [False, True])
def test_winding_does_not_depend_on_the_order_of_points(flip: bool) -> None:
    patches = read_patches(bezier.NEWELL)
    mesh = placed(patches.transpose(0, 2, 1, 3) if flip else patches, 4, "pot")
    assert mesh.normals[np.argmax(mesh.vertices[:, 2]), 2] > 0.3


@pytest.mark.parametrize(
    ("patches", "why"),
    [
        (np.zeros((1, 4, 4, 3)), "the largest coordinate is 0.0"),
        (np.full((1, 4, 4, 3), 1.0), "no area"),
        (np.full((1, 4, 4, 3), np.nan), "finite numbers"),
        (np.full((1, 4, 4, 3), 1e9), "expected one from 1e-6 to 4,000,000"),
        (np.zeros((0, 4, 4, 3)), r"shape \(0, 4, 4, 3\)"),
        (np.zeros((4, 4, 3)), r"shape \(4, 4, 3\)"),
    ],
)
def test_bad_patches(patches: np.ndarray, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        tessellated(patches, 2)


def test_newell_is_the_published_file(raw_dir: Path) -> None:
    published = raw_dir / "teapot" / "teapotCGA.bpt"
    assert np.array_equal(read_patches(published), read_patches(bezier.NEWELL))
    assert load_mesh(published).fingerprint() == teapot().fingerprint()


PATCH = "1\n3 3\n" + "".join(f"{i} {j} {i * j}\n" for i in range(4) for j in range(4))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no patches; expected"),
        ("# only remarks\n", "no patches"),
        ("one\n", "line 1: 'one' is no number of patches"),
        ("0\n", "line 1: '0' is no number"),
        ("99999999999\n", "is no number of patches"),
        ("-1\n", "is no number of patches"),
        ("\x00\x01\x02", r"'\\x00\\x01\\x02' is no number"),
        (PATCH.replace("1\n3 3", "2\n3 3", 1), "17 lines for 2 patches, not 34"),
        (PATCH + "1 2 3\n", "18 lines for 1 patches, not 17"),
        (PATCH.replace("3 3\n", "2 3\n", 1), "line 2: '2 3' are not the degrees 3 3"),
        (PATCH.replace("0 1 0", "0 x 0"), "line 4: '0 x 0' is no point"),
        (PATCH.replace("0 1 0", "0 1"), "line 4: '0 1' is no point"),
        (PATCH.replace("0 1 0", "0 nan 0"), "is no point"),
        (PATCH.replace("0 1 0", "0 inf 0"), "is no point"),
        (PATCH.replace("0 1 0", "0 1_0 0"), "is no point"),
    ],
)
def test_damaged_patch_files(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.bpt"
    path.write_text(text)
    with pytest.raises(UserError, match=why) as caught:
        read_patches(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_whole_patch_files(tmp_path: Path) -> None:
    path = tmp_path / "good.bpt"
    for text in (
        PATCH,
        "# a remark\r\n\r\n" + PATCH.replace("\n", "\r\n"),
        PATCH.replace("3 3\n", "3 3   # degrees\n"),
    ):
        path.write_bytes(text.encode())
        patches = read_patches(path)
        assert patches.shape == (1, 4, 4, 3)
        assert patches[0, 2, 3].tolist() == [2.0, 3.0, 6.0]


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


@pytest.mark.parametrize(
    "faces",
    [
        "f 1 2 3 4\n",
        "f 1/1 2/2 3/3 4/1\n",
        "f 1//1 2//1 3//1 4//1\n",
        "f 1/1/1 2/2/1 3/3/1 4/1/1\n",
        "f -4 -3 -2 -1\n",
        "f -4/-4/-1 2//1 -2 4\n",
        "f 1 2 \\\n 3\\\n4\n",
        "f 1 2 \\ # goes on\n 3 4\n",
        "f 1 2 3\nf 1 3 4",
        "# f 9 9 9\nf 1 2 3 4 # a remark \\\n",
        "mtllib a b.mtl\no part 1\ng\nusemtl red\ns off\nvt 0 0\nvn 0 0 1\nvp 0\nl 1 2\np 1\nf 1 2 3 4\n",
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_ways_to_write_a_square(faces: str, line_end: str, tmp_path: Path) -> None:
    mesh = read_obj(write(tmp_path / "square.obj", (SQUARE + faces).replace("\n", line_end)))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert mesh.name == "square.obj"


def test_more_of_the_format(tmp_path: Path) -> None:
    path = tmp_path / "a.obj"
    # Faces first, weights and colors at the vertices, a remark in another encoding, many corners.
    text = b"f 1 2 3\n# \xe9\nv 1e0 +.5 -2. 1.0\nv 0 1 0 .1 .2 .3\nv 0 0 1 1 .1 .2 .3\n"
    assert read_obj(write(path, text)).vertices.tolist() == [[1, 0.5, -2], [0, 1, 0], [0, 0, 1]]
    ring = "".join(f"v {math.cos(i)} {math.sin(i)} 0\n" for i in range(9)) + "f 1 2 3 4 5 6 7 8 9\n"
    assert read_obj(write(path, ring)).faces.tolist() == [[0, i, i + 1] for i in range(1, 8)]


def test_y_up(tmp_path: Path) -> None:
    path = write(tmp_path / "a.obj", "v 1 2 3\nv 0 1 0\nv 0 0 1\nf 1 2 3\n")
    assert read_obj(path, up="y").vertices.tolist() == [[1, -3, 2], [0, 0, 1], [0, -1, 0]]
    with pytest.raises(ValueError, match="up is 'x'; allowed: z, y"):
        read_obj(path, up="x")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", ": no faces; expected a polygon mesh in the OBJ format"),
        ("v 0 0 0\n", ": no faces"),
        (SQUARE + "f 1 2\n", "line 5: 'f 1 2' has 2 corners; a face has at least 3"),
        (SQUARE + "f\n", "has 0 corners"),
        (SQUARE + "f 1 2 5\n", "line 5: a face names vertex 5, but there are 4; the file may be cut off"),
        (SQUARE + "f 1 2 3\nf 1 2 999999999999\n", "line 6: a face names vertex 999,999,999,999, but there are 4"),
        (SQUARE + "f 0 1 2\n", "line 5: '0' is no corner; expected v, v/vt, v//vn or v/vt/vn, counted from 1"),
        (SQUARE + "f 1 2 -5\n", "line 5: -5 counts back beyond the 4 vertices before it"),
        (SQUARE + "f 1 2 3.0\n", "'3.0' is no corner"),
        (SQUARE + "f 1 2 3/\n", "'3/' is no corner"),
        (SQUARE + "f 1 2 3/1/1/1\n", "'3/1/1/1' is no corner"),
        (SQUARE + "f 1 2 3/x\n", "'3/x' is no corner"),
        (SQUARE + "f 1 2 9999999999999\n", "'9999999999999' is no corner"),
        (SQUARE + "f 1 2 \u0663\n", "is no corner"),
        ("v 0 0\nf 1 1 1\n", "line 1: 'v 0 0' is no vertex; expected v and three finite numbers"),
        ("v 0 0 x\n", "line 1: 'v 0 0 x' is no vertex"),
        ("v 0 0 nan\n", "is no vertex"),
        ("v 0 0 1e999\n", "is no vertex"),
        ("v 0 0 0 0 0\n", "is no vertex"),
        ("v 0 0 1e31\n", "lies too far out; coordinates of up to 1e\\+30 are read"),
        ("v 0 0 0\nvertex 1 2 3\n", "line 2: unknown statement 'vertex 1 2 3'"),
        ("\nv 0 \\\n0 \\\n\nx\n", "line 2: 'v 0 0' is no vertex"),
        ("curv 1 2 3\n", "unknown statement 'curv 1 2 3'"),
        (b"\x7fELF\x02\x01\x00\xff\xfe", "line 1: unknown statement '.x7fELF"),
        ("solid teapot\nfacet normal 0 0 1\n", "unknown statement 'solid teapot'"),
        ("x" * 1000, r"unknown statement 'x{40}\.\.\.'"),
    ],
)
def test_damaged_meshes(text: str | bytes, why: str, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.obj", text)
    with pytest.raises(UserError, match=why) as caught:
        read_obj(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_too_many_elements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "large.obj", SQUARE + "f 1 2 3 4\n")
    monkeypatch.setattr(obj, "MAX_ELEMENTS", 3)
    with pytest.raises(UserError, match="line 4: more than 3 vertices; give a coarser mesh"):
        read_obj(path)
    monkeypatch.setattr(obj, "MAX_ELEMENTS", 4)
    assert len(read_obj(path).faces) == 2
    write(path, SQUARE + "f 1 2 3 4 1 2 3\n")
    with pytest.raises(UserError, match="line 5: more than 4 triangles"):
        read_obj(path)
    monkeypatch.setattr("teapot_renderer.text_files.MAX_BYTES", 10)
    with pytest.raises(UserError, match="larger than"):
        read_obj(path)


_WORDS = [
    "v",
    "f",
    "vt",
    "#",
    "\\",
    "1",
    "-1",
    "0",
    "2",
    "1/2",
    "nan",
    "1e400",
    "\n",
    "\r\n",
    "x",
    "\x00",
    "\u0663",
    "é",
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(_WORDS), max_size=20))
def test_any_text_ends_in_a_mesh_or_a_user_error(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    path = write(tmp_path_factory.getbasetemp() / "any.obj", SQUARE + " ".join(words))
    try:
        mesh = read_obj(path)
    except UserError:
        return
    assert len(mesh.faces)


@pytest.mark.parametrize("mesh", [CUBE, teapot(3)], ids=["cube", "teapot"])
def test_what_is_written_is_read_again(mesh: Mesh, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "mesh.obj"
    write_obj(mesh, path)
    again = read_obj(path)
    assert again.fingerprint() == mesh.fingerprint()
    assert mesh.name in path.read_text().splitlines()[0]
    assert [file.name for file in path.parent.iterdir()] == ["mesh.obj"]


def test_a_name_of_two_lines_is_written_as_one(tmp_path: Path) -> None:
    write_obj(Mesh(CUBE.vertices, CUBE.faces, "a\nv 1 2 3"), tmp_path / "a.obj")
    assert read_obj(tmp_path / "a.obj").fingerprint() == CUBE.fingerprint()


def test_centering() -> None:
    moved = Mesh(CUBE.vertices * 1e-9 + np.array([5.0, -7.0, 1e3]), CUBE.faces, "far cube")
    for mesh, tolerance in ((CUBE, 1e-15), (moved, 1e-4)):
        found = centered_and_scaled(mesh)
        assert found.name == mesh.name
        assert found.radius == pytest.approx(FRAME_RADIUS)
        side = 2 * FRAME_RADIUS / math.sqrt(3)
        np.testing.assert_allclose(found.vertices, (CUBE.vertices - 0.5) * side, atol=tolerance)


@pytest.mark.parametrize("scale", [1e-160, 1e160, 1e-300])
def test_centering_does_not_leave_the_range_of_numbers(scale: float) -> None:
    found = centered_and_scaled(Mesh(CUBE.vertices * scale, CUBE.faces, "cube"))
    np.testing.assert_allclose(found.vertices, centered_and_scaled(CUBE).vertices, atol=1e-15)


def test_vertices_that_nobody_sees_are_dropped() -> None:
    lonely = np.array([[50.0, 0.0, 0.0]])
    mesh = Mesh(np.concatenate([lonely, CUBE.vertices, lonely]), CUBE.faces + 1, "cube")
    assert centered_and_scaled(mesh).fingerprint() == centered_and_scaled(CUBE).fingerprint()


def test_a_point_cannot_be_scaled() -> None:
    with pytest.raises(ValueError, match=r"spans 0.0 in its longest direction"):
        centered_and_scaled(Mesh(np.ones((3, 3)), np.array([[0, 1, 2]], np.int32), "point"))


def test_a_quarter_turn_is_exact() -> None:
    turned = quarter_turned(CUBE)
    assert turned.vertices.tolist() == [[y, -x, z] for x, y, z in CUBE.vertices.tolist()]
    # Column convention, as the generator of the published data writes it.
    c, s = round(math.cos(-math.pi / 2)), round(math.sin(-math.pi / 2))
    assert np.array_equal(turned.vertices, (np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ CUBE.vertices.T).T)


def model(**changes: Any) -> dict[str, Any]:
    """A miniature of the published shape model: eight vertices over five landmarks."""
    rng = np.random.default_rng(5)
    parts: dict[str, Any] = {
        "faces": CUBE.faces.astype(np.int64),
        "ppcaB": rng.normal(size=15),
        "ppcaW": rng.normal(size=(15, 10)),
        "meshLinearTransform": rng.normal(size=(8, 5)),
        "N": {"a set, which is not read, in a part that is not wanted"},
    }
    return {key: value for key, value in (parts | changes).items() if value is not None}


def save(path: Path, parts: dict[str, Any]) -> Path:
    path.write_bytes(pickle.dumps(parts, 2))
    return path


def test_the_published_model(tmp_path: Path) -> None:
    parts = model()
    mesh = read_teapot_model(save(tmp_path / "teapotModel.pkl", parts))
    plain = parts["meshLinearTransform"] @ parts["ppcaB"].reshape(5, 3)
    turn = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turned = (turn @ plain.T).T
    np.testing.assert_allclose(mesh.vertices, (turned - turned.mean(axis=0)) * 0.09, atol=1e-16)
    assert np.array_equal(mesh.faces, CUBE.faces)
    assert mesh.name == "published teapot model"
    assert load_mesh(tmp_path / "teapotModel.pkl").fingerprint() == mesh.fingerprint()
    column = save(tmp_path / "column.pkl", model(ppcaB=parts["ppcaB"][:, None], faces=CUBE.faces.astype(np.uint16)))
    assert read_teapot_model(column).fingerprint() == mesh.fingerprint()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"faces": None}, "lacks the entries faces; there are ppcaB, ppcaW, meshLinearTransform, N"),
        ({"faces": None, "ppcaB": None}, "lacks the entries ppcaB, faces"),
        ({"faces": CUBE.faces.astype(float)}, "faces is float64; expected an array of whole numbers"),
        ({"faces": CUBE.faces.tolist()}, "faces is list; expected an array"),
        ({"faces": CUBE.faces + 1}, "faces name vertices 1 to 8; there are 0 to 7; this is no teapot model"),
        ({"faces": CUBE.faces - 1}, "faces name vertices -1 to 6"),
        ({"faces": CUBE.faces.ravel()}, r"shape \(36,\)"),
        ({"ppcaB": np.zeros(14)}, r"meshLinearTransform has shape \(8, 5\) and ppcaB 14 numbers"),
        ({"ppcaB": np.array(["x"] * 15)}, "ppcaB is <U1; expected an array of numbers"),
        ({"ppcaB": np.full(15, np.nan)}, "finite numbers"),
        ({"meshLinearTransform": np.zeros(40)}, r"has shape \(40,\)"),
        ({"meshLinearTransform": np.zeros((0, 5))}, r"has shape \(0, 5\)"),
        ({"meshLinearTransform": {1}}, "refused, because it holds"),
    ],
)
def test_damaged_models(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    path = save(tmp_path / "bad.pkl", model(**changes))
    with pytest.raises(UserError, match=why) as caught:
        read_teapot_model(path)
    assert str(caught.value).startswith(str(path))


def test_names_of_meshes(tmp_path: Path) -> None:
    write_obj(CUBE, tmp_path / "cube.OBJ")
    write(tmp_path / "bad.obj", "v 1 1 1\nf 1 1 1\n")
    assert load_mesh("utah").fingerprint() == teapot().fingerprint()
    assert load_mesh("utah", 3).fingerprint() == teapot(3).fingerprint()
    assert load_mesh(bezier.NEWELL, 3).fingerprint() == teapot(3).fingerprint()
    assert load_mesh(bezier.NEWELL, 3).name == "newell.bpt, fineness 3"
    assert load_mesh(str(tmp_path / "cube.OBJ")).fingerprint() == centered_and_scaled(CUBE).fingerprint()
    bad = {
        "uta": "mesh 'uta' is not known; allowed: utah .*, FILE.obj .*, FILE.bpt .*, FILE.pkl",
        "": "mesh '' is not known",
        "teapot.stl": "is not known",
        "missing.obj": "missing.obj: no such file",
        "missing.bpt": "missing.bpt: no such file",
        "missing.pkl": "missing.pkl: no such file",
        str(tmp_path / "bad.obj"): "bad.obj: the mesh spans 0.0",
    }
    for spec, why in bad.items():
        with pytest.raises(UserError, match=why):
            load_mesh(spec)
    with pytest.raises(UserError, match="mesh utah: fineness is 0; give"):
        load_mesh("utah", 0)
    with pytest.raises(UserError, match="up is 'x'; allowed: z, y"):
        load_mesh(tmp_path / "cube.OBJ", up="x")


def test_the_meshes_that_people_use(raw_dir: Path, tmp_path: Path) -> None:
    """Two well-known OBJ files, y up: their spouts point to the right, as the files have them."""
    folder = raw_dir / "teapot"
    with zipfile.ZipFile(folder / "teapot_mcguire.zip") as archive:
        archive.extract("teapot.obj", tmp_path)
    for path, triangles in ((folder / "teapot_jacobson.obj", 6320), (tmp_path / "teapot.obj", 15704)):
        mesh = load_mesh(path, up="y")
        assert len(mesh.faces) == triangles
        assert mesh.radius == pytest.approx(FRAME_RADIUS)
        knob, tip = mesh.vertices[np.argmax(mesh.vertices[:, 2])], mesh.vertices[np.argmax(mesh.vertices[:, 0])]
        assert abs(knob[0]) < 0.03
        assert tip[2] > 0.02
        assert mesh.normals[np.argmax(mesh.vertices[:, 2]), 2] > 0.3
        write_obj(mesh, tmp_path / "again.obj")
        assert read_obj(tmp_path / "again.obj").fingerprint() == mesh.fingerprint()
