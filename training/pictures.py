"""Sheets of images, animations and plots: pure functions of arrays, and whole files on disk."""

from __future__ import annotations

import functools
import importlib.util
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from common.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Picture = npt.NDArray[np.uint8]
Series = Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]

# Outputs of a generator may leave [0, 1] by rounding; more than this is a mistake in the range.
_RANGE_TOLERANCE = 1e-3
_LABEL_GRAY = 40
_LABEL_SIZE = 11
_TITLE_SIZE = 14
_MARGIN = 6
_PADDING = 2
_GIF_COLORS = 64
# Blue, orange, green, red, purple, brown, pink, gray: told apart by color-blind readers too, in this order.
_COLORS = ("#4477aa", "#ee7733", "#228833", "#cc3344", "#8855aa", "#997733", "#dd77aa", "#777777")


def to_uint8(images: npt.ArrayLike) -> Picture:
    """Images as 8-bit values.

    Args:
        images: any shape; uint8, booleans, or floating-point numbers in [0, 1].

    Raises:
        TypeError: for values of another type.
        ValueError: if a number is NaN or outside [0, 1].
    """
    array = np.asarray(images)
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind != "f":
        raise TypeError(f"images must be uint8 or floating-point numbers in [0, 1], not {array.dtype}")
    if array.size:
        low, high = float(array.min()), float(array.max())
        # Written so that NaN, which compares false, is refused too.
        if not (low >= -_RANGE_TOLERANCE and high <= 1 + _RANGE_TOLERANCE):
            raise ValueError(f"images must lie in [0, 1]; these span {low:.4g} to {high:.4g}")
    return np.round(np.clip(array, 0, 1) * 255).astype(np.uint8)


def image_grid(images: npt.ArrayLike, columns: int, padding: int = _PADDING, background: float = 0.5) -> Picture:
    """Images side by side, row by row.

    Args:
        images: `[N, H, W, C]`, C = 1 or 3; floating-point numbers in [0, 1], or uint8.
        columns: images in a row; the last row may stay incomplete.
        padding: pixels between images and around them, default 2.
        background: gray of what no image covers, from 0 (black) to 1 (white), default 0.5.

    Returns:
        `[H', W', 3]` uint8, H' = rows * (H + padding) + padding and W' likewise.

    Raises:
        TypeError: if the images hold values of another type.
        ValueError: if the shape, the range of the images or another argument is wrong.
    """
    tiles = _tiles(images, 4)
    if columns < 1:
        raise ValueError(f"columns must be 1 or more, not {columns}")
    if padding < 0:
        raise ValueError(f"padding must be 0 or more, not {padding}")
    if not 0 <= background <= 1:
        raise ValueError(f"background must lie in [0, 1]; it is {background}")
    count, height, width, _ = tiles.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    sheet = np.full((rows * columns, height + padding, width + padding, 3), round(background * 255), np.uint8)
    sheet[:count, padding:, padding:] = tiles
    sheet = sheet.reshape(rows, columns, height + padding, width + padding, 3).swapaxes(1, 2)
    sheet = sheet.reshape(rows * (height + padding), columns * (width + padding), 3)
    return np.pad(sheet, ((0, padding), (0, padding), (0, 0)), constant_values=round(background * 255))


def enlarged(images: npt.NDArray[Any], smallest_side: int = 64) -> npt.NDArray[Any]:
    """Images `[..., H, W, C]` by a whole factor, without smoothing, so that no side is below `smallest_side`."""
    factor = max(1, math.ceil(smallest_side / min(images.shape[-3:-1])))
    return images.repeat(factor, axis=-3).repeat(factor, axis=-2)


