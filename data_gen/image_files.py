"""Image files to arrays: whatever Pillow reads, as 8 bits of gray or of red, green and blue; or the reason why not.

What counts as readable is decided here alone. A file is taken by what is in it, whatever its name says; of an
animation the first picture is taken. A JPEG that is damaged in its middle cannot be told from a whole one: the format
has no checksum (archives have).
"""

from __future__ import annotations

import functools
import io
import struct
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from data_gen.archives import BadFileError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MOST_PIXELS = 64_000_000
"""Larger images are refused: a small file can claim to be so large that it fills the memory."""
BACKGROUNDS = {"white": 255, "black": 0, "drop": None}
"""What is behind transparent pixels; `drop` shows the colors that they hide, as the papers' tools do."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in gray, by ITU-R 601-2; Pillow and OpenCV have the same."""

Pixels = NDArray[np.uint8]

_ORIENTATION = 0x0112
_WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
# Pillow's warnings name no file. Large images are refused here, and what is damaged is told with its name.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def decode(data: bytes, channels: int = 3, background: str = "white", orient: bool = True) -> Image.Image:
    """Reads an image file.

    Args:
        data: the file's bytes.
        channels: 3 for red, green and blue, 1 for gray.
        background: what is behind transparent pixels, one of `BACKGROUNDS`. Default: white.
        orient: whether to turn photographs as their EXIF data say. Default: yes.

    Returns:
        an image of mode `RGB` or `L`. Values of 16 bits lose their lower 8; CMYK is converted without color profiles.

    Raises:
        BadFileError: if it cannot be used; the message is the reason: `empty file`, `no image`, `truncated`,
            `too large`, `no pixels`, `damaged`, `unknown kind of pixels`.
    """
    if channels not in (1, 3) or background not in BACKGROUNDS:
        raise ValueError(f"channels is {channels} and background {background!r}; allowed: 1 or 3, {[*BACKGROUNDS]}")
    if channels == 3 and (size := plain_jpeg_size(data)) is not None:
        try:
            return Image.frombytes("RGB", size, data, "jpeg", "RGB", "")
        except (ValueError, OSError):
            # Read once more below, where it is found out what is wrong.
            pass
    if not data:
        raise BadFileError("empty file")
    try:
        return _decoded(data, channels, background, orient)
    except (Image.DecompressionBombError, MemoryError):
        raise BadFileError("too large") from None
    except UnidentifiedImageError:
        raise BadFileError("no image") from None
    except BadFileError:
        raise
    except OSError as error:
        raise BadFileError("truncated" if "truncated" in str(error) else "damaged") from None
    # The readers of single formats raise almost anything on bytes that are not what they should be.
    except (ValueError, SyntaxError, TypeError, IndexError, KeyError, EOFError, OverflowError, struct.error):
        raise BadFileError("damaged") from None


def _decoded(data: bytes, channels: int, background: str, orient: bool) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > MOST_PIXELS:
            raise BadFileError("too large")
        if not image.width or not image.height:
            raise BadFileError("no pixels")
        image.load()
        picture: Image.Image = image
        if orient and picture.getexif().get(_ORIENTATION, 1) != 1:
            picture = ImageOps.exif_transpose(picture)
        picture = _in_8_bits(picture)
        if picture.has_transparency_data:
            picture = _behind(picture.convert("RGBA"), BACKGROUNDS[background])
        return picture if picture.mode == _mode(channels) else picture.convert(_mode(channels))


def _mode(channels: int) -> str:
    return "L" if channels == 1 else "RGB"


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Pillow's own conversion of wide gray values cuts them off at 255; here the upper 8 of 16 bits are kept."""
    if image.mode in _WIDE_MODES:
        values = np.asarray(image)
        if values.size and not 0 <= values.min() <= values.max() < 1 << 16:
            raise BadFileError("unknown kind of pixels")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise BadFileError("unknown kind of pixels")
    if image.mode == "La":
        return image.convert("LA")
    if image.mode == "RGBa":
        return image.convert("RGBA")
    return image


def _behind(image: Image.Image, value: int | None) -> Image.Image:
    if value is None:
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, (value, value, value, 255))
    return Image.alpha_composite(ground, image).convert("RGB")


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG of three components and 8 bits without EXIF or Adobe data; else `None`.

    Such a file needs none of what Pillow finds out when it opens a file, which takes a third of the time.
    """
    if data[:3] != b"\xff\xd8\xff":
        return None
    place = 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in (0xC0, 0xC1, 0xC2):
            height, width, components = struct.unpack_from(">HHB", data, place + 5)
            plain = data[place + 4] == 8 and components == 3 and 0 < width * height <= MOST_PIXELS
            return (width, height) if plain else None
        # APP0 (JFIF), tables, comments; anything else is for the careful reader.
        if marker not in (0xE0, 0xDB, 0xC4, 0xDD, 0xFE):
            return None
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def weighted_gray(pixels: Pixels, weights: tuple[float, float, float]) -> Pixels:
    """Gray by other weights than the usual ones.

    Args:
        pixels: uint8 of shape (height, width, 3).
        weights: of red, green and blue; they add up to 1.

    Returns:
        uint8 of shape (height, width), rounded.
    """
    gray: Pixels = np.rint(pixels @ np.asarray(weights, np.float64)).astype(np.uint8)
    return gray


def reencoded(pixels: Pixels, quality: int = 75) -> Pixels:
    """What is left of an image after it was saved as JPEG and read again, as some references do with their data.

    Args:
        pixels: uint8 of shape (height, width, channels).
        quality: of the JPEG, 1 to 95. Default: 75, Pillow's own.
    """
    file = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).save(file, "JPEG", quality=quality)
    again = np.asarray(Image.open(io.BytesIO(file.getvalue())))
    return again.reshape(pixels.shape)


@functools.cache
def codecs() -> dict[str, Any]:
    """Which libraries decode, for records of what was made with what."""
    from PIL import __version__, features

    return {"pillow": __version__, "libjpeg": str(features.version("jpg"))}
