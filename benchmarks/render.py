"""Times the two back-ends of the teapot renderer side by side, on one core, and shows how the fast one uses more.

  python -m benchmarks.render                   9 rounds at 64 pixels, 16 and 1 samples in a pixel
  python -m benchmarks.render --scenes=64       longer turns
  python -m benchmarks.render --write           puts the tables into docs/performance.md, too

Both draw the same scenes of the data set's three variants with the same mesh, in turns, each in a process of its own
held to the same core; the ratios are formed within a round. First the images are compared. The last line printed is
the result as JSON.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.pages import contest_table, disturbance_of, figure, section, setting, write_performance
from benchmarks.pages import table as markdown
from benchmarks.turns import Runner, Turn, choose_cores, measure, processor, spread, summarize, table
from common.arguments import CommandParser
from common.cores import available_cores
from common.errors import UserError, run_command
from data_gen.teapot_latents import VARIANTS
from teapot_renderer import Scenes, choose_backend, render, render_blocks
from teapot_renderer.bezier import teapot

SIZE = 64
SAMPLES = (16, 1)
PACKAGES = ("numpy", "numba", "opendr", "chumpy")
COMPARED = 200
"""Scenes of each variant whose images are compared."""
SETTLED = 3
"""How often more cores are tried."""


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


def scaling(samples: int, scenes: int) -> dict[int, dict[str, float]]:
    """Images per second of the fast back-end by number of threads."""
    mesh, drawn = teapot(), scenes_to_draw("uniform_light", scenes)
    rates: dict[int, list[float]] = {}
    threads = [count for count in (1, 2, 4, 8, 16, 32, 64) if count <= available_cores()]
    for _ in range(SETTLED + 1):
        for count in threads:
            begin = time.perf_counter()
            blocks = (drawn[start : start + 64] for start in range(0, len(drawn), 64))
            for _ in render_blocks(mesh, blocks, SIZE, "fast", samples, workers=count):
                pass
            rates.setdefault(count, []).append(len(drawn) / (time.perf_counter() - begin))
    return {count: spread(values[1:]) for count, values in rates.items()}


def page_section(result: Mapping[str, Any]) -> str:
    """What was measured, as a section of the page.

    Args:
        result: as `main` collects it.
    """
    contests, versions = result["samples"], result["versions"]
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
    if len(result["scaling"]) > 1:
        rows = [[f"{threads}", figure(rate, 0)] for threads, rate in result["scaling"].items()]
        paragraphs += [f"The fast back-end on more cores, {SAMPLES[0]} samples in a pixel:"]
        paragraphs += [markdown(["threads", "images per second, median (range)"], rows)]
    named = {"Numba": versions["numba"], "OpenDR": versions["opendr"]}
    about = setting(result["processor"], 1, named, f"{result['turns']} rounds", disturbance_of(*contests.values()))
    title = (
        f"The teapot renderer: images of {result['size']} x {result['size']} pixels, {result['triangles']:,} triangles"
    )
    return section(title, about, *paragraphs)


def _measure_samples(samples: int, options: argparse.Namespace, cores: tuple[int, ...]) -> dict[str, Any]:
    """Both back-ends with so many samples in a pixel: a summary of the turns, counted in images, and the agreement."""
    builders = {name: functools.partial(renderer, name, samples, options.scenes) for name in ("fast", "opendr")}
    turns = measure(builders, cores, options.turns, {"fast": 30, "opendr": 3}, f"{samples} samples")
    turns = {
        name: [Turn(turn.rate * options.scenes, turn.cpu_seconds / options.scenes, turn.disturbance) for turn in taken]
        for name, taken in turns.items()
    }
    return {**summarize(turns), "agreement": agreement(samples)}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandParser("python -m benchmarks.render", __doc__ or "")
    parser.add_argument("--turns", type=int, default=9, help="rounds (default 9)")
    parser.add_argument("--scenes", type=int, default=32, help="scenes of one step (default 32; OpenDR draws 3 steps a "
                        "turn, the fast back-end 30)")  # fmt: skip
    parser.add_argument("--write", action="store_true", help="write the tables into docs/performance.md, too")
    return parser.parse_args(arguments)


def main() -> int:
    """Compares, measures, prints tables and JSON."""
    options = parse()
    if options.turns < 1 or options.scenes < 1:
        raise UserError("--turns and --scenes: allowed: 1 or more")
    choose_backend("opendr")
    cores = choose_cores(1)
    machine = processor()
    result: dict[str, Any] = {
        "processor": machine,
        "size": SIZE,
        "triangles": len(teapot().faces),
        "turns": options.turns,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "samples": {},
    }
    tables = []
    for samples in SAMPLES:
        summary = result["samples"][samples] = _measure_samples(samples, options, cores)
        tables.append(table(f"{samples} samples", summary, "images/s"))
        for variant, apart in summary["agreement"].items():
            tables.append(f"  {variant}: apart by {apart['mean']:.5f} of 255 on average, {apart['largest']} at most")
    result["scaling"] = scaling(SAMPLES[0], 64 * options.scenes)
    print(
        f"{machine['name']}, one of {machine['cores']} cores, {SIZE} x {SIZE} pixels, {result['triangles']} triangles"
    )
    print("\n".join(("", *tables, "", f"fast back-end, {SAMPLES[0]} samples, by threads:")))
    for count, rate in result["scaling"].items():
        print(f"  {count:>2}: {rate['median']:.0f} images/s ({rate['low']:.0f} - {rate['high']:.0f})")
    if options.write:
        write_performance("render", page_section(result))
    print(f"\n{json.dumps(result)}")
    return 0


if __name__ == "__main__":
    run_command(main)
