"""The runs that a selection compares: found by patterns, read, checked to be comparable, restored."""

from __future__ import annotations

import contextlib
import glob
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.output import say
from training.configuration import flatten, load
from training.evaluation import score_values
from training.experiment import Experiment, image_shape_of
from training.modes import restored
from training.options import Configuration
from training.run_folder import RunFolder, read_json
from training.sweep_states import TOTAL_STEPS

FAMILY = "experiment.model.kind"
_COMPARED = ("experiment.", "data.", "data_source")
_ONE_DEVICE = ("experiment.strategy = 'one_device'", "experiment.devices = None")


@dataclass(frozen=True)
class Run:
    """A run folder that takes part.

    Args:
        name: short and unlike all others'.
        path: the folder.
        options: all options by dotted names.
        state: `finished`, or how far it is.
    """

    name: str
    path: Path
    options: Mapping[str, Any]
    state: str

    @property
    def family(self) -> str:
        """The model's name."""
        return str(self.options[FAMILY]).removesuffix("Options")


def find_runs(texts: Sequence[str]) -> list[Path]:
    """The run folders that `--runs` means, each once, in alphabetical order within a pattern.

    Args:
        texts: folders or patterns such as `runs/a/*`, separated by commas. What a pattern finds besides run folders
            is passed over.

    Raises:
        UserError: a pattern that finds no run, a folder that is none, fewer than two runs.
    """
    found: dict[Path, Path] = {}
    for pattern in (part.strip() for text in texts for part in text.split(",")):
        if not pattern:
            continue
        if Path(pattern).is_dir():
            RunFolder(pattern).require()
            paths = [Path(pattern)]
        else:
            paths = [path for path in map(Path, sorted(glob.glob(pattern))) if _is_run(path)]
        if not paths:
            raise UserError(f"--runs={pattern!r} finds no run folder; give folders of runs, such as 'runs/a/*'")
        found.update({path.resolve(): path for path in paths})
    if len(found) < 2:
        raise UserError(
            f"--runs finds {len(found)} run{'s' if len(found) != 1 else ''}; models are compared with each other: "
            "give two or more"
        )
    return list(found.values())


def _is_run(path: Path) -> bool:
    return RunFolder(path).configuration_file.is_file()


def read_runs(paths: Sequence[Path], allow_unfinished: bool) -> list[Run]:
    """Reads run folders.

    Args:
        paths: see `find_runs`.
        allow_unfinished: take runs that are not finished too.

    Raises:
        UserError: runs that are not finished, or of several families of models.
    """
    above = Path(common_folder(paths))
    runs = [_read(path, os.path.relpath(path.resolve(), above)) for path in paths]
    unfinished = [run for run in runs if run.state != "finished"]
    if unfinished and not allow_unfinished:
        shown = "; ".join(f"{run.name} ({run.state})" for run in unfinished[:5]) + ("; ..." if unfinished[5:] else "")
        raise UserError(
            f"{len(unfinished)} of {len(runs)} runs are not finished: {shown}; finish them, leave them out, or give "
            "--allow_unfinished to take their newest checkpoints"
        )
    families = {run.family: run for run in runs}
    if len(families) > 1:
        shown = ", ".join(f"{run.name} is of {family}" for family, run in families.items())
        raise UserError(f"the runs are of different models: {shown}; compare runs of one model")
    return runs


def common_folder(paths: Iterable[Path]) -> str:
    """The innermost folder in which all these lie."""
    return os.path.commonpath([path.resolve().parent for path in paths])


def _read(path: Path, name: str) -> Run:
    folder = RunFolder(path)
    options = flatten(folder.read_options())
    if not {FAMILY, TOTAL_STEPS} <= options.keys():
        raise UserError(f"{folder.options_file} is damaged; remove the run folder and train again")
    file = path / "result.json"
    result = read_json(file) if file.is_file() else None
    total, step = options[TOTAL_STEPS], None if result is None else result.get("step")
    # A published run has no checkpoints to tell.
    done = step if folder.is_published and isinstance(step, int) else folder.steps_done()
    state = "finished" if step == total else f"step {done:,} of {total:,}"
    return Run(name, path, options, state)


def configurations_of(runs: Sequence[Run], gin_params: Sequence[str]) -> list[Configuration]:
    """The runs' configurations, for one device, whatever they were trained on.

    Args:
        runs: the runs.
        gin_params: further bindings for all of them.

    Raises:
        UserError: images of different shapes; found without loading data.
    """
    configurations = [load([RunFolder(run.path).configuration_file], [*gin_params, *_ONE_DEVICE])[0] for run in runs]
    for run, configuration in zip(runs, configurations, strict=True):
        if configuration.experiment.model.takes_pairs:
            raise UserError(f"{run.name} is a model of pairs, whose codes ModelCentrality and UDR do not compare")
    shapes = {image_shape_of(configuration): run for configuration, run in zip(configurations, runs, strict=True)}
    if len(shapes) > 1:
        shown = ", ".join(f"{run.name} has {shape}" for shape, run in shapes.items())
        raise UserError(f"the runs' images have different shapes: {shown}; compare runs on images of one shape")
    return configurations


def restore_runs(runs: Sequence[Run], configurations: Sequence[Configuration], checkpoint: str) -> list[Experiment]:
    """The runs' models, all in memory, from this checkpoint of each.

    Raises:
        UserError: a run without such a checkpoint, or models without codes.
    """
    say(f"{len(runs)} runs of {runs[0].family}")
    experiments = [
        restored(configuration, run.path, checkpoint)[0]
        for run, configuration in zip(runs, configurations, strict=True)
    ]
    if not experiments[0].model.latent_space.traversals():
        raise UserError(f"{runs[0].family} has no codes, so there is nothing to compare")
    return experiments


def differing_options(runs: Sequence[Run]) -> list[str]:
    """Names of the options that decide a run's numbers and are not the same in all runs."""
    names = sorted({name for run in runs for name in run.options if name.startswith(_COMPARED)})
    return [name for name in names if len({_text(run.options.get(name)) for run in runs}) > 1]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def kept_scores(run: Run, fingerprint: str) -> tuple[dict[str, float], str]:
    """The scores that were measured with these very weights, and the preset they were measured by.

    Args:
        run: the run.
        fingerprint: of the weights.

    Returns:
        metric id to score, empty if nothing was measured; `paper` before `fast` where there are both.
    """
    found: dict[str, dict[str, float]] = {}
    for path in sorted((run.path / "evaluation").glob("step_*.json")):
        # A damaged one is measured anew by who wants its scores; here they are only shown.
        with contextlib.suppress(UserError, KeyError, TypeError, AttributeError):
            kept = read_json(path)
            if kept["fingerprint"] == fingerprint:
                found.setdefault(kept["preset"], {}).update(score_values(kept["scores"]))
    for preset in ("paper", "fast"):
        if found.get(preset):
            return found[preset], preset
    return {}, ""
