"""From an image of any size to the size that a model takes: which part, scaled how, in color or gray.

Papers differ here in ways that shift scores: whether a picture is squashed or cut, and whether scaling averages over
all pixels that become one (Pillow) or looks at four of them only (OpenCV).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.errors import UserError, near_matches
from data_gen import fast_bilinear
from data_gen.archives import BadFileError
from data_gen.image_files import BACKGROUNDS, LUMA, Pixels, decode, plain_jpeg_size, reencoded, weighted_gray

FILTERS = ("bilinear", "bicubic", "lanczos", "box", "nearest", "sampled", "area")
CROPS = ("center", "none")
GRAYS = {"luma": LUMA, "swapped": LUMA[::-1]}
MOST_SIDE = 4096

_COMPILED_FROM = 2_000

_PILLOW = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}


@dataclasses.dataclass(frozen=True)
class Picture:
    """How an image file becomes an array of a given size; call it with the file's bytes.

    The steps, in this order: gray, the middle window, scaling, the middle of the result.

    Args:
        size: height and width of the result, each 1 to 4096.
        channels: 3, or 1 for gray.
        window: what is cut out of the middle first: side of a square in pixels; `center`, the largest square; `none`,
            everything. Default: `center`.
        cut: scale until the shorter side fits and cut the middle out, instead of squashing the window into the size.
        filter: `bilinear`, `bicubic`, `lanczos` or `box` as Pillow does them (they average over all pixels that become
            one), `nearest`, `sampled` (bilinear between the nearest four pixels, as OpenCV does it) or `area` (the mean
            over the area, as TensorFlow does it). Default: `bilinear`.
        gray: `luma`, or `swapped`: with the weights of red and blue exchanged, a slip of some references.
        background: behind transparent pixels: `white`, `black`, or `drop` to show what they hide.
        orient: whether photographs are turned as their EXIF data say.
        jpeg_quality: save the result as JPEG of this quality and read it again. Default: no.
        published: width and height that the images must have. Default: any.
    """

    size: tuple[int, int]
    channels: int = 3
    window: int | str = "center"
    cut: bool = False
    filter: str = "bilinear"
    gray: str = "luma"
    background: str = "white"
    orient: bool = True
    jpeg_quality: int | None = None
    published: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if len(self.size) != 2 or not all(1 <= side <= MOST_SIDE for side in self.size):
            raise UserError(f"the size is {self.size}; give a height and width from 1 to {MOST_SIDE}")
        if self.channels not in (1, 3):
            raise UserError(f"channels is {self.channels}; give 3 for color or 1 for gray")
        if self.window not in CROPS and not (isinstance(self.window, int) and self.window >= 1):
            raise UserError(f"crop is {self.window!r}; give one of {', '.join(CROPS)}, or a number of pixels")
        for name, allowed in (("filter", FILTERS), ("gray", tuple(GRAYS)), ("background", tuple(BACKGROUNDS))):
            if getattr(self, name) not in allowed:
                raise UserError(f"{name} is {getattr(self, name)!r}{near_matches(str(getattr(self, name)), allowed)}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the result."""
        return (*self.size, self.channels)

    def record(self) -> dict[str, Any]:
        """All that determines the result, for comparison."""
        return dataclasses.asdict(self)

    def __call__(self, data: bytes) -> Pixels:
        """An image file as uint8 of shape (height, width, channels).

        Raises:
            BadFileError: if the file cannot be used; the message is the reason, such as `too small`.
        """
        quick = self._quickly(data)
        if quick is not None:
            return quick
        swapped = self.channels == 1 and self.gray != "luma"
        image = decode(data, 3 if swapped else self.channels, self.background, self.orient)
        if swapped:
            image = Image.fromarray(weighted_gray(np.asarray(image), GRAYS[self.gray]))
        return self.of_image(image)

    def of_image(self, image: Image.Image) -> Pixels:
        """The same for an image that is decoded already, of mode `RGB` or `L`."""
        if self.published is not None and image.size != self.published:
            raise BadFileError("other size")
        box = self._box(image.size)
        part = image if box == (0, 0, *image.size) else image.crop(box)
        return self._finished(resized(part, self._scaled_size(box), self.filter))

    def speed_up(self, files: int) -> None:
        """Compiles a quicker way to the same result, if there is one and for so many files it pays."""
        if files >= _COMPILED_FROM and self.channels == 3 and self.filter == "bilinear":
            fast_bilinear.prepare()

    def _quickly(self, data: bytes) -> Pixels | None:
        """The result in half the time, byte for byte the same; `None` where that is not possible."""
        if not fast_bilinear.is_ready() or self.channels != 3 or self.filter != "bilinear":
            return None
        size = plain_jpeg_size(data)
        if size is None or (self.published is not None and size != self.published):
            return None
        box = self._box(size)
        scaled = self._scaled_size(box)
        if not fast_bilinear.agrees((box[3] - box[1], box[2] - box[0]), scaled):
            return None
        try:
            return self._finished(fast_bilinear.jpeg_window(data, size, box, scaled))
        except (ValueError, OSError):
            return None

    def _box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """The window in an image of this width and height: left, top, right, bottom."""
        if self.window == "none":
            return (0, 0, *size)
        side = min(size) if self.window == "center" else int(self.window)
        if side > min(size):
            raise BadFileError("too small")
        left, top = middle(size[0], side), middle(size[1], side)
        return left, top, left + side, top + side

    def _scaled_size(self, box: tuple[int, int, int, int]) -> tuple[int, int]:
        """Height and width to which the window is scaled."""
        return covering(box[3] - box[1], box[2] - box[0], self.size) if self.cut else self.size

    def _finished(self, pixels: Pixels) -> Pixels:
        height, width = self.size
        top, left = middle(pixels.shape[0], height), middle(pixels.shape[1], width)
        pixels = pixels[top : top + height, left : left + width].reshape(self.shape)
        return pixels if self.jpeg_quality is None else reencoded(pixels, self.jpeg_quality)


