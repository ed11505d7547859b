"""Times the two back-ends of the teapot renderer side by side, on one core, and the fast one on several.

  python -m benchmarks.render                   both parts: 9 rounds at 64 pixels, 16 and 1 samples in a pixel
  python -m benchmarks.render --only=cores      one of them: backends, cores
  python -m benchmarks.render --scenes=64       longer turns
  python -m benchmarks.render --write           puts the tables into docs/performance.md, too

backends  both draw the same scenes of the data set's three variants with the same mesh, in turns, each in a process of
          its own held to the same core; the ratios are formed within a round. First the images are compared.
cores     the fast back-end with 1, 2, 4 and so on threads and with one for each core that this program may use, in
          turns as well; 16 samples in a pixel.

The last line printed is the result as JSON.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.pages import contest_table, disturbance_of, section, setting, threads_table, write_performance
from benchmarks.turns import (
    Runner,
    choose_cores,
    measure,
    measure_threads,
    per_image,
    processor,
    some_of,
    summarize,
    table,
    thread_counts,
    versions_of,
)
from common.arguments import CommandParser
from common.errors import UserError, run_command
from data_gen.teapot_latents import VARIANTS
from teapot_renderer import Scenes, choose_backend, render
from teapot_renderer.bezier import teapot
from teapot_renderer.rendering import SCENES_PER_TASK

PARTS = ("backends", "cores")
SIZE = 64
SAMPLES = (16, 1)
PACKAGES = ("numpy", "numba", "opendr", "chumpy")
COMPARED = 200
"""Scenes of each variant whose images are compared."""
TASKS = 4
"""Of each thread, in a step of many threads: so many that the last ones to end hardly count."""


def scenes_to_draw(variant: str, count: int) -> Scenes:
    """Scenes with the latents of a variant."""
    about = VARIANTS[variant]
    return about.scenes(about.draw(np.random.RandomState(1), count))


def renderer(backend: str, samples: int, scenes: int, threads: int) -> Runner:
    """Draws so many scenes of mixed variants in each step."""
    mesh = teapot()
    batches = [scenes_to_draw(variant, scenes) for variant in VARIANTS]

    def run(steps: int) -> None:
        for step in range(steps):
            render(mesh, batches[step % len(batches)], SIZE, backend, samples, workers=threads)

    return run


def agreement(samples: int) -> dict[str, dict[str, float]]:
    """How far the back-ends' images are apart: mean and largest absolute difference of the 8-bit values, by variant."""
    mesh = teapot()
    result = {}
    for variant in VARIANTS:
        scenes = scenes_to_draw(variant, COMPARED)
        first, second = (render(mesh, scenes, SIZE, name, samples).astype(int) for name in ("opendr", "fast"))
        difference = np.abs(first - second)
        result[variant] = {"mean": float(difference.mean()), "largest": int(difference.max())}
    return result


def scaling(samples: int, turns: int) -> dict[str, Any]:
    """The fast back-end by number of threads: a summary of the turns, counted in images."""
    scenes = SCENES_PER_TASK * TASKS * max(thread_counts())
    build = functools.partial(renderer, "fast", samples, scenes)
    return summarize(per_image(measure_threads(build, turns, len(VARIANTS), f"{samples} samples"), scenes))


def backends_section(result: Mapping[str, Any]) -> str:
    """The back-ends side by side, as a section of the page.

    Args:
        result: as `main` collects it.
    """
    contests = result["samples"]
    paragraphs = []
    for samples, summary in contests.items():
        apart = ", ".join(
            f"{values['mean']:.4f} ({values['largest']}) of {variant}"
            for variant, values in summary["agreement"].items()
        )
        paragraphs += [
            f"{samples} samples in a pixel:" if samples > 1 else "One sample in a pixel:",
            contest_table(summary, "images per second", 0),
            f"Mean (largest) difference of the 8-bit values of both images: {apart}.",
        ]
    about = _setting(result, 1, {"Numba": "numba", "OpenDR": "opendr"}, disturbance_of(*contests.values()))
    title = (
        f"The teapot renderer: images of {result['size']} x {result['size']} pixels, {result['triangles']:,} triangles"
    )
    return section(title, about, *paragraphs)


def cores_section(result: Mapping[str, Any]) -> str:
    """The fast back-end on several cores, as a section of the page.

    Args:
        result: as `main` collects it.
    """
    scaling = result["scaling"]
    cores = max(int(threads) for threads in scaling["per_second"])
    return section(
        f"The fast renderer on several cores: images of {result['size']} x {result['size']} pixels",
        _setting(result, cores, {"Numba": "numba"}, disturbance_of(scaling)),
        f"The same scenes with {SAMPLES[0]} samples in a pixel, drawn by so many threads:",
        threads_table(scaling, "images per second"),
    )


def _setting(result: Mapping[str, Any], cores: int, named: Mapping[str, str], disturbance: float) -> str:
    versions = {name: result["versions"][package] for name, package in named.items()}
    return setting(result["processor"], cores, versions, f"{result['turns']} rounds", disturbance)


def _measure_samples(samples: int, options: argparse.Namespace, cores: tuple[int, ...]) -> dict[str, Any]:
    """Both back-ends with so many samples in a pixel: a summary of the turns, counted in images, and the agreement."""
    builders = {name: functools.partial(renderer, name, samples, options.scenes) for name in ("fast", "opendr")}
    turns = measure(builders, cores, options.turns, {"fast": 30, "opendr": 3}, f"{samples} samples")
    return {**summarize(per_image(turns, options.scenes)), "agreement": agreement(samples)}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandParser("python -m benchmarks.render", __doc__ or "")
    parser.add_argument("--only", default=",".join(PARTS), help="some of: %(default)s")
    parser.add_argument("--turns", type=int, default=9, help="rounds (default 9)")
    parser.add_argument("--scenes", type=int, default=32, help="scenes of one step (default 32; OpenDR draws 3 steps a "
                        "turn, the fast back-end 30)")  # fmt: skip
    parser.add_argument("--write", action="store_true", help="write the tables into docs/performance.md, too")
    options = parser.parse_args(arguments)
    options.only = some_of("only", options.only, PARTS)
    if options.turns < 1 or options.scenes < 1:
        raise UserError("--turns and --scenes: allowed: 1 or more")
    return options


def main() -> int:
    """Compares, measures, prints tables and JSON."""
    options = parse()
    choose_backend("opendr" if "backends" in options.only else "fast")
    machine = processor()
    result: dict[str, Any] = {
        "processor": machine,
        "size": SIZE,
        "triangles": len(teapot().faces),
        "turns": options.turns,
        "python": platform.python_version(),
        "versions": versions_of(PACKAGES),
    }
    print(f"{machine['name']}, {machine['cores']} cores, {SIZE} x {SIZE} pixels, {result['triangles']} triangles")
    if "backends" in options.only:
        cores = choose_cores(1)
        result["samples"] = {samples: _measure_samples(samples, options, cores) for samples in SAMPLES}
        for samples, summary in result["samples"].items():
            print(f"\n{table(f'{samples} samples', summary, 'images/s')}")
            for variant, apart in summary["agreement"].items():
                print(f"  {variant}: apart by {apart['mean']:.5f} of 255 on average, {apart['largest']} at most")
        if options.write:
            write_performance("render", backends_section(result))
    if "cores" in options.only:
        result["scaling"] = scaling(SAMPLES[0], options.turns)
        text = cores_section(result)
        print(f"\n{text}")
        if options.write:
            write_performance("render cores", text)
    print(f"\n{json.dumps(result)}")
    return 0


if __name__ == "__main__":
    run_command(main)
