"""Draws a picture or an animation: `python -m teapot_renderer`."""

from __future__ import annotations

import argparse
import io
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.arguments import CommandParser
from common.errors import UserError, run_command
from common.files import write_bytes
from common.output import say
from teapot_renderer.bezier import FINENESS, MAX_FINENESS
from teapot_renderer.meshes import ALLOWED, UTAH, kind_of, load_mesh
from teapot_renderer.obj import UPS, write_obj
from teapot_renderer.rendering import BACKENDS, MAX_SAMPLES, choose_backend, render
from teapot_renderer.scene import (
    DirectionalLight,
    Light,
    PointLight,
    Scenes,
    SphericalHarmonics,
    light_direction,
    object_rotation,
)

COLOR = (0.3, 0.5, 0.9)
"""The color of the published teapots in the variants where it is fixed."""
_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".gif": ("GIF", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {}),
    ".tiff": ("TIFF", {}),
}
_MAX_SIZE = 2048
_MAX_FRAMES = 720
_MAX_PIXELS = 1 << 27
"""Of all frames together: they lie in memory before they are written."""
_TURN_MILLISECONDS = 4000

_TEACHING = """\
angles, all in degrees:
  At azimuth 0 and elevation 0 the teapot stands upright, its spout points to the camera. --azimuth turns the object
  about its vertical axis (at 90 the spout points left, at 180 away, at 270 right); --elevation lifts the camera,
  which goes on looking at the object (at 90 it looks straight down). These are the first two factors of the data set
  with all colors. Its other two variants let the object take any attitude: --gamma turns it about its own axis as
  --azimuth does, --beta tilts that axis, --alpha says to which side.
  A light's azimuth is 0 on the camera's side and 90 on the right; its elevation is counted from above: 0 is straight
  above, 90 level with the object, 180 below. Lights stay where they are while the object turns.

meshes:
  utah        the Utah teapot, cut as finely as --fineness says
  FILE.obj    a polygon mesh; it is moved to the middle and scaled into the frame, but not turned
  FILE.bpt    bicubic Bezier patches in the format of the teapot's
  FILE.pkl    teapotModel.pkl, the mesh of the published teapots; nothing in the file is run

examples:
  python -m teapot_renderer --azimuth 60 --elevation 30
  python -m teapot_renderer --gamma 40 --beta 110 --alpha 200 --light 90,45 --size 64     # as in the data set
  python -m teapot_renderer --azimuth 30 --elevation 20 --turn 36 --out turning.gif
  python -m teapot_renderer --color 0.9,0.4,0.2 --point_light 0.3,-0.4,0.3 --out red.jpg
  python -m teapot_renderer --spherical_harmonics 2.5,0.4,0.9,-0.6,0,0,0,0,0
  python -m teapot_renderer --mesh bunny.obj --up y --out bunny.png
  python -m teapot_renderer --fineness 30 --save_mesh teapot.obj

What is not the picture goes to standard error. Exit code 0 is success, 2 is bad input.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws what the command line describes, and writes it.

    Args:
        arguments: the command line. Default: that of this process.

    Raises:
        UserError: for bad flags and files.
    """
    flags = _parser().parse_args(_joined(arguments))
    _check(flags)
    scenes = scenes_of(flags)
    mesh = load_mesh(flags.mesh, flags.fineness or FINENESS, flags.up or UPS[0])
    backend, reason = choose_backend(flags.backend)
    try:
        frames = render(mesh, scenes, size=flags.size, backend=backend, samples=flags.samples)
    except ValueError as error:
        raise UserError(str(error)) from None
    content = f"{mesh.name}, {len(mesh.faces):,} triangles"
    if flags.save_mesh:
        write_obj(mesh, flags.save_mesh)
        say(f"{flags.save_mesh}: {content}")
    write_bytes(flags.out, encoded(frames, flags.out.suffix.lower()))
    pictures = f"{len(frames)} frames" if flags.turn else "a picture"
    say(f"{flags.out}: {pictures} of {flags.size} x {flags.size} pixels, {flags.samples} samples each; {content}")
    say(f"drawn by the back-end {backend}: {reason}")


def scenes_of(flags: argparse.Namespace) -> Scenes:
    """The scene that flags describe, or one for each frame of a full turn."""
    count = flags.turn or 1
    gamma = flags.azimuth if flags.azimuth is not None else flags.gamma or 0.0
    turned = np.radians(gamma + 360.0 * np.arange(count) / count)
    rotations = object_rotation(turned, math.radians(flags.beta or 0.0), math.radians(flags.alpha or 0.0))
    albedos = np.tile(np.array(flags.color, np.float64), (count, 1))
    elevations = np.full(count, math.radians(flags.elevation))
    return Scenes(rotations, albedos, elevations, _light(flags, count))