def middle(whole: int, part: int) -> int:
    """Where the middle part of so many pixels starts: as torchvision rounds it, halves to the even number."""
    return round((whole - part) / 2)


def covering(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """The smallest height and width of the same proportions that cover a size; fractions are dropped.

    Args:
        height, width: of the image.
        size: to be covered.
    """
    if width * size[0] <= height * size[1]:
        return max(size[0], int(size[1] * height / width)), size[1]
    return size[0], max(size[1], int(size[0] * width / height))


def resized(image: Image.Image, size: tuple[int, int], how: str = "bilinear") -> Pixels:
    """An image scaled to a height and width.

    Args:
        image: of mode `RGB` or `L`.
        size: height and width.
        how: one of `FILTERS`.

    Returns:
        uint8 of shape (height, width, 3), or (height, width) for gray.
    """
    if (image.height, image.width) == size:
        return np.asarray(image)
    if how == "sampled":
        return _sampled(np.asarray(image), size)
    if how == "area":
        return _averaged(np.asarray(image), size)
    return np.asarray(image.resize((size[1], size[0]), _PILLOW[how]))


@functools.lru_cache(maxsize=64)
def _sampling(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """For each new pixel the two old ones between which it lies, and the weight of the second, of 2048."""
    place = (np.arange(new) + 0.5) * (old / new) - 0.5
    first = np.floor(place).astype(np.int64)
    part = place - first
    part = np.where((first < 0) | (first >= old - 1), 0.0, part)
    first = np.clip(first, 0, old - 1)
    return first, np.minimum(first + 1, old - 1), np.rint(part * 2048).astype(np.int64)


def _sampled(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Bilinear interpolation in the fixed-point arithmetic of OpenCV's `resize`.

    Scaling 128 to 32 gives the mean of the middle four of each 16 pixels, with halves rounded up.
    """
    top, bottom, down = _sampling(pixels.shape[0], size[0])
    left, right, across = _sampling(pixels.shape[1], size[1])
    rows, inverse = np.unique(np.concatenate([top, bottom]), return_inverse=True)
    across = across.reshape(1, -1, *[1] * (pixels.ndim - 2))
    used = pixels[rows].astype(np.int64)
    wide = (used[:, left] * (2048 - across) + used[:, right] * across) >> 4
    down = down.reshape(-1, 1, *[1] * (pixels.ndim - 2))
    above, below = wide[inverse[: len(top)]], wide[inverse[len(top) :]]
    mixed = ((above * (2048 - down)) >> 16) + ((below * down) >> 16)
    result: Pixels = ((mixed + 2) >> 2).astype(np.uint8)
    return result


def _averaged(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """The mean over the area that becomes a pixel, as TensorFlow's `resize` with `area`, rounded."""
    height, width = pixels.shape[:2]
    if size[0] % height == 0 and size[1] % width == 0:
        # Each new pixel lies in one old one.
        return pixels.repeat(size[0] // height, axis=0).repeat(size[1] // width, axis=1)
    mean = _averaged_rows(pixels.astype(np.float64), size[0])
    mean = _averaged_rows(mean.swapaxes(0, 1), size[1]).swapaxes(0, 1)
    # Sums of many numbers are a little off, which must not decide what a half is rounded to.
    return np.clip(np.rint(np.round(mean, 6)), 0, 255).astype(np.uint8)


def _averaged_rows(values: NDArray[np.float64], new: int) -> NDArray[np.float64]:
    """Means over rows: differences of the sums up to the edges of the new rows, which may lie inside old ones."""
    old = len(values)
    edges = np.arange(new + 1) * old / new
    whole = np.minimum(edges.astype(np.int64), old - 1)
    part = (edges - whole).reshape(-1, *[1] * (values.ndim - 1))
    sums = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
    means: NDArray[np.float64] = np.diff(sums[whole] + part * values[whole], axis=0) * (new / old)
    return means


@dataclasses.dataclass(frozen=True)
class Preset:
    """How a paper's code prepares its images.

    Args:
        size: height and width without another wish.
        picture: the steps, for any size.
        about: one line for people, with the source.
    """

    size: int
    picture: dict[str, Any]
    about: str

    def make(self, size: int | None = None, **other: Any) -> Picture:
        """The steps for a size (default: the paper's), with other fields of `Picture` changed."""
        side = self.size if size is None else size
        window = self.picture.get("window")
        # Of a window in pixels the size takes no part: other sizes are other scales of the same window.
        if isinstance(window, int) and side > window:
            raise UserError(f"size is {side}; this preset cuts {window} pixels out, give at most that")
        return Picture(**{**self.picture, "size": (side, side), **other})


def preset_named(presets: dict[str, Preset], name: str) -> Preset:
    """The preset of a name; `UserError` if there is none."""
    if name not in presets:
        raise UserError(f"unknown preset {name!r}{near_matches(name, list(presets))}")
    return presets[name]


def check_side(size: int | None) -> None:
    """Refuses sizes that no preset can have."""
    if size is not None and not (isinstance(size, int) and 1 <= size <= MOST_SIDE):
        raise UserError(f"size is {size}; give a number of pixels from 1 to {MOST_SIDE}")
