"""Image files of every kind, whole and broken; crops and filters beside those of Pillow, OpenCV's rule, TensorFlow."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from data_gen import crops, fast_bilinear, image_files
from data_gen.archives import BadFileError
from data_gen.crops import FILTERS, Picture, Preset, covering, middle, resized
from data_gen.image_files import decode, plain_jpeg_size, reencoded, weighted_gray

RNG = np.random.default_rng(0)
PHOTO = np.asarray(Image.fromarray(RNG.integers(0, 256, (12, 10, 3), dtype=np.uint8)).resize((89, 109), 3))


def saved(image: Image.Image | np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def plain(data: bytes, mode: str = "RGB") -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))


JPEGS: dict[str, dict[str, Any]] = {
    "usual": {},
    "best": {"quality": 100, "subsampling": 0},
    "subsampled": {"quality": 30, "subsampling": 2},
    "half subsampled": {"subsampling": 1},
    "progressive": {"progressive": True},
    "optimized": {"optimize": True},
    "restarts": {"restart_marker_rows": 1},
    "comment": {"comment": b"words"},
    "density": {"dpi": (300, 300)},
    "profile": {"icc_profile": bytes(3000)},
}


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("channels", [3, 1])
def test_jpegs_are_read_as_pillow_reads_them(kind: str, channels: int) -> None:
    data = saved(PHOTO, "JPEG", **JPEGS[kind])
    assert (np.asarray(decode(data, channels)) == plain(data, "RGB" if channels == 3 else "L")).all()
    assert (plain_jpeg_size(data) is None) == (kind == "profile")


@pytest.mark.parametrize("mode", ["L", "CMYK", "YCbCr", "RGB"])
def test_jpegs_of_other_colors_are_read_as_pillow_reads_them(mode: str) -> None:
    data = saved(Image.fromarray(PHOTO).convert(mode), "JPEG")
    assert (np.asarray(decode(data)) == plain(data)).all()
    assert decode(data).mode == "RGB"


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_formats_and_modes(kind: str, mode: str) -> None:
    if (kind, mode) == ("PPM", "P"):
        pytest.skip("PPM has no palettes")
    data = saved(Image.fromarray(PHOTO).convert(mode), kind)
    for channels, wanted in ((3, "RGB"), (1, "L")):
        image = decode(data, channels)
        assert image.mode == wanted
        assert (np.asarray(image) == plain(data, wanted)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_behind_transparent_pixels(channels: int) -> None:
    pixels = np.dstack([np.full((2, 3, 3), 100, np.uint8), np.array([[0, 255, 128]] * 2, np.uint8)])
    for data in (saved(pixels), saved(Image.fromarray(pixels).convert("LA")), saved(pixels, "WEBP", lossless=True)):
        white, black, dropped = (
            np.asarray(decode(data, channels, name)).reshape(2, 3, -1)[0, :, 0].tolist()
            for name in ("white", "black", "drop")
        )
        assert (white, black, dropped[1:]) == ([255, 100, 177], [0, 100, 50], [100, 100])
    palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    data = saved(palette, "PNG", transparency=0)
    assert np.asarray(decode(data))[0].tolist() == [[255, 255, 255], [40, 50, 60]]
    assert np.asarray(decode(data, background="drop"))[0].tolist() == [[10, 20, 30], [40, 50, 60]]


def test_16_bits_keep_their_upper_8() -> None:
    wide = np.array([[0, 255, 256, 40_000, 65_535]], np.uint16)
    for data in (saved(wide), saved(wide, "TIFF"), saved(wide.astype(np.int32), "TIFF")):
        assert np.asarray(decode(data, 1))[0].tolist() == [0, 0, 1, 156, 255]
        assert np.asarray(decode(data))[0, :, 1].tolist() == [0, 0, 1, 156, 255]
    for beyond in (np.array([[70_000]], np.int32), np.array([[0.5]], np.float32)):
        with pytest.raises(BadFileError, match="unknown kind of pixels"):
            decode(saved(beyond, "TIFF"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_they_say(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(PHOTO, "JPEG", exif=exif.tobytes())
    upright = plain(data)
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[:, ::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[::-1],
    }[orientation]
    assert (np.asarray(decode(data)) == turned).all()
    assert (np.asarray(decode(data, orient=False)) == upright).all()


def _png_that_claims(width: int, height: int) -> bytes:
    data = bytearray(saved(np.zeros((1, 1), np.uint8)))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def _jpeg_that_claims(width: int, height: int) -> bytes:
    data = bytearray(saved(PHOTO, "JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


JPEG = saved(PHOTO, "JPEG")
PNG = saved(PHOTO)
BROKEN = {
    "empty file": [b""],
    "no image": [b"x", b"<!DOCTYPE html><html>", b"\xff\xd8\xff", bytes(1000), b"%!PS-Adobe-3.0 EPSF-3.0\n"],
    "truncated": [JPEG[: len(JPEG) // 2], JPEG[:-200], PNG[: len(PNG) // 2], PNG[:60]],
    "too large": [
        _png_that_claims(8001, 8001),
        _png_that_claims(100_000, 100_000),
        _png_that_claims(2**31 - 1, 2**31 - 1),
        _jpeg_that_claims(65_000, 65_000),
    ],
    "damaged": [PNG[:80] + b"\0" * 20 + PNG[100:], JPEG[:2] + b"\xff\xdb\x00\x00" + JPEG[2:]],
}


@pytest.mark.parametrize(("reason", "data"), [(reason, each) for reason in BROKEN for each in BROKEN[reason]])
def test_broken_files_have_a_reason(reason: str, data: bytes) -> None:
    for channels in (1, 3):
        with pytest.raises(BadFileError) as caught:
            decode(data, channels)
        assert str(caught.value) == reason or {str(caught.value), reason} <= {"truncated", "damaged", "no image"}


def test_zero_size_is_refused() -> None:
    for data in (_png_that_claims(0, 5), _jpeg_that_claims(0, 5), _jpeg_that_claims(5, 0), b"P6 0 5 255\n"):
        with pytest.raises(BadFileError):
            decode(data)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("data", [JPEG, PNG, saved(PHOTO, "WEBP"), saved(PHOTO, "GIF"), saved(PHOTO, "TIFF")])
def test_whatever_bytes_come_only_a_reason_is_raised(data: bytes) -> None:
    rng = np.random.default_rng(len(data))
    for _ in range(60):
        broken = bytearray(data)
        for place in rng.integers(0, min(len(data), 400), 3):
            broken[place] = rng.integers(256)
        with contextlib.suppress(BadFileError):
            assert decode(bytes(broken)).mode == "RGB"


def test_bad_arguments_are_errors_of_the_caller() -> None:
    with pytest.raises(ValueError, match="channels is 4"):
        decode(PNG, 4)
    with pytest.raises(ValueError, match="background"):
        decode(PNG, 3, "pink")


def test_gray_by_other_weights_and_lossy_copies() -> None:
    pixels = np.array([[[200, 100, 50]]], np.uint8)
    assert weighted_gray(pixels, (0.114, 0.587, 0.299))[0, 0] == round(0.114 * 200 + 58.7 + 0.299 * 50)
    swapped = Picture((1, 1), 1, "none", gray="swapped")
    assert swapped(saved(pixels))[0, 0, 0] == 96
    assert Picture((1, 1), 1, "none")(saved(pixels))[0, 0, 0] == 124
    again = reencoded(PHOTO)
    assert again.shape == PHOTO.shape
    assert (again == plain(saved(PHOTO, "JPEG", quality=75))).all()
    lossy = Picture((109, 89), 3, "none", jpeg_quality=75)
    assert (lossy(PNG) == again).all()
    assert reencoded(PHOTO[:, :, :1]).shape == (109, 89, 1)


@pytest.mark.parametrize("size", [(64, 64), (30, 50), (109, 89), (150, 200), (1, 1)])
@pytest.mark.parametrize("name", ["bilinear", "bicubic", "lanczos", "box", "nearest"])
def test_filters_are_those_of_pillow(name: str, size: tuple[int, int]) -> None:
    method = {"bilinear": 2, "bicubic": 3, "lanczos": 1, "box": 4, "nearest": 0}[name]
    for image in (Image.fromarray(PHOTO), Image.fromarray(PHOTO).convert("L")):
        assert (resized(image, size, name) == np.asarray(image.resize(size[::-1], method))).all()


def test_sampled_is_the_mean_of_the_middle_four_at_a_quarter() -> None:
    pixels = RNG.integers(0, 256, (128, 128, 3), dtype=np.uint8)
    blocks = pixels.astype(int).reshape(32, 4, 32, 4, 3)[:, 1:3, :, 1:3]
    expected = (blocks.sum(axis=(1, 3)) + 2) // 4
    assert (resized(Image.fromarray(pixels), (32, 32), "sampled") == expected).all()
    gray = pixels[:, :, 0]
    assert (resized(Image.fromarray(gray), (32, 32), "sampled") == expected[:, :, 0]).all()


@pytest.mark.parametrize(("old", "new"), [((100, 90), (37, 41)), ((64, 64), (128, 100)), ((109, 89), (50, 60))])
def test_sampled_agrees_with_opencv(old: tuple[int, int], new: tuple[int, int]) -> None:
    cv2 = pytest.importorskip("cv2")
    pixels = RNG.integers(0, 256, (*old, 3), dtype=np.uint8)
    apart = resized(Image.fromarray(pixels), new, "sampled").astype(int) - cv2.resize(pixels, new[::-1])
    assert np.abs(apart).max() <= 1
    assert (apart != 0).mean() < 0.01


@pytest.mark.parametrize("new", [(64, 64), (50, 40), (256, 256), (200, 100)])
def test_area_is_that_of_tensorflow(new: tuple[int, int]) -> None:
    import tensorflow as tf

    pixels = RNG.integers(0, 256, (128, 128, 3), dtype=np.uint8)
    expected = tf.compat.v1.image.resize_images(pixels[None].astype(np.float32), new, method=3).numpy()[0]
    found = resized(Image.fromarray(pixels), new, "area")
    assert np.abs(found - expected).max() <= 0.51
    if new == (256, 256):
        assert (found == pixels.repeat(2, 0).repeat(2, 1)).all()
    assert (resized(Image.fromarray(pixels[:, :, 0]), new, "area") == found[:, :, 0]).all()


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_leaves_a_plain_image_plain(name: str) -> None:
    plain_image = Image.new("RGB", (31, 47), (10, 200, 30))
    assert (resized(plain_image, (20, 25), name) == [10, 200, 30]).all()


def test_windows_and_cuts() -> None:
    coordinates = np.zeros((218, 178, 3), np.uint8)
    coordinates[:, :, 0], coordinates[:, :, 1] = np.arange(218)[:, None], np.arange(178)[None, :]
    data = saved(coordinates)
    assert Picture((128, 128), 3, 128)(data)[[0, -1], [0, -1], :2].tolist() == [[45, 25], [172, 152]]
    assert Picture((148, 148), 3, 148)(data)[[0, -1], [0, -1], :2].tolist() == [[35, 15], [182, 162]]
    assert Picture((178, 178), 3)(data)[[0, -1], [0, -1], :2].tolist() == [[20, 0], [197, 177]]
    assert (Picture((218, 178), 3, "none")(data) == coordinates).all()
    assert covering(218, 178, (128, 128)) == (156, 128)
    assert covering(178, 218, (32, 32)) == (32, 39)
    assert covering(600, 600, (64, 64)) == (64, 64)
    whole = np.asarray(Image.fromarray(coordinates).resize((128, 156), 2))
    assert (Picture((128, 128), 3, "none", cut=True)(data) == whole[14:142]).all()
    assert [middle(5, 2), middle(7, 2), middle(4, 4)] == [2, 2, 0]
    for reason, picture in (
        ("too small", Picture((64, 64), 3, 200)),
        ("other size", Picture((4, 4), published=(9, 9))),
    ):
        with pytest.raises(BadFileError, match=reason):
            picture(data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Picture((0, 4)), "the size is"),
        (lambda: Picture((4, 5000)), "from 1 to 4096"),
        (lambda: Picture((4, 4), 2), "channels is 2"),
        (lambda: Picture((4, 4), window="middle"), "crop is 'middle'"),
        (lambda: Picture((4, 4), window=0), "crop is 0"),
        (lambda: Picture((4, 4), filter="bilinaer"), "did you mean 'bilinear'"),
        (lambda: Picture((4, 4), background="pink"), "background is 'pink'"),
        (lambda: Preset(64, {"window": 148}, "x").make(149), "cuts 148 pixels out"),
        (lambda: crops.preset_named({"vdb": Preset(1, {}, "x")}, "vbd"), "did you mean 'vdb'"),
        (lambda: crops.check_side(0), "size is 0"),
    ],
)
def test_impossible_pictures_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


PLAIN = [kind for kind in JPEGS if kind != "profile"]


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize(
    "picture",
    [
        Picture((64, 64), window=80),
        Picture((32, 32), window="none", cut=True),
        Picture((20, 50), window="none"),
        Picture((150, 130), window="center"),
        Picture((1, 1)),
        Picture((109, 89), window="none"),
        Picture((50, 50), jpeg_quality=75),
    ],
    ids=["window", "cut", "squashed", "enlarged", "one pixel", "as it is", "copied"],
)
def test_the_quick_way_gives_the_same_bytes(kind: str, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fast_bilinear.prepare()
    data = saved(PHOTO, "JPEG", **JPEGS[kind])
    quick, either = picture._quickly(data), picture(data)
    monkeypatch.setattr(fast_bilinear, "is_ready", lambda: False)
    assert picture._quickly(data) is None
    assert (either == picture(data)).all()
    assert quick is None or (quick == either).all()
    # What the presets do goes the quick way with every version of Pillow.
    assert quick is not None or picture.window == "none" or picture.size == (150, 130)


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (17, 5), (178, 218), (300, 2), (64, 64), (513, 100)])
def test_the_quick_way_scales_as_pillow_does(size: tuple[int, int]) -> None:
    fast_bilinear.prepare()
    data = saved(RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8), "JPEG", quality=95)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    agreeing = 0
    for shape in ((1, 1), (64, 64), (33, 70), (size[1], size[0]), (200, 3)):
        expected = np.asarray(image.resize(shape[::-1], Image.Resampling.BILINEAR))
        found = fast_bilinear.jpeg_window(data, size, (0, 0, *size), shape)
        assert fast_bilinear.agrees(size[::-1], shape) == (found == expected).all()
        # Which side comes first is the only difference.
        assert np.abs(found.astype(int) - expected).max() <= 1
        agreeing += fast_bilinear.agrees(size[::-1], shape)
    assert agreeing >= 2


@pytest.mark.parametrize(
    ("old", "new"), [((148, 148), (64, 64)), ((218, 178), (156, 128)), ((218, 178), (128, 128)), ((218, 178), (39, 32))]
)
def test_the_presets_go_the_quick_way(old: tuple[int, int], new: tuple[int, int]) -> None:
    fast_bilinear.prepare()
    assert fast_bilinear.agrees(old, new)
    assert not fast_bilinear.agrees((3000, 3000), new)


def test_the_quick_way_leaves_broken_files_to_the_careful_one() -> None:
    fast_bilinear.prepare()
    picture = Picture((20, 20))
    good = picture(JPEG)
    for data, reason in ((JPEG[:-300], "truncated"), (JPEG[: len(JPEG) // 3], "truncated"), (PNG[:99], "truncated")):
        assert picture._quickly(data) is None
        with pytest.raises(BadFileError, match=reason):
            picture(data)
    with pytest.raises(BadFileError, match="too small"):
        Picture((20, 20), window=100)(JPEG)
    with pytest.raises(BadFileError, match="other size"):
        Picture((20, 20), published=(90, 109))(JPEG)
    assert (picture(JPEG) == good).all()
    assert Picture((20, 20), 1)._quickly(JPEG) is None
    assert Picture((20, 20), filter="lanczos")._quickly(JPEG) is None


def test_the_quick_way_is_compiled_for_many_files_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(fast_bilinear, "prepare", lambda: asked.append(1))
    Picture((64, 64)).speed_up(100)
    Picture((64, 64), 1).speed_up(100_000)
    Picture((64, 64), filter="area").speed_up(100_000)
    assert asked == []
    Picture((64, 64)).speed_up(100_000)
    assert asked == [1]


def test_versions_are_recorded() -> None:
    assert set(image_files.codecs()) == {"pillow", "libjpeg"}
