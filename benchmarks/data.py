"""Times how image files become arrays, beside a plain Pillow loop; and how fast the arrays are read back for training.

  python -m benchmarks.data                              CelebA at 64 pixels, 9 rounds, one core
  python -m benchmarks.data --steps_per_second=40        what the fastest model needs of 64 images each
  python -m benchmarks.data --preset=vgan --threads=2
  python -m benchmarks.data --write                      puts the tables into docs/performance.md, too

Both decode the same JPEG files of 178x218 pixels, made for the purpose (about as large as those of CelebA), in turns,
each in a process of its own held to the same core; the ratios are formed within a round. First the results are
compared: they must be equal. The last line printed is the result as JSON.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import platform
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features

from benchmarks.pages import contest_table, disturbance_of, figure, section, setting, threads_table, write_performance
from benchmarks.pages import table as markdown
from benchmarks.turns import (
    Runner,
    Turn,
    choose_cores,
    measure,
    measure_threads,
    per_image,
    processor,
    spread,
    summarize,
    table,
    versions_of,
)
from common.arguments import CommandParser
from common.errors import UserError, run_command
from data_gen.archives import open_container
from data_gen.celeba import PRESETS, picture_of
from data_gen.celeba_files import HEIGHT, WIDTH
from data_gen.crops import FILTERS, covering, middle
from data_gen.dataset import ArrayDataset
from data_gen.image_set import in_order, read_batch

IMAGES = 400
QUALITY = 90
"""Of the JPEG files: gives the mean size of those of CelebA, 7 kB."""
PREPARATION_GOAL, READING_GOAL = 1.5, 3.0
PACKAGES = ("numpy", "numba", "pillow", "tensorflow")
_EXAMPLES = 20_000
_PER_TURN = 200


def photograph(rng: np.random.Generator) -> np.ndarray:
    """Noise of all scales, as photographs have it; uint8 of shape (218, 178, 3)."""
    total = np.zeros((HEIGHT, WIDTH, 3))
    for scale in (4, 8, 16, 32, 64, 128):
        coarse = rng.normal(size=(max(2, HEIGHT * scale // 218), max(2, WIDTH * scale // 178), 3)).astype(np.float32)
        layers = [np.asarray(Image.fromarray(coarse[..., color]).resize((WIDTH, HEIGHT), 3)) for color in range(3)]
        layer = np.stack(layers, axis=-1)
        total += (0.7 * layer.mean(axis=-1, keepdims=True) + 0.3 * layer) / scale
    total -= total.min()
    return (total * (255 / total.max())).astype(np.uint8)


def write_files(folder: Path, count: int) -> float:
    """Writes photographs as JPEG files; gives their mean size in bytes."""
    rng, sizes = np.random.default_rng(0), []
    for number in range(1, count + 1):
        file = io.BytesIO()
        Image.fromarray(photograph(rng)).save(file, "JPEG", quality=QUALITY)
        (folder / f"{number:06d}.jpg").write_bytes(file.getvalue())
        sizes.append(len(file.getvalue()))
    return float(np.mean(sizes))


def plain(path: Path, preset: str) -> np.ndarray:
    """What anybody writes first: open, convert, crop, resize, array."""
    about = PRESETS[preset]
    window, size = about.picture["window"], about.size
    image: Image.Image = Image.open(path).convert("RGB")
    if window != "none":
        left, top = middle(WIDTH, window), middle(HEIGHT, window)
        image = image.crop((left, top, left + window, top + window))
    if not about.picture.get("cut"):
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    height, width = covering(image.height, image.width, (size, size))
    scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = middle(width, size), middle(height, size)
    return np.asarray(scaled.crop((left, top, left + size, top + size)))


def plain_runner(folder: Path, preset: str, threads: int) -> Runner:
    """Goes through all files in each step."""
    paths = sorted(folder.iterdir())

    def run(steps: int) -> None:
        for _ in range(steps):
            for _ in in_order(lambda part: [plain(path, preset) for path in part], _parts(paths), threads):
                pass

    return run


def suite_runner(folder: Path, preset: str, threads: int) -> Runner:
    """Goes through all files in each step, as `data_gen.image_set` does."""
    container, picture = open_container(folder), picture_of(preset, None)
    picture.speed_up(1_000_000)
    work = functools.partial(read_batch, container, picture)

    def run(steps: int) -> None:
        for _ in range(steps):
            for _ in in_order(work, _parts(container.members), threads):
                pass

    return run


def _parts(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + 32] for start in range(0, len(items), 32)]


def are_equal(folder: Path, preset: str) -> bool:
    """Whether both ways give the same bytes."""
    container, picture = open_container(folder), picture_of(preset, None)
    picture.speed_up(1_000_000)
    rows, _ = read_batch(container, picture, container.members)
    return bool((rows.reshape(-1, *picture.shape) == [plain(path, preset) for path in sorted(folder.iterdir())]).all())


def reading_runner(path: Path, way: str, batch: int, threads: int) -> Runner:
    """Takes batches for training: by the pipeline of a mapped file, or by the lookup of data kept in memory."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    images = np.load(path, mmap_mode="r")
    if way == "pipeline":
        batches = iter(ArrayDataset(images, name="mapped", source="benchmark").training_pipeline(batch, seed=0))

        def run(steps: int) -> None:
            for _ in range(steps):
                next(batches)

        return run
    source = ArrayDataset(np.array(images), name="resident", source="benchmark").batch_source(batch, seed=0)
    step_of = tf.function(lambda step: source(step))

    def run_lookup(steps: int) -> None:
        for step in range(steps):
            step_of(tf.constant(step, tf.int64))

    return run_lookup


