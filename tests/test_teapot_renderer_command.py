"""The command `python -m teapot_renderer`."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from teapot_renderer import DirectionalLight, PointLight, Scenes, SphericalHarmonics, light_direction, object_rotation
from teapot_renderer.__main__ import COLOR, _joined, _parser, main, scenes_of
from teapot_renderer.bezier import teapot
from teapot_renderer.obj import read_obj, write_obj
from teapot_renderer.rendering import choose_backend, render

ROOT = Path(__file__).resolve().parents[1]
QUICK = ["--backend", "fast", "--size", "24", "--samples", "1", "--fineness", "3"]


def run_module(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "teapot_renderer", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def scene(*arguments: str) -> Scenes:
    return scenes_of(_parser().parse_args(_joined(arguments)))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_help_teaches() -> None:
    done = run_module("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("--azimuth", "camera", "counted from above", "utah", "teapotModel.pkl", "examples:", "--turn 36"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 125
    # Every example of the help is a command line that is understood.
    examples = [line.split("#")[0].split()[3:] for line in done.stdout.splitlines() if "  python -m teapot" in line]
    assert len(examples) == 7
    for example in examples:
        assert len(scene(*example)) >= 1


def test_help_and_mistakes_are_quick() -> None:
    """Nothing that draws or writes pictures is imported for them."""
    script = (
        "import sys\nfrom teapot_renderer.__main__ import main\nfrom common.errors import UserError\n"
        "try: main(sys.argv[1:])\nexcept (SystemExit, UserError): pass\n"
        "assert not {'numba', 'opendr', 'chumpy', 'cv2', 'scipy', 'PIL', 'tensorflow'} & set(sys.modules)\n"
    )
    for arguments in (["--help"], ["--out", "a.txt"], ["--mesh", "none"]):
        done = subprocess.run([sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()


def test_bad_input_is_one_line_and_code_2(tmp_path: Path) -> None:
    done = run_module("--azimut", "3", "--out", str(tmp_path / "a.png"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: unrecognized arguments: --azimut 3; did you mean '--azimuth' or '--light_azimuth' or '--out'? "
        "(see python -m teapot_renderer --help)\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--azimuth", "north"], "argument --azimuth: 'north' is not a number"),
        (["--azimuth", "nan"], "argument --azimuth: nan is out of range; allowed: -360 to 360"),
        (["--elevation", "-91"], "argument --elevation: -91 is out of range; allowed: -90 to 90"),
        (["--beta", "181"], "allowed: 0 to 180"),
        (["--alpha"], "argument --alpha: expected one argument"),
        (["--azimuth", "1", "--beta", "2"], "--azimuth and --beta exclude each other; give one of them"),
        (["--light", "up", "--light_elevation", "3"], "--light and --light_elevation exclude"),
        (["--point_light", "1,0,0", "--light_azimuth", "3"], "--light_azimuth and --point_light exclude"),
        (["--light", "down"], "argument --light: 'down' is neither up nor AZIMUTH,ELEVATION in degrees"),
        (["--light", "0,-5"], "argument --light: -5 is out of range; allowed: 0 to 180"),
        (["--point_light", "1,2"], "argument --point_light: '1,2' is not 3 numbers with commas between"),
        (["--point_light", "-1,2,11"], "11 is out of range; allowed: -10 to 10"),
        (["--spherical_harmonics", "1,2"], "is not 9 numbers"),
        (["--color", "0.3,0.5,1.1"], "argument --color: 1.1 is out of range; allowed: 0 to 1"),
        (["--color", "red"], "argument --color: 'red' is not 3 numbers"),
        (["--size", "0"], "argument --size: 0 is out of range; allowed: 8 to 2048"),
        (["--size", "64.5"], "argument --size: '64.5' is not a whole number from 8 to 2048"),
        (["--size", "2048", "--samples", "16"], "size 2048 with 16 samples makes 8192 samples in a row; at most 4096"),
        (["--samples", "5"], "argument --samples: 5 is no square number; allowed: 1, 4, 9, 16, ... 256"),
        (["--backend", "slow"], "argument --backend: invalid choice: 'slow'"),
        (["--turn", "1", "--out", "a.gif"], "argument --turn: 1 is out of range; allowed: 2 to 720"),
        (["--turn", "8"], "--turn makes an animation, which teapot.png cannot hold; give --out FILE.gif"),
        (["--turn", "720", "--size", "2048", "--out", "a.gif"], "720 frames of 2048 pixels do not fit into memory"),
        (["--out", "teapot"], "--out teapot: unknown image format; allowed endings: .png, .gif"),
        (["--out", "teapot.mp4"], "--out teapot.mp4: unknown image format"),
        (["--out", "folder.png"], "folder.png is a folder; give the name of a file"),
        (["--save_mesh", "mesh.stl"], "--save_mesh mesh.stl: meshes are written as FILE.obj only"),
        (["--mesh", "uta"], "mesh 'uta' is not known; allowed: utah"),
        (["--mesh", "missing.obj"], "missing.obj: no such file"),
        (["--mesh", "bad.obj"], "bad.obj, line 1: unknown statement 'hello'"),
        (["--mesh", "bad.pkl"], "bad.pkl: refused, because it holds os.system"),
        (
            ["--mesh", "mesh.obj", "--fineness", "3"],
            "--fineness is for patches .*; mesh.obj has its triangles, so leave",
        ),
        (["--up", "y"], "--up is for FILE.obj; where utah has its top is known, so leave it out"),
        (["--mesh", "mesh.obj", "--up", "x"], "argument --up: invalid choice: 'x'"),
        (["--fineness", "101"], "argument --fineness: 101 is out of range; allowed: 1 to 100"),
        (["teapot.png"], "unrecognized arguments: teapot.png"),
    ],
)
def test_bad_flags_are_named(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "bad.obj").write_text("hello\n")
    (tmp_path / "bad.pkl").write_bytes(b"cos\nsystem\n(S'touch FLAG'\ntR.")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message) as caught:
        main([*arguments, *([] if "--backend" in arguments else ["--backend", "fast"])])
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_picture_is_what_the_flags_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "folder" / "pot.png"
    main([*QUICK, "--azimuth", "60", "--elevation", "30", "--color", "1,0.5,0", "--light", "40,70", "--out", str(out)])
    expected = render(
        teapot(3),
        Scenes(
            object_rotation([math.radians(60)], 0.0, 0.0),
            np.array([[1.0, 0.5, 0.0]]),
            np.array([math.radians(30)]),
            DirectionalLight(light_direction(math.radians(40), math.radians(70))),
        ),
        size=24,
        backend="fast",
        samples=1,
    )
    assert np.array_equal(pixels(out), expected[0])
    assert np.ptp(expected) > 100
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        f"{out}: a picture of 24 x 24 pixels, 1 samples each; Utah teapot, fineness 3, 552 triangles\n"
        "drawn by the back-end fast: as asked\n"
    )
    assert [path.name for path in out.parent.iterdir()] == ["pot.png"]


def test_the_default_stands_upright(tmp_path: Path) -> None:
    """Spout in front, handle behind: the outline is symmetric, with the knob above."""
    main(["--backend", "fast", "--size", "64", "--samples", "4", "--out", str(tmp_path / "a.png")])
    seen = pixels(tmp_path / "a.png").min(axis=2) < 200
    rows = np.flatnonzero(seen.any(axis=1))
    widths = seen.sum(axis=1)
    assert np.mean(seen != seen[:, ::-1]) < 0.01
    assert widths[rows[0]] < 10 < 20 < widths[rows[-1] - 2]
    main(["--backend", "fast", "--size", "64", "--azimuth", "90", "--samples", "4", "--out", str(tmp_path / "b.png")])
    beside = pixels(tmp_path / "b.png").min(axis=2) < 200
    columns = np.flatnonzero(beside.any(axis=0))
    # The spout, on the left, ends high; the handle's outermost part, on the right, is a good way below.
    left, right = np.flatnonzero(beside[:, columns[0]]).mean(), np.flatnonzero(beside[:, columns[-1]]).mean()
    assert left + 2 < right
    assert 45 < len(columns) < 62


def test_angles() -> None:
    plain = scene()
    assert len(plain) == 1
    assert np.array_equal(plain.rotations[0], np.eye(3))
    assert plain.elevations.tolist() == [0.0]
    assert plain.albedos.tolist() == [list(COLOR)]
    assert np.array_equal(scene("--azimuth", "70").rotations, scene("--gamma", "70").rotations)
    full = scene("--gamma", "-40", "--beta", "110", "--alpha", "200", "--elevation", "-20")
    assert np.array_equal(full.rotations, object_rotation(*([math.radians(a)] for a in (-40, 110, 200))))
    assert full.elevations.tolist() == [math.radians(-20)]


def test_lights() -> None:
    def direction(*arguments: str) -> list[float]:
        light = scene(*arguments).light
        assert isinstance(light, DirectionalLight)
        return [round(value, 12) + 0.0 for value in light.directions[0].tolist()]

    assert direction() == direction("--light", "up") == [0, 0, 1]
    assert direction("--light", "0,90") == direction("--light_elevation", "90") == [0, -1, 0]
    assert direction("--light", "90,90") == direction("--light_azimuth", "90", "--light_elevation", "90") == [1, 0, 0]
    assert direction("--light", "-90,90") == [-1, 0, 0]
    lamp = scene("--point_light", "-0.5,.25,1e-1").light
    assert isinstance(lamp, PointLight)
    assert lamp.positions.tolist() == [[-0.5, 0.25, 0.1]]
    around = scene("--spherical_harmonics", "-1,2,3,4,5,6,7,8,9").light
    assert isinstance(around, SphericalHarmonics)
    assert around.coefficients.tolist() == [[-1, 2, 3, 4, 5, 6, 7, 8, 9]]


def test_an_animation_turns_once(tmp_path: Path) -> None:
    turning = scene("--gamma", "10", "--beta", "50", "--turn", "4")
    for frame, degrees in enumerate((10, 100, 190, 280)):
        expected = object_rotation([math.radians(degrees)], math.radians(50), 0.0)
        np.testing.assert_allclose(turning.rotations[frame], expected[0], atol=1e-15)
    out = tmp_path / "turn.GIF"
    main([*QUICK, "--turn", "4", "--elevation", "20", "--point_light", "-0.2,-0.3,0.4", "--out", str(out)])
    expected_frames = render(
        teapot(3), scene("--turn", "4", "--elevation", "20", "--point_light", "-0.2,-0.3,0.4"), 24, "fast", 1
    )
    with Image.open(out) as animation:
        assert (animation.format, animation.n_frames) == ("GIF", 4)  # type: ignore[attr-defined]
        assert animation.info["loop"] == 0
        assert animation.info["duration"] == 1000
        for frame, expected_frame in enumerate(expected_frames):
            animation.seek(frame)
            difference = np.abs(np.asarray(animation.convert("RGB")).astype(int) - expected_frame)
            assert difference.mean() < 2, "256 colors are nearly enough"


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jpg", ".JPEG"])
def test_formats(suffix: str, tmp_path: Path) -> None:
    out = tmp_path / f"pot{suffix}"
    main([*QUICK, "--azimuth", "50", "--out", str(out)])
    expected = render(teapot(3), scene("--azimuth", "50"), 24, "fast", 1)[0]
    difference = np.abs(pixels(out).astype(int) - expected)
    if suffix in (".png", ".webp", ".bmp", ".tif", ".tiff"):
        assert difference.max() == 0
    else:
        assert difference.mean() < 4


def test_meshes_are_saved_and_drawn_again(tmp_path: Path) -> None:
    """A saved mesh stands as it was drawn, and is not turned a second time."""
    first, second, mesh = tmp_path / "1.png", tmp_path / "2.png", tmp_path / "mesh.obj"
    quick = QUICK[:-2]
    main([*QUICK, "--azimuth", "30", "--out", str(first), "--save_mesh", str(mesh)])
    assert read_obj(mesh).fingerprint() == teapot(3).fingerprint()
    main([*quick, "--azimuth", "30", "--out", str(second), "--mesh", str(mesh)])
    assert np.array_equal(pixels(first), pixels(second))
    # The same with y up: the file's z axis points to the camera.
    pot = teapot(3)
    x, y, z = pot.vertices.T
    write_obj(type(pot)(np.stack([x, z, -y], axis=1), pot.faces, "y up"), mesh)
    main([*quick, "--azimuth", "30", "--out", str(second), "--mesh", str(mesh), "--up", "y"])
    assert np.array_equal(pixels(first), pixels(second))


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is a file, not a folder; choose another path"):
        main([*QUICK, "--out", str(tmp_path / "file" / "new" / "a.png")])
    with pytest.raises(UserError, match="file is a file, not a folder; choose another path"):
        main([*QUICK, "--out", str(tmp_path / "a.png"), "--save_mesh", str(tmp_path / "file" / "mesh.obj")])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_back_end_is_told_with_the_reason(tmp_path: Path) -> None:
    name, reason = choose_backend("auto")
    quick = QUICK[2:]
    done = run_module(*quick, "--out", str(tmp_path / "a.png"))
    assert done.stderr.splitlines()[-1] == f"drawn by the back-end {name}: {reason}"
    if name == "fast":
        with pytest.raises(UserError, match="OpenDR cannot be used here"):
            main([*quick, "--backend", "opendr", "--out", str(tmp_path / "a.png")])
    main([*quick, "--backend", "fast", "--out", str(tmp_path / "b.png")])
    assert np.abs(pixels(tmp_path / "a.png").astype(int) - pixels(tmp_path / "b.png")).mean() < 0.5


def test_where_it_is_written_by_default(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from teapot_renderer.__main__ import main; main(sys.argv[1:])", *QUICK],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["teapot.png"]
    assert done.stdout == ""