def _light(flags: argparse.Namespace, count: int) -> Light:
    if flags.point_light is not None:
        return PointLight(np.tile(np.array(flags.point_light), (count, 1)))
    if flags.spherical_harmonics is not None:
        return SphericalHarmonics(np.tile(np.array(flags.spherical_harmonics), (count, 1)))
    azimuth, elevation = flags.light or (flags.light_azimuth or 0.0, flags.light_elevation or 0.0)
    return DirectionalLight(np.tile(light_direction(math.radians(azimuth), math.radians(elevation)), (count, 1)))


def encoded(frames: NDArray[np.uint8], suffix: str) -> bytes:
    """Images as the bytes of one image file.

    Args:
        frames: uint8 of shape (n, height, width, 3); n above 1 is an animation, for `.gif` only.
        suffix: of the file, in small letters, which says the format.
    """
    from PIL import Image

    kind, options = _FORMATS[suffix]
    pictures = [Image.fromarray(frame) for frame in frames]
    if kind == "GIF":
        # One palette for all frames, or the colors would flicker.
        palette = Image.fromarray(frames.reshape(-1, *frames.shape[2:])).quantize(256, Image.Quantize.MEDIANCUT)
        pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    if len(pictures) > 1:
        duration = max(20, round(_TURN_MILLISECONDS / len(pictures)))
        options = {"save_all": True, "append_images": pictures[1:], "duration": duration, "loop": 0}
    buffer = io.BytesIO()
    pictures[0].save(buffer, kind, **options)
    return buffer.getvalue()


def _check(flags: argparse.Namespace) -> None:
    """Refuses what no single flag can know."""
    _one_of(flags, ("azimuth",), ("gamma", "beta", "alpha"))
    _one_of(flags, ("light",), ("light_azimuth", "light_elevation"), ("point_light",), ("spherical_harmonics",))
    kind = kind_of(flags.mesh)
    if flags.fineness is not None and kind in (".obj", ".pkl"):
        raise UserError(f"--fineness is for patches (utah, FILE.bpt); {flags.mesh} has its triangles, so leave it out")
    if flags.up is not None and kind != ".obj":
        raise UserError(f"--up is for FILE.obj; where {flags.mesh} has its top is known, so leave it out")
    if flags.out.suffix.lower() not in _FORMATS:
        raise UserError(f"--out {flags.out}: unknown image format; allowed endings: {', '.join(_FORMATS)}")
    if flags.turn and flags.out.suffix.lower() != ".gif":
        raise UserError(f"--turn makes an animation, which {flags.out} cannot hold; give --out FILE.gif")
    if flags.save_mesh and flags.save_mesh.suffix.lower() != ".obj":
        raise UserError(f"--save_mesh {flags.save_mesh}: meshes are written as FILE.obj only")
    for path in (flags.out, flags.save_mesh):
        if path is not None:
            _check_place(path)
    if (flags.turn or 1) * flags.size**2 > _MAX_PIXELS:
        raise UserError(
            f"{flags.turn} frames of {flags.size} pixels do not fit into memory; give fewer or smaller ones"
        )


