"""The 16 pictures of each pair that the authors' code exports in its mode `test`, and a page to look at them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.files import atomic_folder
from common.output import answer
from common.progress import progress
from data_gen.pairs import PairedDataset
from data_gen.png import encode_png
from models.noise import Noise
from models.pairs import PairModel
from training import pictures, report
from training.experiment import Experiment
from training.options import Configuration
from training.pair_grids import FIGURE_CAPTIONS, KINDS, PairPainter, pairs_at, published_pictures, shown_pairs
from training.run_folder import RunFolder

FOLDER = "pairs"
"""Below the run folder."""
INDEX = "index.html"
AT_THE_END = 8
"""Pairs at the end of a training."""

_IMAGES, _FIGURES = "images", "figures"
_PAIRS_OF_PAGE = 50


def export_pairs(experiment: Experiment, folder: RunFolder) -> int:
    """Writes pictures of the first `generation.images` pairs held out, and a page; prints what was made as JSON."""
    model, dataset = experiment.model, experiment.dataset
    if not isinstance(model, PairModel) or not isinstance(dataset, PairedDataset):
        name = experiment.configuration.experiment.name
        raise UserError(f"{name} is no model of pairs of images; give --run_dir of such a run, as by gin/iiae_cars.gin")
    answer(write_pairs(model, dataset, experiment.configuration, folder))
    return 0


def write_pairs(
    model: PairModel, dataset: PairedDataset, configuration: Configuration, folder: RunFolder, most: int | None = None
) -> dict[str, Any]:
    """Writes the pictures and their page into a run folder; earlier ones are replaced.

    Args:
        model: the model.
        dataset: its pairs.
        configuration: of the run; `generation` says how many pairs, and the seed of sampled styles, and
            `traversal.batch_norm` how the four figures are drawn. The pictures of pairs are made in inference mode.
        folder: the run's.
        most: at most so many pairs. Default: as many as the configuration has.

    Returns:
        what was made, for people and programs.
    """
    options, shown = configuration.generation, shown_pairs(dataset)
    count = min(options.images, shown.num_examples if most is None else min(most, shown.num_examples))
    step = int(model.step.numpy())
    painter = PairPainter(model, dataset, configuration.traversal.seed, configuration.traversal.batch_norm == "batch")
    path = folder.path / FOLDER
    with atomic_folder(path) as target:
        (target / _IMAGES).mkdir()
        (target / _FIGURES).mkdir()
        for name, sheet in painter.figures().items():
            pictures.save_png(sheet, target / _FIGURES / f"{name}.png")
        pairs_at_once = max(1, options.batch // (2 * len(KINDS)))
        for start in progress(range(0, count, pairs_at_once), "drawing pairs", unit="batch"):
            numbers = np.arange(start, min(start + pairs_at_once, count))
            _write_pictures(model, shown, numbers, options.seed, target / _IMAGES)
        title = report.Title(
            run=f"{configuration.experiment.name}: pairs",
            summary=configuration.experiment.paper,
            data=f"{shown.name} ({shown.source}), the first {count:,} of {shown.num_examples:,} pairs",
            steps=step,
            seed=configuration.experiment.seed,
        )
        pages = _write_pages(target, title, range(count), model.image_shape[:2])
    return {"folder": str(path), "page": str(path / INDEX), "pages": pages, "pairs": count, "step": step}


def _write_pictures(model: PairModel, shown: PairedDataset, numbers: np.ndarray, seed: int, target: Path) -> None:
    """The pictures of these pairs; the next pair gives the style of a swap (in the authors' code a random one)."""
    others = pairs_at(shown, (numbers + 1) % shown.num_examples)
    noises = [Noise(seed, int(number)) for number in numbers]
    found = published_pictures(model, *pairs_at(shown, numbers), others, noises)
    for kind, images in found.items():
        for number, image in zip(numbers, pictures.to_uint8(images), strict=True):
            (target / _file(int(number), kind)).write_bytes(encode_png(image, smooth=True))


def _file(number: int, kind: str) -> str:
    return f"{number:05d}-{kind}.png"


def _write_pages(target: Path, title: report.Title, numbers: range, size: tuple[int, ...]) -> int:
    """The pages, the first of them with the four figures; returns how many."""
    starts = range(0, len(numbers), _PAIRS_OF_PAGE)
    names = [INDEX if page == 0 else f"page_{page + 1}.html" for page in range(len(starts))]
    for name, start in zip(names, starts, strict=True):
        part = numbers[start : start + _PAIRS_OF_PAGE]
        rows = [
            (f"{number} {domain}", [f"{_IMAGES}/{_file(number, f'{kind}_{domain}')}" for kind in KINDS])
            for number in part
            for domain in ("x", "y")
        ]
        turns = {
            f"{first} to {min(first + _PAIRS_OF_PAGE, len(numbers)) - 1}": "" if other == name else other
            for first, other in zip(starts, names, strict=True)
        }
        sections: list[report.Section | None] = [
            title,
            report.Links({"Report of the run": "../report.html"}),
            *(_figure_sections(target) if name == INDEX else []),
            report.Heading("Pair by pair"),
            report.Text("Inference mode. Each row shows images of one domain; pairs are counted from 0."),
            report.Links(turns) if len(names) > 1 else None,
            report.LinkedPictures(list(KINDS.values()), rows, (size[1], size[0])),
        ]
        report.write_report(target / name, sections)
    return len(names)


def _figure_sections(target: Path) -> list[report.Section]:
    """The four figures of the community code."""
    shown = [report.Picture(target / _FIGURES / f"{name}.png", text) for name, text in FIGURE_CAPTIONS.items()]
    return [report.Heading("Four experiments"), report.Gallery(shown)]
