"""Times dHSIC and weighs its memory, by the number of images, beside the plain method with its matrices of all pairs.

  python -m benchmarks.dhsic                       1,000, 2,000 and 5,000 images (minutes; 4.5 GB for the plain method)
  python -m benchmarks.dhsic --images=500,1000     others
  python -m benchmarks.dhsic --write               puts the table into docs/performance.md, too

5,000 images are the published protocol. Both take turns on the same codes, as `benchmarks.metrics` has them, and the
ratios are formed within a round; the peaks of memory, which no other program moves, are looked at in one further call
of each. The last line printed is the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.metrics import CONTESTS, NUM_CODES, PACKAGES, compare, dhsic_arrays, ours, plainly
from benchmarks.pages import figure, section, setting, table, write_performance
from benchmarks.turns import choose_cores, processor, stay_on, versions_of
from common.arguments import CommandParser
from common.errors import UserError, run_command
from metrics.dhsic import NUM_SAMPLES

IMAGES = (1_000, 2_000, NUM_SAMPLES)


def peak_megabytes(call: Callable[[], object]) -> float:
    """Megabytes that a call takes at its peak, beside what there was before it."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def memory(images: int) -> dict[str, float]:
    """Megabytes that our dHSIC and the plain one take at their peaks, beside the codes of so many images."""
    arrays = dhsic_arrays(images)
    # What is imported with the first call is not counted.
    ours("dhsic", arrays)
    return {
        "ours": peak_megabytes(lambda: ours("dhsic", arrays)),
        "plain": peak_megabytes(lambda: plainly(CONTESTS["dhsic"], arrays)),
    }


def page_section(result: Mapping[str, Any]) -> str:
    """What was measured, as a section of the page.

    Args:
        result: as `main` collects it.
    """
    header = [
        "images",
        "spout, seconds",
        "plain, seconds",
        "spout is so many times as fast",
        "spout, MB",
        "plain, MB",
        "difference",
    ]
    rows = [
        [
            f"{images:,}",
            *(figure(found[kind], digits) for kind, digits in (("ours", 3), ("plain", 2), ("ratio", 1))),
            f"{found['megabytes']['ours']:,.1f}",
            f"{found['megabytes']['plain']:,.1f}",
            f"{found['difference']:.1e}{'' if found['agrees'] else ', MORE THAN IT MAY BE'}",
        ]
        for images, found in result["dhsic"].items()
    ]
    named = {"NumPy": result["versions"]["numpy"]}
    disturbance = max(found["disturbance"]["median"] for found in result["dhsic"].values())
    about = setting(result["processor"], len(result["cores"]), named, f"{result['turns']} rounds", disturbance)
    return section(
        "dHSIC: time and memory",
        about,
        f"Of {NUM_CODES} codes; the published protocol has {NUM_SAMPLES:,} images. The plain method forms a matrix of "
        "all pairs of images for each code. Times are medians and ranges; memory is the peak beside the codes.",
        table(header, rows),
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandParser("python -m benchmarks.dhsic", __doc__ or "")
    parser.add_argument("--images", default=",".join(map(str, IMAGES)), help="numbers of images (default %(default)s)")
    parser.add_argument("--turns", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="processor cores (default 1)")
    parser.add_argument("--write", action="store_true", help="write the table into docs/performance.md, too")
    options = parser.parse_args(arguments)
    numbers = options.images.split(",")
    if not all(number.isdecimal() and 10 <= int(number) <= NUM_SAMPLES for number in numbers):
        raise UserError(f"--images={options.images}; allowed: numbers from 10 to {NUM_SAMPLES}, with commas between")
    if options.turns < 1:
        raise UserError(f"--turns={options.turns}; allowed: 1 or more")
    options.images = [int(number) for number in numbers]
    return options


def main() -> int:
    """Measures and prints the table and JSON."""
    options = parse()
    cores = choose_cores(options.threads)
    stay_on(cores)
    result: dict[str, Any] = {
        "processor": processor(),
        "cores": list(cores),
        "turns": options.turns,
        "python": platform.python_version(),
        "versions": versions_of(PACKAGES),
        "dhsic": {
            images: {**compare("dhsic", images, options.turns, cores), "megabytes": memory(images)}
            for images in options.images
        },
    }
    text = page_section(result)
    print(text)
    if options.write:
        write_performance("metrics dhsic", text)
    print(json.dumps(result))
    return 0 if all(found["agrees"] for found in result["dhsic"].values()) else 1


if __name__ == "__main__":
    run_command(main)
