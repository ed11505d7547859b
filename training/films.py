"""Films written frame by frame, MP4 and GIF: no more than a few frames are in memory, however long they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from common.files import atomic_file
from training.pictures import Picture

AddFrame = Callable[[Picture], None]

# ITU-T H.273: BT.709 for primaries and transfer. Untagged, each player would guess for itself.
_BT709 = 1
_QUALITY = "18"
_MOST_COLORS = 256


@contextmanager
def mp4_film(path: str | os.PathLike[str], frames_per_second: int) -> Iterator[AddFrame]:
    """Writes an MP4 that browsers play: H.264 in yuv420p, its index in front.

    Frames of odd height or width get their last row or column twice, for the colors have half the resolution. Encoded
    by one thread, equal frames give equal files.

    Args:
        path: of the whole file; nothing is left of a film that fails.
        frames_per_second: 1 or more.

    Yields:
        a function that adds a frame, uint8 `[height, width, 3]`, all of one shape.
    """
    import av
    from av.video.reformatter import ColorRange, Colorspace

    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with (
        atomic_file(path) as temporary,
        av.open(str(temporary), "w", format="mp4", options=options) as container,
    ):
        stream = container.add_stream("libx264", rate=frames_per_second, options={"crf": _QUALITY})
        stream.pix_fmt = "yuv420p"
        codec = stream.codec_context
        codec.thread_count = 1
        codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG
        codec.color_primaries = codec.color_trc = _BT709

        def add(frame: Picture) -> None:
            height, width = frame.shape[:2]
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            if not codec.is_open:
                stream.height, stream.width = even.shape[:2]
            picture = av.VideoFrame.from_ndarray(even, format="rgb24")
            picture = picture.reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            container.mux(stream.encode(picture))

        yield add
        container.mux(stream.encode())


@contextmanager
def gif_film(path: str | os.PathLike[str], frames_per_second: int, palette: Image.Image) -> Iterator[AddFrame]:
    """Writes a GIF that repeats for ever.

    All frames share one palette, which keeps the file small and still parts still. A GIF counts in hundredths of a
    second; frames are shown for one hundredth more or less, so that the film is not longer or shorter on the whole.

    Args:
        path: of the whole file; nothing is left of a film that fails.
        frames_per_second: 1 to 50.
        palette: of `training.pictures.common_palette`.

    Yields:
        a function that adds a frame, uint8 `[height, width, 3]`, all of one shape.
    """
    import av

    colors = _argb(palette)
    options = {"loop": "0", "final_delay": str(round(100 / frames_per_second))}
    with (
        atomic_file(path) as temporary,
        av.open(str(temporary), "w", format="gif", options=options) as container,
    ):
        stream = container.add_stream("gif", rate=100)
        stream.pix_fmt = "pal8"
        count = 0

        def add(frame: Picture) -> None:
            nonlocal count
            if not stream.codec_context.is_open:
                stream.height, stream.width = frame.shape[:2]
            indices = np.asarray(Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE))
            # Its annotation does not know of pairs of indices and palette.
            indexed: Any = (np.ascontiguousarray(indices), colors)
            picture = av.VideoFrame.from_ndarray(indexed, format="pal8")
            picture.pts, picture.time_base = round(100 * count / frames_per_second), Fraction(1, 100)
            container.mux(stream.encode(picture))
            count += 1

        yield add
        container.mux(stream.encode())


def _argb(palette: Image.Image) -> Picture:
    """A palette as `[256, 4]`: alpha, red, green, blue; those that it has not are black."""
    colors = np.zeros((_MOST_COLORS, 4), np.uint8)
    colors[:, 0] = 255
    given = np.asarray(palette.getpalette("RGB"), np.uint8).reshape(-1, 3)
    colors[: len(given), 1:] = given
    return colors