def _check_place(path: Path) -> None:
    """Refuses a file that cannot be written there before anything is drawn."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the name of a file")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UserError(f"{path}: {above} is a file, not a folder; choose another path")


def _one_of(flags: argparse.Namespace, *ways: tuple[str, ...]) -> None:
    """Refuses flags that say the same thing in two ways."""
    given = [[name for name in way if getattr(flags, name) is not None] for way in ways]
    used = [names for names in given if names]
    if len(used) > 1:
        raise UserError(f"--{used[0][0]} and --{used[1][0]} exclude each other; give one of them")


def _joined(arguments: Sequence[str] | None) -> list[str] | None:
    """Joins an option with a value that begins with a minus: argparse would take `-1,0,0` for an option."""
    if arguments is None:
        import sys

        arguments = sys.argv[1:]
    words: list[str] = []
    for word in arguments:
        before = words[-1] if words else ""
        if re.match(r"-[.0-9]", word) and before.startswith("--") and "=" not in before:
            words[-1] = f"{before}={word}"
        else:
            words.append(word)
    return words


def _parser() -> CommandParser:
    parser = CommandParser(
        "python -m teapot_renderer",
        "Draws the Utah teapot, or another mesh, as the 3D Teapot data set shows its own: one object, one light, a\n"
        "white background. No data set is needed.",
        _TEACHING,
    )
    view = parser.add_argument_group("view")
    circle = _degrees(-360.0, 360.0)
    view.add_argument("--azimuth", metavar="A", type=circle, help="turn of the object about the vertical (default: 0)")
    view.add_argument(
        "--elevation", metavar="E", type=_degrees(-90.0, 90.0), default=0.0, help="of the camera (default: 0, level)"
    )
    view.add_argument("--gamma", metavar="A", type=circle, help="turn of the object about its own axis (default: 0)")
    view.add_argument("--beta", metavar="A", type=_degrees(0.0, 180.0), help="tilt of that axis (default: 0)")
    view.add_argument("--alpha", metavar="A", type=circle, help="to which side it is tilted (default: 0)")
    view.add_argument(
        "--turn",
        metavar="N",
        type=_whole(2, _MAX_FRAMES),
        help="draw N frames of a full turn of the object; needs a .gif",
    )
    light = parser.add_argument_group("light and color")
    light.add_argument(
        "--light", metavar="up|A,E", type=_light_angles, help="far away: azimuth, elevation (default: up)"
    )
    light.add_argument("--light_azimuth", metavar="A", type=circle, help="the same, one by one (default: 0)")
    light.add_argument("--light_elevation", metavar="E", type=_degrees(0.0, 180.0), help="(default: 0, straight above)")
    light.add_argument(
        "--point_light",
        metavar="X,Y,Z",
        type=_numbers(3, -10.0, 10.0),
        help="a lamp nearby: X to the right, Y away from the camera, Z up; the object's radius is 0.13, the "
        "level camera stands at 0,-0.5,0",
    )
    light.add_argument(
        "--spherical_harmonics",
        metavar="C0,...,C8",
        type=_numbers(9, -100.0, 100.0),
        help="light from all around, as nine coefficients of 1; x, z, y; xy, yz, 3z^2-1, xz, x^2-y^2",
    )
    light.add_argument(
        "--color", metavar="R,G,B", type=_numbers(3, 0.0, 1.0), default=COLOR, help="0 to 1 each (default: 0.3,0.5,0.9)"
    )
    _add_mesh_and_picture(parser)
    return parser


def _add_mesh_and_picture(parser: CommandParser) -> None:
    mesh = parser.add_argument_group("mesh")
    mesh.add_argument("--mesh", metavar="utah|FILE", default=UTAH, help=f"one of: {ALLOWED} (default: utah)")
    mesh.add_argument(
        "--fineness",
        metavar="N",
        type=_whole(1, MAX_FINENESS),
        help=f"N x N quadrilaterals a patch, 1 to {MAX_FINENESS} (default: {FINENESS})",
    )
    mesh.add_argument("--up", choices=UPS, help="which axis of FILE.obj points up (default: z)")
    mesh.add_argument("--save_mesh", metavar="FILE.obj", type=Path, help="also write the mesh, as it is drawn")
    picture = parser.add_argument_group("picture")
    picture.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        default=Path("teapot.png"),
        help="the ending says the format: .png, .jpg, .gif, .webp, .bmp, .tif (default: teapot.png)",
    )
    picture.add_argument(
        "--size",
        metavar="N",
        type=_whole(8, _MAX_SIZE),
        default=256,
        help="pixels a side (default: 256; data sets: 64)",
    )
    picture.add_argument(
        "--samples", metavar="N", type=_square, default=16, help="in each pixel: 1, 4, 9, 16, ... (default: 16)"
    )
    picture.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="opendr: OpenDR itself; fast: our rasterizer, which draws the same; auto: the first that works (default)",
    )


def _number(text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!a} is not a number") from None
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text} is out of range; allowed: {low:g} to {high:g}")
    return value


def _degrees(low: float, high: float) -> Callable[[str], float]:
    return lambda text: _number(text, low, high)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text):
            raise argparse.ArgumentTypeError(f"{text!a} is not a whole number from {low} to {high}")
        return int(_number(text, low, high))

    return read


def _square(text: str) -> int:
    number = _whole(1, MAX_SAMPLES)(text)
    if math.isqrt(number) ** 2 != number:
        raise argparse.ArgumentTypeError(f"{number} is no square number; allowed: 1, 4, 9, 16, ... {MAX_SAMPLES}")
    return number


def _numbers(count: int, low: float, high: float) -> Callable[[str], tuple[float, ...]]:
    def read(text: str) -> tuple[float, ...]:
        words = text.split(",")
        if len(words) != count:
            raise argparse.ArgumentTypeError(f"{text!a} is not {count} numbers with commas between")
        return tuple(_number(word, low, high) for word in words)

    return read


def _light_angles(text: str) -> tuple[float, ...]:
    if text == "up":
        return (0.0, 0.0)
    words = text.split(",")
    if len(words) != 2:
        raise argparse.ArgumentTypeError(f"{text!a} is neither up nor AZIMUTH,ELEVATION in degrees")
    return _number(words[0], -360.0, 360.0), _number(words[1], 0.0, 180.0)


if __name__ == "__main__":
    run_command(main)