def processor_time(turns: dict[str, list[Turn]]) -> dict[str, dict[str, float]]:
    """Microseconds of processor time for an image, to which waiting does not add; and their ratio."""
    used = {name: [turn.cpu_seconds * 1e6 for turn in taken] for name, taken in turns.items()}
    ratios = [slow / quick for quick, slow in zip(used["spout"], used["plain Pillow"], strict=True)]
    return {**{name: spread(values) for name, values in used.items()}, "ratio": spread(ratios)}


def page_section(result: Mapping[str, Any]) -> str:
    """What was measured, as a section of the page.

    Args:
        result: as `main` collects it.
    """
    preparation, reading, versions = result["preparation"], result["reading"], result["versions"]
    size = PRESETS[result["preset"]].size
    used, needed = preparation["processor_time"], result["reading_needed"]
    about = setting(
        result["processor"],
        result["threads"],
        {"Pillow": versions["pillow"], "NumPy": versions["numpy"], "TensorFlow": versions["tensorflow"]},
        f"{result['turns']} rounds",
        disturbance_of(preparation, result["scaling"], reading),
    )
    decoded = (
        f"From JPEG files of {WIDTH} x {HEIGHT} pixels, {result['mean_bytes']:,.0f} bytes on average, to arrays of "
        f"{size} x {size} (preset `{result['preset']}` of CelebA); the arrays are "
        f"{'equal' if result['equal'] else 'NOT EQUAL'}, byte for byte:"
    )
    times = (
        f"Microseconds of processor time for an image: spout {figure(used['spout'], 0)}, plain Pillow "
        f"{figure(used['plain Pillow'], 0)}, ratio {figure(used['ratio'])}."
    )
    rows = [
        [name, figure(rate, 0), figure({key: value / needed for key, value in rate.items()}, 1)]
        for name, rate in reading["per_second"].items()
    ]
    return section(
        f"Data: decoding images, and reading {size} x {size} arrays back",
        about,
        decoded,
        contest_table(preparation, "images per second", 0),
        times,
        threads_table(result["scaling"], "images per second"),
        f"Reading back for training, beside the {needed:,.0f} images a second that the fastest model needs:",
        markdown(["", "images per second, median (range)", "so many times what is needed"], rows),
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandParser("python -m benchmarks.data", __doc__ or "")
    usable = [name for name, preset in PRESETS.items() if preset.picture.get("filter", "bilinear") == FILTERS[0]]
    parser.add_argument("--turns", type=int, default=9, help="rounds (default 9)")
    parser.add_argument("--preset", choices=usable, default="ibgan", help="of CelebA (default ibgan: 64 pixels)")
    parser.add_argument("--threads", type=int, default=1, help="cores that both may use (default 1)")
    parser.add_argument("--steps_per_second", type=float, default=20.0, help="of the fastest model (default 20)")
    parser.add_argument("--batch", type=int, default=64, help="images of a step (default 64)")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/performance.md, too")
    options = parser.parse_args(arguments)
    if options.turns < 1 or options.batch < 1 or options.threads < 1 or options.steps_per_second <= 0:
        raise UserError("--turns, --batch, --threads and --steps_per_second: allowed: 1 or more, above 0")
    return options


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """Compares and measures everything; plain data."""
    cores = choose_cores(options.threads)
    result: dict[str, Any] = {
        "processor": processor(),
        "python": platform.python_version(),
        "versions": versions_of(PACKAGES),
        "libjpeg_turbo": features.version("libjpeg_turbo"),
        "preset": options.preset,
        "threads": options.threads,
        "turns": options.turns,
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "files"
        folder.mkdir()
        result["mean_bytes"] = write_files(folder, IMAGES)
        result["equal"] = are_equal(folder, options.preset)
        builders = {
            "spout": functools.partial(suite_runner, folder, options.preset),
            "plain Pillow": functools.partial(plain_runner, folder, options.preset),
        }
        turns = per_image(measure(builders, cores, options.turns, 2, "preparation"), IMAGES)
        result["preparation"] = summarize(turns)
        result["preparation"]["processor_time"] = processor_time(turns)
        build = functools.partial(suite_runner, folder, options.preset)
        result["scaling"] = summarize(per_image(measure_threads(build, options.turns, 5, "preparation"), IMAGES))
        size = PRESETS[options.preset].size
        path = Path(temporary) / "images.npy"
        np.save(path, np.random.default_rng(0).integers(0, 256, (_EXAMPLES, size, size, 3), dtype=np.uint8))
        readers = {way: functools.partial(reading_runner, path, way, options.batch) for way in ("pipeline", "lookup")}
        turns = per_image(measure(readers, cores, options.turns, _PER_TURN, "reading"), options.batch)
        result["reading"] = summarize(turns)
    needed = options.steps_per_second * options.batch
    times = {name: rate["median"] / needed for name, rate in result["reading"]["per_second"].items()}
    result["reading_needed"], result["reading_times"] = needed, times
    return result


def show(result: Mapping[str, Any]) -> None:
    """Prints what was measured, for people."""
    ratio = result["preparation"]["ratios"]["spout / plain Pillow"]["median"]
    print(f"{result['processor']['name']}, {result['threads']} of {result['processor']['cores']} cores")
    print(f"JPEG files of {WIDTH}x{HEIGHT}, {result['mean_bytes']:,.0f} bytes on average, preset {result['preset']}")
    print(f"results are {'equal' if result['equal'] else 'NOT EQUAL'}, byte for byte\n")
    print(table("preparation", result["preparation"], "images/s"))
    used = result["preparation"]["processor_time"]
    print(
        f"processor time of an image: {used['spout']['median']:.0f} and {used['plain Pillow']['median']:.0f} "
        f"microseconds, ratio {used['ratio']['median']:.2f} ({used['ratio']['low']:.2f} - {used['ratio']['high']:.2f})"
    )
    print(f"goal: at least {PREPARATION_GOAL} times as fast; {'reached' if ratio >= PREPARATION_GOAL else 'missed'}\n")
    print(threads_table(result["scaling"], "images/s"))
    print("\n" + table("reading", result["reading"], "images/s"))
    print(f"needed: {result['reading_needed']:,.0f} images/s")
    for name, factor in result["reading_times"].items():
        verdict = "reached" if factor >= READING_GOAL else "missed"
        print(f"  {name}: {factor:.1f} times that; goal {READING_GOAL}, {verdict}")


def main() -> int:
    """Measures, prints tables and JSON."""
    options = parse()
    result = measure_all(options)
    show(result)
    if options.write:
        write_performance(f"data {options.preset} {options.threads}", page_section(result))
    print(f"\n{json.dumps(result)}")
    return 0


if __name__ == "__main__":
    run_command(main)
