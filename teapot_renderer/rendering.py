"""One way to draw scenes, whichever back-end does it: at once, or block by block on all cores."""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import importlib.metadata
import importlib.util
import itertools
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool

import numpy as np
from numpy.typing import NDArray

from common.compiled_code import keep_compiled_code
from common.cores import available_cores
from common.errors import UserError, near_matches
from teapot_renderer.mesh import Mesh
from teapot_renderer.opendr_import import INSTALL, opendr_problem
from teapot_renderer.scene import CAMERA_DISTANCE, NEAR, Scenes

Images = NDArray[np.uint8]

BACKENDS = ("auto", "opendr", "fast")
FAST_VERSION = 1
"""Counts up when the fast back-end's pixels change."""
MAX_SAMPLES = 256
"""In a pixel: more would not fit into the sums of the fast back-end."""
MAX_SIDE = 4096
"""Samples in a row of an image."""
SCENES_PER_TASK = 64
"""Scenes that one worker of `render` takes at a time."""


def choose_backend(name: str = "auto") -> tuple[str, str]:
    """Says which back-end draws, and why.

    Args:
        name: `opendr` (the reference: OpenDR itself), `fast` (our own rasterizer), or `auto`: OpenDR where it can be
            used, else the fast one.

    Returns:
        `opendr` or `fast`, and the reason in a few words.

    Raises:
        UserError: for another name, or if the back-end cannot be used here.
    """
    if name not in BACKENDS:
        raise UserError(f"unknown back-end {name!r}{near_matches(name, BACKENDS)}")
    no_opendr = opendr_problem() if name != "fast" else None
    if name != "fast" and no_opendr is None:
        return "opendr", "as asked" if name == "opendr" else "it is installed, and it is the reference"
    if name == "opendr":
        raise UserError(
            f"OpenDR cannot be used here: {no_opendr}; run: {INSTALL}; or choose the fast back-end, which draws the "
            "same pictures"
        )
    if importlib.util.find_spec("numba") is None:
        raise UserError("the fast back-end needs numba, which is not installed; run: pip install numba")
    if name == "fast":
        return "fast", "as asked"
    return "fast", f"OpenDR cannot be used: {no_opendr}; to have it, run: {INSTALL}"


def backend_version(backend: str) -> str:
    """Name and version of a back-end, for records of what was drawn by what.

    Args:
        backend: `opendr` or `fast`.
    """
    return f"opendr {importlib.metadata.version('opendr')}" if backend == "opendr" else f"fast {FAST_VERSION}"


def render(
    mesh: Mesh, scenes: Scenes, size: int = 64, backend: str = "auto", samples: int = 16, workers: int = 1
) -> Images:
    """Draws scenes.

    Args:
        mesh: the object of all scenes, within the camera's distance.
        scenes: n scenes.
        size: height and width of the images in pixels. Default: 64.
        backend: `opendr`, `fast`, or `auto`; see `choose_backend`. Default: `auto`.
        samples: in each pixel, a square number up to 256. Default: 16.
        workers: threads (fast) or processes (OpenDR) that draw. The images do not depend on it. Default: 1.

    Returns:
        uint8 of shape (n, size, size, 3).

    Raises:
        UserError: if the back-end is not known, or cannot be used here.
        ValueError: for a size, number of samples or mesh that cannot be drawn.

    Example:
        >>> from teapot_renderer.bezier import teapot
        >>> from teapot_renderer.scene import DirectionalLight, light_direction, object_rotation
        >>> light = DirectionalLight(light_direction(0.0, 0.0))
        >>> scenes = Scenes(object_rotation(0.5, 0.2, 0.1), [[0.3, 0.5, 0.9]], [0.0], light)
        >>> render(teapot(), scenes).shape
        (1, 64, 64, 3)
    """
    blocks = (scenes[start : start + SCENES_PER_TASK] for start in range(0, len(scenes), SCENES_PER_TASK))
    images = np.empty((len(scenes), size, size, 3), np.uint8) if size > 0 else np.empty(0, np.uint8)
    start = 0
    for block in render_blocks(mesh, blocks, size, backend, samples, workers):
        images[start : start + len(block)] = block
        start += len(block)
    return images


