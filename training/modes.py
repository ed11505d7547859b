"""The modes of `run.py` other than train; each returns its exit code."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np

from common.errors import UserError
from common.files import atomic_folder
from common.output import answer, say
from common.progress import encoding_line, progress
from models.base import DisentanglementModel
from models.noise import Noise
from models.pairs import PairModel
from training import pictures
from training.benchmark import measure
from training.configuration import load, resolved
from training.evaluation import Evaluator
from training.experiment import Experiment, Trained, build, build_model, image_shape_of
from training.export import export_model
from training.interpolation import write_films
from training.loop import NotFinite
from training.options import Configuration
from training.pair_export import export_pairs
from training.publish import publish as publish
from training.published import restore_run
from training.run_folder import RunFolder
from training.runtime import prepare
from training.translate import translate_images
from training.translate_flags import TranslateFlags
from training.traversal import Painter, write_traversals

WITHOUT_DATA = ("traverse", "generate", "interpolate", "export")
"""Modes of a trained model that read nothing of its data."""


def describe(configuration: Configuration) -> int:
    """Prints the model and the effective configuration as one JSON object; writes nothing, reads no data."""
    runtime = prepare(configuration.experiment)
    model = build_model(configuration, runtime, image_shape_of(configuration))
    answer({**model.describe(), "configuration": resolved(configuration)}, indent=2)
    return 0


def restored(configuration: Configuration, run_dir: str | Path, checkpoint: str) -> tuple[Experiment, RunFolder]:
    """A trained experiment from its run folder, to be used and not to be trained on.

    Args:
        configuration: of the run.
        run_dir: its folder.
        checkpoint: `last`, `best`, or one of the model's snapshots.

    Raises:
        UserError: there is no such run or checkpoint.
    """
    folder = RunFolder(run_dir)
    folder.require()
    # Before the data, which may have to be prepared.
    folder.refuse_another_model(configuration)
    experiment = build(configuration, optimizers=False)
    _restore(experiment.model, folder, checkpoint)
    return experiment, folder


def restored_model(
    configuration: Configuration, run_dir: str | Path, checkpoint: str, image_shape: tuple[int, ...] | None = None
) -> tuple[Trained, RunFolder]:
    """A trained model from its run folder, for what needs no data; arguments and errors as in `restored`.

    `image_shape` is that of `image_shape_of`, where the caller has it already.
    """
    folder = RunFolder(run_dir)
    folder.require()
    folder.refuse_another_model(configuration)
    runtime = prepare(configuration.experiment)
    model = build_model(configuration, runtime, image_shape or image_shape_of(configuration), optimizers=False)
    _restore(model, folder, checkpoint)
    return Trained(configuration, runtime, model), folder


def _restore(model: DisentanglementModel, folder: RunFolder, checkpoint: str) -> None:
    step = restore_run(folder, model, checkpoint)
    if step is None and folder.has_checkpoint:
        raise UserError(
            f"{folder.path} has no whole {checkpoint} checkpoint; train it again, or give another --run_dir"
        )
    if step is None:
        raise UserError(f"{folder.path} has no {checkpoint} checkpoint yet; train it first")
    say(f"{folder.path}: {'published weights' if folder.is_published else 'checkpoint'} of step {step}")


def translate(configuration: Configuration, run_dir: str | Path, checkpoint: str, flags: TranslateFlags) -> int:
    """Translates the user's own images by a trained model of pairs; of the run's data nothing is read.

    Raises:
        UserError: there is no such run or checkpoint, or its model is not of pairs of images.
    """
    name = configuration.experiment.name
    if not configuration.experiment.model.takes_pairs:
        raise UserError(f"{name} is no model of pairs, which alone translate; give --run_dir of a run of iiae")
    shape = image_shape_of(configuration)
    if len(shape) != 3:
        raise UserError(f"{name} is a model of vectors and takes no images; give --run_dir of a run on images")
    trained, folder = restored_model(configuration, run_dir, checkpoint, shape)
    return translate_images(cast(PairModel, trained.model), folder.path, configuration, flags)


def evaluate(experiment: Experiment, folder: RunFolder) -> int:
    """Measures a run with the configured metrics; prints a table to people and JSON to programs."""
    options = experiment.configuration.evaluation
    if not options.metrics:
        raise UserError("no metrics are chosen; for example --gin_param=\"evaluation.metrics = ('factor_vae',)\"")
    scores = Evaluator(experiment).kept_scores(folder.subfolder("evaluation"), options.preset, encoding_line)
    for name, result in scores.items():
        remark = " ".join([*result["degenerate"], *result["notes"]])
        score = "-" if result["score"] is None else f"{result['score']:.4f}"
        say(f"{name:24} {score}  {remark}".rstrip())
    step = int(experiment.model.step.numpy())
    dataset = experiment.dataset
    answer({"step": step, "data": dataset.name, "data_source": dataset.source, "metrics": scores})
    return 0


def traverse(experiment: Trained, folder: RunFolder) -> int:
    """Draws traversal sheets and GIFs of all codes."""
    painter = Painter(experiment.model, experiment.configuration.traversal)
    with atomic_folder(folder.path / "traversals") as target:
        files = write_traversals(painter, target)
    answer({"folder": str(folder.path / "traversals"), "files": sorted(file.name for file in files)})
    return 0


def generate(experiment: Trained, folder: RunFolder) -> int:
    """Makes images from the prior: single PNG files, a sheet, and one array with the latents."""
    options = experiment.configuration.generation
    painter = Painter(experiment.model, experiment.configuration.traversal)
    images = np.empty(0, np.uint8)
    latents = np.empty((options.images, experiment.model.latent_space.size), np.float32)
    with atomic_folder(folder.path / "generated") as target:
        for start in progress(range(0, options.images, options.batch), "generating", unit="batch"):
            part = slice(start, min(start + options.batch, options.images))
            latents[part] = experiment.model.sample_latents(part.stop - start, Noise(options.seed, start)).numpy()
            made = pictures.to_uint8(painter.generate(latents[part]))
            if not start:
                # Those of a model of pairs are twice as wide as an image.
                images = np.empty((options.images, *made.shape[1:]), np.uint8)
            images[part] = made
            for index in range(start, part.stop):
                # The folder is whole or not there: no need to wait for the disk with each of perhaps a million files.
                (target / f"{index:06d}.png").write_bytes(pictures.png_bytes(images[index]))
        pictures.save_png(pictures.image_grid(images[:100], columns=10), target / "sheet.png")
        np.savez_compressed(target / "images.npz", images=images, latents=latents)
    answer({"folder": str(folder.path / "generated"), "images": len(images)})
    return 0


def interpolate(experiment: Trained, folder: RunFolder) -> int:
    """Films walks through the latent space, as MP4 and GIF, with the points between which they go as PNG."""
    painter = Painter(experiment.model, experiment.configuration.traversal)
    options = experiment.configuration.interpolation
    with atomic_folder(folder.path / "interpolation") as target:
        frames = write_films(painter, options, target)
        files = sorted(file.name for file in target.iterdir())
    answer(
        {
            "folder": str(folder.path / "interpolation"),
            "files": files,
            "frames": frames,
            "seconds": frames / options.frames_per_second,
        }
    )
    return 0


def pairs(experiment: Experiment, folder: RunFolder) -> int:
    """Makes the 16 published pictures of pairs that are held out, and a page to look at them."""
    return export_pairs(experiment, folder)


def export(experiment: Trained, folder: RunFolder) -> int:
    """Writes the model for use without the suite: `.keras`, weights, SavedModels, ONNX, as `export.formats` says."""
    return export_model(experiment, folder)


def benchmark(configuration: Configuration) -> int:
    """Times training steps: prints rates, the split between data and step, compile time and memory as JSON."""
    try:
        answer(measure(configuration), indent=2)
    except NotFinite as error:
        raise UserError(f"{error}; nothing can be timed: choose other options, such as lower learning rates") from None
    return 0


def configuration_of(gin_files: list[str], bindings: list[str], run_dir: str | None) -> tuple[Configuration, str, str]:
    """The configuration of a command, and its run folder.

    Args:
        gin_files: files as given; none: those of the run folder.
        bindings: single bindings as given.
        run_dir: the folder as given; None: `runs/` and the experiment's name.

    Returns:
        configuration, gin text, run folder.

    Raises:
        UserError: neither files nor a run folder with a run.
    """
    files = list(gin_files)
    if not files:
        if not run_dir:
            raise UserError("give --gin_file=gin/NAME.gin (see the folder gin/), or --run_dir of a run")
        folder = RunFolder(run_dir)
        folder.require()
        files = [str(folder.configuration_file)]
    configuration, text = load(files, bindings)
    return configuration, text, run_dir or str(Path("runs") / configuration.experiment.name)