def labelled_sheet(
    images: npt.ArrayLike,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str = "",
) -> Picture:
    """A sheet of traversals: rows and columns of images on white, with their labels.

    Images smaller than 64 pixels are enlarged by a whole factor without smoothing, so that labels fit. A label that
    does not fit is cut, with an ellipsis.

    Args:
        images: `[R, C, H, W, channels]`, 1 or 3 channels; floating-point numbers in [0, 1], or uint8.
        row_labels: R labels, such as "r3"; may be empty.
        column_labels: C labels, such as "-1.10"; may be empty.
        title: stands above the sheet; may be empty.

    Returns:
        `[H', W', 3]` uint8.

    Raises:
        TypeError: if the images hold values of another type.
        ValueError: if the shape, the range of the images or the number of labels is wrong.
    """
    tiles = _tiles(images, 5)
    rows, columns = tiles.shape[:2]
    for what, labels, count in (("row", row_labels, rows), ("column", column_labels, columns)):
        if labels and len(labels) != count:
            raise ValueError(f"there are {len(labels)} {what} labels for {count} {what}s; give one for each, or none")
    tiles = enlarged(tiles)
    height, width = tiles.shape[2:4]
    grid = image_grid(tiles.reshape(-1, height, width, 3), columns, _PADDING, background=1.0)

    label_font, title_font = _font(_LABEL_SIZE), _font(_TITLE_SIZE)
    row_labels, column_labels = ([" ".join(text.split()) for text in labels] for labels in (row_labels, column_labels))
    left = max((math.ceil(label_font.getlength(text)) for text in row_labels), default=0)
    left = min(left, 3 * width) + _MARGIN if row_labels else 0
    title_height = _TITLE_SIZE + 2 * _MARGIN if title else 0
    top = title_height + (_LABEL_SIZE + _MARGIN if column_labels else 0)
    sheet = Image.new("RGB", (left + grid.shape[1] + _MARGIN, top + grid.shape[0] + _MARGIN), "white")
    sheet.paste(Image.fromarray(grid), (left, top))
    draw = ImageDraw.Draw(sheet)
    ink = (_LABEL_GRAY,) * 3
    if title:
        text = _fitting(" ".join(title.split()), title_font, sheet.width - 2 * _MARGIN)
        draw.text((_MARGIN, title_height // 2), text, ink, title_font, anchor="lm")
    for column, label in enumerate(column_labels):
        center = left + _PADDING + column * (width + _PADDING) + width / 2
        draw.text((center, top - 2), _fitting(label, label_font, width), ink, label_font, anchor="ms")
    for row, label in enumerate(row_labels):
        center = top + _PADDING + row * (height + _PADDING) + height / 2
        draw.text((left - 2, center), _fitting(label, label_font, left - 4), ink, label_font, anchor="rm")
    return np.asarray(sheet, np.uint8)


def png_bytes(image: npt.ArrayLike) -> bytes:
    """One image `[H, W, C]`, C = 1 or 3, uint8 or in [0, 1], as a PNG file's bytes."""
    buffer = io.BytesIO()
    _picture(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def read_png(path: str | os.PathLike[str]) -> Picture:
    """A picture file as uint8 `[height, width, 3]`."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def save_png(image: npt.ArrayLike, path: str | os.PathLike[str]) -> None:
    """Writes one image `[H, W, C]`, C = 1 or 3, uint8 or in [0, 1], as a whole PNG file."""
    write_bytes(path, png_bytes(image))


def gif_bytes(frames: Sequence[npt.ArrayLike] | npt.NDArray[Any], frames_per_second: float = 10.0) -> bytes:
    """An animation that repeats for ever, as a GIF file's bytes.

    All frames share one palette of 64 colors, which keeps the file small and still parts still.

    Args:
        frames: one or more images `[H, W, C]` of one shape, C = 1 or 3, uint8 or in [0, 1].
        frames_per_second: default 10; a GIF counts in hundredths of a second, so that 50 is the most.

    Raises:
        TypeError: if the frames hold values of another type.
        ValueError: if there are no frames, their shapes differ, or another argument is out of range.
    """
    if not 0 < frames_per_second <= 50:
        raise ValueError(f"frames_per_second must be above 0 and at most 50, not {frames_per_second}")
    if len(frames) == 0:
        raise ValueError("an animation needs at least one frame")
    pictures = [_picture(frame).convert("RGB") for frame in frames]
    sizes = {picture.size for picture in pictures}
    if len(sizes) > 1:
        raise ValueError(f"the frames of an animation must have one size; these have {sorted(sizes)}")
    palette = common_palette(pictures, _GIF_COLORS)
    indexed = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    buffer = io.BytesIO()
    duration = max(2, round(100 / frames_per_second)) * 10
    indexed[0].save(buffer, "GIF", save_all=True, append_images=indexed[1:], duration=duration, loop=0)
    return buffer.getvalue()


def save_gif(
    frames: Sequence[npt.ArrayLike] | npt.NDArray[Any],
    path: str | os.PathLike[str],
    frames_per_second: float = 10.0,
) -> None:
    """Writes an animation as a whole GIF file; arguments as for `gif_bytes`."""
    write_bytes(path, gif_bytes(frames, frames_per_second))


def line_plot(
    series: Series,
    title: str,
    x_label: str,
    y_label: str,
) -> bytes:
    """Lines over a common axis.

    Args:
        series: label -> (x, y), both of one length; NaN in y is a gap.
        title: above the plot; may be empty.
        x_label: under the horizontal axis.
        y_label: beside the vertical axis.

    Returns:
        a PNG file's bytes.

    Raises:
        ValueError: if there is nothing to draw, or x and y differ in length.
    """
    if not series:
        raise ValueError("a plot needs at least one series")
    figure, axes = _new_figure(7.0, 3.6)
    for number, (label, (x, y)) in enumerate(series.items()):
        x_values, y_values = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if x_values.ndim != 1 or x_values.shape != y_values.shape:
            raise ValueError(f"x and y of {label!r} must be of one length; they are {x_values.shape}, {y_values.shape}")
        # A single point would be an invisible line.
        marker = "o" if x_values.size < 3 else ""
        style = ("-", "--", ":")[number // len(_COLORS) % 3]
        color = _COLORS[number % len(_COLORS)]
        axes.plot(
            x_values,
            y_values,
            style,
            marker=marker,
            color=color,
            linewidth=1.4,
            markersize=4,
            label=_legend_text(label),
        )
    axes.xaxis.set_major_formatter("{x:,.10g}")
    _label_axes(axes, title, x_label, y_label)
    _legend(axes, len(series))
    return _figure_bytes(figure)


def bar_plot(
    values: Mapping[str, float],
    title: str,
    y_label: str,
    reference: Mapping[str, float] | None = None,
    errors: Mapping[str, float] | None = None,
) -> bytes:
    """Bars with their values on top, and the paper's.

    Args:
        values: label -> height; NaN leaves a gap marked "none".
        title: above the plot; may be empty.
        y_label: beside the vertical axis.
        reference: label -> the paper's value, a dark mark across the bar, for labels that have one.
        errors: label -> half the length of an error bar, for labels that have one.

    Returns:
        a PNG file's bytes.

    Raises:
        ValueError: if there is nothing to draw, or a reference or error belongs to no bar.
    """
    if not values:
        raise ValueError("a plot needs at least one bar")
    reference, errors = reference or {}, errors or {}
    for what, given in (("reference", reference), ("error", errors)):
        unknown = [label for label in given if label not in values]
        if unknown:
            raise ValueError(f"there is a {what} for {unknown[0]!r} but no bar; bars: {', '.join(values)}")
    figure, axes = _new_figure(max(4.0, 0.9 * len(values) + 1.5), 3.6)
    heights = np.array([float(value) for value in values.values()])
    places = np.arange(len(values))
    tallest = float(np.abs(np.nan_to_num(heights)).max())
    axes.bar(places, np.nan_to_num(heights), width=0.6, color=_COLORS[0])
    for place, label, value in zip(places, values, heights, strict=True):
        finite = math.isfinite(value)
        base = max(value, 0.0) + errors.get(label, 0.0) if finite else 0.0
        # The number would be written across a mark that is hardly above the bar.
        if base <= reference.get(label, -math.inf) < base + 0.12 * tallest:
            base = reference[label]
        axes.annotate(
            f"{value:.3g}" if finite else "none", (place, base), (0, 3), textcoords="offset points", ha="center", size=9
        )
        if label in errors:
            axes.errorbar(place, value, errors[label], color="#222222", capsize=4, linewidth=1)
        if label in reference:
            axes.hlines(reference[label], place - 0.42, place + 0.42, color="#222222", linewidth=2)
    axes.set_xticks(
        places,
        [_literal(label) for label in values],
        rotation=0 if len(values) < 7 else 30,
        ha="center" if len(values) < 7 else "right",
    )
    _label_axes(axes, title, "", y_label)
    axes.grid(False, axis="x")
    axes.margins(y=0.14)
    if reference:
        axes.plot([], [], color="#222222", linewidth=2, label="paper")
        _legend(axes, 2)
    return _figure_bytes(figure)


def matrix_plot(
    values: npt.ArrayLike,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str,
) -> bytes:
    """A matrix as colored cells, with numbers in them if there are at most 400.

    Args:
        values: `[R, C]` numbers; NaN is an empty cell.
        row_labels: R labels.
        column_labels: C labels.
        title: above the plot; may be empty.

    Returns:
        a PNG file's bytes.

    Raises:
        ValueError: if the matrix is empty or the number of labels is wrong.
    """
    matrix = np.asarray(values, np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"the values of a matrix must have two axes and not be empty; their shape is {matrix.shape}")
    rows, columns = matrix.shape
    if (len(row_labels), len(column_labels)) != (rows, columns):
        raise ValueError(
            f"a matrix of shape {matrix.shape} needs {rows} row labels and {columns} column labels; "
            f"there are {len(row_labels)} and {len(column_labels)}"
        )
    figure, axes = _new_figure(min(14.0, 2.2 + 0.62 * columns), min(14.0, 1.2 + 0.38 * rows))
    image = axes.imshow(np.where(np.isfinite(matrix), matrix, np.nan), cmap="Blues", aspect="auto")
    axes.set_xticks(np.arange(columns), [_literal(label) for label in column_labels], rotation=0 if columns < 9 else 60)
    axes.set_yticks(np.arange(rows), [_literal(label) for label in row_labels])
    axes.tick_params(length=0)
    if matrix.size <= 400:
        for row, column in zip(*np.nonzero(np.isfinite(matrix)), strict=True):
            level = float(np.asarray(image.norm(matrix[row, column])))
            color = "white" if level > 0.6 else "#222222"
            axes.text(column, row, f"{matrix[row, column]:.2g}", ha="center", va="center", size=8, color=color)
    figure.colorbar(image, ax=axes, fraction=0.05, pad=0.03).outline.set_visible(False)  # type: ignore[operator]
    _label_axes(axes, title, "", "")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return _figure_bytes(figure)


def _tiles(images: npt.ArrayLike, axes: int) -> Picture:
    """Images with three channels, checked."""
    array = to_uint8(images)
    letters = "[N, H, W, C]" if axes == 4 else "[R, C, H, W, channels]"
    if array.ndim != axes or array.size == 0 or array.shape[-1] not in (1, 3):
        raise ValueError(
            f"images must have the shape {letters} with 1 or 3 channels and not be empty; theirs is {array.shape}"
        )
    return np.broadcast_to(array, (*array.shape[:-1], 3))


def _picture(image: npt.ArrayLike) -> Image.Image:
    array = to_uint8(image)
    if array.ndim != 3 or array.size == 0 or array.shape[-1] not in (1, 3):
        raise ValueError(f"an image must have the shape [H, W, 1 or 3] and not be empty; its shape is {array.shape}")
    return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if array.shape[-1] == 1 else array))


@functools.cache
def _font(size: int) -> Any:
    """The font that comes with matplotlib, which has Greek letters; Pillow's own if it is not where it was."""
    package = importlib.util.find_spec("matplotlib")
    if package is not None and package.origin is not None:
        path = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.exists():
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)


def _fitting(text: str, font: Any, width: float) -> str:
    """`text`, or as much of it as fits into `width` pixels with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "\N{HORIZONTAL ELLIPSIS}") > width:
        text = text[:-1]
    return text.rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def common_palette(pictures: Sequence[Image.Image], colors: int) -> Image.Image:
    """A palette of so many colors for all frames, from at most sixteen of them spread over the whole."""
    chosen = [pictures[index] for index in np.unique(np.linspace(0, len(pictures) - 1, 16).astype(int))]
    montage = Image.new("RGB", (chosen[0].width, chosen[0].height * len(chosen)))
    for number, picture in enumerate(chosen):
        montage.paste(picture, (0, number * picture.height))
    return montage.quantize(colors, method=Image.Quantize.MEDIANCUT)


def shortened(text: str, length: int) -> str:
    """A text of at most so many characters for a plot, with an ellipsis in place of what is cut off."""
    return text if len(text) <= length else f"{text[: length - 1]}\N{HORIZONTAL ELLIPSIS}"


def _new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure outside of pyplot, which would keep it alive and is not safe in threads."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _label_axes(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(_literal(title), loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(_literal(x_label), fontsize=9)
    axes.set_ylabel(_literal(y_label), fontsize=9)
    axes.tick_params(labelsize=8.5, color="#999999")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.set_axisbelow(True)
    axes.grid(True, color="#dddddd", linewidth=0.6)


def _legend(axes: Axes, entries: int) -> None:
    """A legend beside the plot if it is long, inside otherwise."""
    if entries > 6:
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        axes.legend(fontsize=8.5, frameon=False)


def _legend_text(label: str) -> str:
    # matplotlib leaves labels that begin with an underscore out of the legend.
    return _literal(f" {label}" if label.startswith("_") else label)


def _literal(text: str) -> str:
    """Text of which matplotlib takes no part for a formula."""
    return text.replace("$", r"\$")


def _figure_bytes(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # The name of the software would make equal plots differ between versions.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