def render_blocks(
    mesh: Mesh,
    blocks: Iterable[Scenes],
    size: int = 64,
    backend: str = "auto",
    samples: int = 16,
    workers: int | None = None,
) -> Iterator[Images]:
    """Draws blocks of scenes, in order; only a few blocks for each worker are in memory at a time.

    Args:
        mesh: the object of all scenes, within the camera's distance.
        blocks: scenes; a block is what one worker draws at a time.
        size: height and width of the images in pixels. Default: 64.
        backend: `opendr`, `fast`, or `auto`; see `choose_backend`. Default: `auto`.
        samples: in each pixel, a square number up to 256. Default: 16.
        workers: threads (fast) or processes (OpenDR) that draw. Default: one for each core.

    Yields:
        for each block, uint8 of shape (its scenes, size, size, 3).

    Raises:
        UserError: if the back-end is not known, cannot be used here, or a process of it dies.
        ValueError: for a size, number of samples or mesh that cannot be drawn.
    """
    side = samples_per_side(size, samples)
    _refuse_large(mesh)
    backend, _ = choose_backend(backend)
    count = workers if workers is not None else available_cores()
    if count < 1:
        raise ValueError(f"workers is {count}; give at least 1")
    return _drawn(mesh, blocks, size, backend, side, count)


def samples_per_side(size: int, samples: int) -> int:
    """The k of k * k samples in a pixel.

    Args:
        size: height and width of an image in pixels.
        samples: in each pixel.

    Raises:
        ValueError: if `samples` is no square number up to 256, or the image too large or too small.
    """
    if size < 1:
        raise ValueError(f"size is {size}; give at least 1 pixel")
    side = math.isqrt(samples) if 1 <= samples <= MAX_SAMPLES else 0
    if side < 1 or side * side != samples:
        raise ValueError(f"samples is {samples}; give a square number: 1, 4, 9, 16, ... {MAX_SAMPLES}")
    if size * side > MAX_SIDE:
        raise ValueError(f"size {size} with {samples} samples makes {size * side} samples in a row; at most {MAX_SIDE}")
    return side


def _refuse_large(mesh: Mesh) -> None:
    if mesh.radius > CAMERA_DISTANCE - 2 * NEAR:
        raise ValueError(
            f"the mesh reaches {mesh.radius:.3g} scene units from the origin, and the camera stands at "
            f"{CAMERA_DISTANCE}; scale it to less than {CAMERA_DISTANCE - 2 * NEAR:g}"
        )


def _drawn(mesh: Mesh, blocks: Iterable[Scenes], size: int, backend: str, side: int, workers: int) -> Iterator[Images]:
    if workers == 1:
        draw = _drawer(mesh, size, backend, side)
        yield from map(draw, blocks)
        return
    executor: concurrent.futures.Executor
    if backend == "fast":
        draw = _drawer(mesh, size, backend, side)
        executor = concurrent.futures.ThreadPoolExecutor(workers)
    else:
        # Spawned, not forked: OpenGL and TensorFlow, which the caller may have loaded, do not survive a fork.
        # The mesh goes with the blocks: a process that dies before it has read much that it is started with, as one of
        # a script without a main guard does, would be waited for without end.
        draw = functools.partial(_draw_in_process, (mesh, size, backend, side))
        executor = concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_process)
    remaining = iter(blocks)
    try:
        waiting = collections.deque(executor.submit(draw, block) for block in itertools.islice(remaining, 2 * workers))
        while waiting:
            images = waiting.popleft().result()
            waiting.extend(executor.submit(draw, block) for block in itertools.islice(remaining, 1))
            yield images
    except BrokenProcessPool:
        raise UserError(
            "a process that draws with OpenDR has died (killed, out of memory, or a script without "
            "`if __name__ == '__main__':`); run again, with fewer workers"
        ) from None
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _drawer(mesh: Mesh, size: int, backend: str, side: int) -> Callable[[Scenes], Images]:
    if backend == "fast":
        keep_compiled_code(__file__)
        from teapot_renderer import fast_backend

        return lambda scenes: fast_backend.draw(mesh, scenes, size, side)
    from teapot_renderer import opendr_backend

    return lambda scenes: opendr_backend.render(mesh, scenes, size, side * side)


_process_drawer: Callable[[Scenes], Images] | None = None


def _start_process() -> None:
    # Ctrl-C is for the process that asked; it stops this one. Where that one is killed, this one must not stay.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _draw_in_process(what: tuple[Mesh, int, str, int], scenes: Scenes) -> Images:
    global _process_drawer
    if _process_drawer is None:
        _process_drawer = _drawer(*what)
    return _process_drawer(scenes)
