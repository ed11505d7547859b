"""Walks through a latent space: straight with stills (community code of VDB), closed loops on spheres (authors')."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from common.errors import UserError
from common.progress import progress
from models.latents import Categorical, LatentSpace, Normal
from models.noise import Noise
from training import pictures
from training.films import AddFrame, gif_film, mp4_film
from training.options import InterpolationOptions
from training.traversal import Painter

Latents: TypeAlias = npt.NDArray[np.float32]
Place: TypeAlias = tuple[int, float]
"""Where a frame is: the number of the point that it comes from, and the share of the way to the next."""

_COLORS = 256
_PARALLEL = 1e-6


def on_sphere(first: npt.ArrayLike, second: npt.ArrayLike, share: float) -> npt.NDArray[np.float64]:
    """Points on great circles: the direction turns evenly, the length goes evenly from the one to the other.

    Args:
        first, second: `[n, size]`, size 2 or more, rows that are not 0.
        share: of the way, 0 to 1.

    Returns:
        `[n, size]`. Between opposite points, which no single great circle joins, the way leads by the axis in which
        they are smallest.

    Source: Shoemake 1985; as in the authors' code of VGAN, whose lengths bulge a little where the two differ.
    """
    start, end = np.asarray(first, np.float64), np.asarray(second, np.float64)
    lengths = [np.linalg.norm(points, axis=-1, keepdims=True) for points in (start, end)]
    start, end = start / lengths[0], end / lengths[1]
    cosine = np.sum(start * end, axis=-1, keepdims=True)
    aside = end - cosine * start
    sine = np.linalg.norm(aside, axis=-1, keepdims=True)
    axis = np.eye(start.shape[-1])[np.argmin(np.abs(start), axis=-1)]
    axis -= np.sum(axis * start, axis=-1, keepdims=True) * start
    aside = np.where(sine > _PARALLEL, aside, axis)
    angle = share * np.arctan2(sine, cosine)
    direction = np.cos(angle) * start + np.sin(angle) * aside / np.linalg.norm(aside, axis=-1, keepdims=True)
    return direction * ((1.0 - share) * lengths[0] + share * lengths[1])


def between(space: LatentSpace, first: Latents, second: Latents, share: float, spherical: bool) -> Latents:
    """Latents on the way from some to others.

    Args:
        space: what the columns mean. Categorical blocks change from the one category to the other halfway.
        first, second: `[n, space.size]`.
        share: of the way, 0 to 1.
        spherical: Gaussian columns, all together, go on great circles, see `on_sphere`; all others go straight.

    Returns:
        `[n, space.size]`; exactly `first` and `second` at the ends.
    """
    if share in (0.0, 1.0):
        return second if share else first
    way = (1.0 - share) * first.astype(np.float64) + share * second
    gaussian = gaussian_columns(space)
    if spherical:
        way[:, gaussian] = on_sphere(first[:, gaussian], second[:, gaussian], share)
    column = 0
    for block in space.blocks:
        if isinstance(block, Categorical):
            part = slice(column, column + block.size)
            way[:, part] = (first if share < 0.5 else second)[:, part]
        column += block.size
    return way.astype(np.float32)


def gaussian_columns(space: LatentSpace) -> npt.NDArray[np.bool_]:
    """Which columns of a latent vector are Gaussian, `[space.size]`."""
    return np.repeat([isinstance(block, Normal) for block in space.blocks], [block.size for block in space.blocks])


def places(options: InterpolationOptions) -> tuple[int, list[Place]]:
    """The number of points of a film, and where each of its frames is; share 0 is the point itself."""
    if options.path == "spherical":
        steps = options.substeps
        return options.points, [(point, step / steps) for point in range(options.points) for step in range(steps)]
    rate = options.frames_per_second
    moving, still = round(rate * options.transition_seconds), max(1, round(rate * options.still_seconds))
    # A hair's breadth more, for 0.3 / 0.1 is less than 3.
    transitions = int(options.seconds / (options.transition_seconds + options.still_seconds) + 1e-9)
    frames: list[Place] = []
    for point in range(transitions):
        frames += [(point, step / moving) for step in range(moving)]
        frames += [(point + 1, 0.0)] * still
    return transitions + 1, frames


def points_of(painter: Painter, options: InterpolationOptions, film: int) -> list[Latents]:
    """The points of a film, `[images, size]` each: latents as in training, their Gaussian numbers scaled."""
    count, _ = places(options)
    gaussian = gaussian_columns(painter.model.latent_space)
    drawn = []
    for number in range(film * count, (film + 1) * count):
        latents = painter.model.sample_latents(options.images, Noise(options.seed, number)).numpy()
        drawn.append(np.where(gaussian, np.float32(options.scale) * latents, latents))
    return drawn


def write_films(painter: Painter, options: InterpolationOptions, folder: Path) -> int:
    """Writes the films, and a picture of each of their points.

    Args:
        painter: of the model; if it normalizes by batches, a frame is one.
        options: see `InterpolationOptions`.
        folder: where they go: `<path>_<film>.mp4`, `.gif`, and `<path>_<film>_point<number>.png`.

    Returns:
        frames of each film.

    Raises:
        UserError: a model without images, or without the Gaussian numbers that a sphere needs.
    """
    _refuse_impossible(painter, options)
    for film in range(options.films):
        name = f"{options.path}_{film}"
        points = points_of(painter, options, film)
        stills = [_sheets(painter, options, [latents])[0] for latents in points]
        for number, still in enumerate(stills):
            pictures.save_png(still, folder / f"{name}_point{number}.png")
        with ExitStack() as stack:
            films = [stack.enter_context(mp4_film(folder / f"{name}.mp4", options.frames_per_second))]
            if options.gif_frames_per_second:
                palette = pictures.common_palette([Image.fromarray(still) for still in stills], _COLORS)
                rate = min(options.gif_frames_per_second, options.frames_per_second)
                gif = stack.enter_context(gif_film(folder / f"{name}.gif", rate, palette))
                films.append(_thinned(gif, options.frames_per_second, rate))
            count = len(places(options)[1])
            description = f"film {film + 1} of {options.films}"
            for frame in progress(_frames(painter, options, points, stills), description, count, "frame"):
                for add in films:
                    add(frame)
    return count


def _refuse_impossible(painter: Painter, options: InterpolationOptions) -> None:
    painter.refuse_vectors()
    gaussian = int(gaussian_columns(painter.model.latent_space).sum())
    if options.path == "spherical" and gaussian < 2:
        raise UserError(
            f"interpolation.path is 'spherical', but only {gaussian} of the numbers that "
            f"{type(painter.model).__name__} makes images from are Gaussian, and a sphere needs two; set "
            "interpolation.path = 'linear'"
        )


def _thinned(add: AddFrame, rate: int, wanted: int) -> AddFrame:
    """Passes on so many of `rate` frames as are wanted, evenly."""
    count = 0

    def add_some(frame: pictures.Picture) -> None:
        nonlocal count
        if count == 0 or count * wanted // rate != (count - 1) * wanted // rate:
            add(frame)
        count += 1

    return add_some


def _frames(
    painter: Painter, options: InterpolationOptions, points: list[Latents], stills: list[pictures.Picture]
) -> Iterator[pictures.Picture]:
    """The frames of a film in order, made a few at a time."""
    _, frames = places(options)
    space, spherical = painter.model.latent_space, options.path == "spherical"
    at_once = max(1, options.batch // options.images)
    for start in range(0, len(frames), at_once):
        part = frames[start : start + at_once]
        moving = [
            between(space, points[point], points[(point + 1) % len(points)], share, spherical)
            for point, share in part
            if share
        ]
        made = iter(_sheets(painter, options, moving))
        for point, share in part:
            yield next(made) if share else stills[point]


def _sheets(painter: Painter, options: InterpolationOptions, frames: list[Latents]) -> list[pictures.Picture]:
    """A grid for each frame's latents."""
    if not frames:
        return []
    if painter.options.batch_norm == "batch":
        images = [painter.generate(latents) for latents in frames]
    else:
        latents = np.concatenate(frames)
        parts = [painter.generate(latents[i : i + options.batch]) for i in range(0, len(latents), options.batch)]
        images = np.split(np.concatenate(parts), len(frames))
    columns = max(1, round(options.images**0.5))
    return [pictures.image_grid(pictures.enlarged(tiles), columns) for tiles in images]
