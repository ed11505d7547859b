"""The mode publish: a finished run as a small folder that may be handed on, with a card that says what it is."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import atomic_folder, write_text
from common.output import answer, say
from common.progress import encoding_line
from data_gen.pairs import PairedDataset
from models.pairs import PairModel
from training import pictures
from training.configuration import ROOT, load
from training.evaluation import Evaluator, Scores, score_values
from training.experiment import Experiment, build_model
from training.export import plain_copy
from training.pair_grids import CAPTIONS, PairPainter
from training.published import restore_published, write_weights
from training.run_folder import WEIGHTS, RunFolder, read_json
from training.summary import score_rows
from training.traversal import Painter

CARD = "README.md"


def publish(experiment: Experiment, folder: RunFolder, checkpoint: str, out: str | None) -> int:
    """Writes a run for others to use: weights, configuration, scores, pictures, and a card; prints JSON.

    What is scored and drawn are the weights as they are published: in half precision.

    Args:
        experiment: restored from the run.
        folder: of the run.
        checkpoint: which of its states that was.
        out: the folder to make, or to make anew; None: `published/` in the run folder.

    Raises:
        UserError: the folder holds something else, or the run is a published one itself.
    """
    target = Path(out) if out else folder.path / "published"
    if folder.is_published:
        raise UserError(f"{folder.path} is a published run already; copy it, or publish the run that it came from")
    if target.exists() and not (target / WEIGHTS).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} holds something that is no published run; choose another --out")
    plain = plain_copy(experiment)
    with atomic_folder(target) as new:
        _copy_configuration(folder, new)
        kept = write_weights(new, plain)
        # As others will have it: with networks that were left out as they are before training.
        shape = experiment.model.image_shape
        model = build_model(experiment.configuration, experiment.runtime, shape, optimizers=False)
        restore_published(new, model)
        experiment = dataclasses.replace(experiment, model=model)
        options = experiment.configuration.evaluation
        scores: Scores = {}
        if options.metrics:
            scores = Evaluator(experiment).kept_scores(
                RunFolder(new).subfolder("evaluation"), options.preset, encoding_line
            )
        shown = _draw(experiment, RunFolder(new).subfolder("pictures"))
        dataset = experiment.dataset
        result = {
            "step": int(experiment.model.step.numpy()),
            "checkpoint": checkpoint,
            "data": dataset.name,
            "data_source": dataset.source,
            "scores": score_values(scores),
            "networks": kept,
            "fingerprint": experiment.model.fingerprint(),
        }
        write_text(new / "result.json", json.dumps(result, indent=2) + "\n")
        megabytes = (new / WEIGHTS).stat().st_size / 1e6
        write_text(new / CARD, _card(experiment, target, result, scores, shown, megabytes))
    say(f"{target}: {megabytes:.1f} MB of weights")
    answer({"folder": str(target), **result})
    return 0


def _copy_configuration(folder: RunFolder, new: Path) -> None:
    shutil.copyfile(folder.options_file, new / folder.options_file.name)
    write_text(new / folder.configuration_file.name, load([folder.configuration_file])[1])
    environment = read_json(folder.path / "environment.json")
    # The command names a path of the machine it was given on; the card has one that works elsewhere.
    environment.pop("command", None)
    write_text(new / "environment.json", json.dumps(environment, indent=2) + "\n")


def _draw(experiment: Experiment, folder: Path) -> dict[str, str]:
    """Writes the sheets; returns what each file shows."""
    model, dataset, options = experiment.model, experiment.dataset, experiment.configuration.traversal
    shown: dict[str, str] = {}
    if isinstance(model, PairModel) and isinstance(dataset, PairedDataset):
        for name, sheet in PairPainter(model, dataset, options.seed, options.batch_norm == "batch").sheets().items():
            pictures.save_png(sheet, folder / f"{name}.png")
            shown[f"{name}.png"] = CAPTIONS[name]
        return shown
    painter = Painter(model, options)
    for name, sheet in painter.sheets().items() if painter.draws else ():
        pictures.save_png(sheet, folder / f"{name}.png")
        is_samples = name == "samples"
        shown[f"{name}.png"] = "samples from the prior" if is_samples else f"traversals, {name.replace('_', ' ')}"
    return shown


def _card(
    experiment: Experiment,
    target: Path,
    result: dict[str, Any],
    scores: Scores,
    shown: dict[str, str],
    megabytes: float,
) -> str:
    options, dataset = experiment.configuration.experiment, experiment.dataset
    state = {"last": "the last one"}.get(result["checkpoint"], result["checkpoint"])
    steps = f"{result['step']:,}" + (f" of the paper's {options.paper_steps:,}" if options.paper_steps else "")
    left_out = sorted(experiment.model.networks.keys() - set(result["networks"]))
    facts = {
        "Model": type(experiment.model).__name__,
        "Experiment": options.name,
        "Paper": options.paper or "none: an experiment of our own",
        "Data": f"{dataset.name}, source: {dataset.source}; {dataset.num_examples:,} examples",
        "Steps": f"{steps}, batches of {options.global_batch}",
        "State": state,
        "Seed": str(options.seed),
        "Networks": ", ".join(result["networks"]) + (f" (left out: {', '.join(left_out)})" if left_out else ""),
        "Weights": f"{megabytes:.1f} MB; matrices in half precision, which is what was scored and drawn",
        "Fingerprint": f"`{result['fingerprint'][:16]}...`",
    }
    lines = [f"# {target.name}", "", "| | |", "|---|---|"]
    lines += [f"| {fact} | {value} |" for fact, value in facts.items()]
    if scores:
        snapshot = result["checkpoint"] if result["checkpoint"] in experiment.model.snapshots else ""
        table = score_rows(experiment, scores, snapshot)
        lines += ["", "## Scores", "", f"{table.caption}.", "", *table.markdown()]
    run_dir, where = _run_dir(target)
    lines += ["", "## Use", "", *where, "```"]
    lines += [f"python run.py --run_dir={shlex.quote(run_dir)} --mode={mode}" for mode in _modes_to_use(experiment)]
    lines += ["```", "", "It cannot be trained on; `experiment.start_from` begins another run from its weights."]
    for file, caption in shown.items():
        lines += ["", f"![{caption}](pictures/{file})", "", f"*{caption}*"]
    return "\n".join(lines) + "\n"


def _run_dir(target: Path) -> tuple[str, list[str]]:
    """What the card's commands call the folder, and what the reader must know of that, as lines.

    A folder of the suite is named as it lies in it. Any other will lie where its reader puts it.
    """
    if target.resolve().is_relative_to(ROOT):
        return target.resolve().relative_to(ROOT).as_posix(), []
    return target.name, [f"In the suite's folder, with the path of this one in place of `{target.name}`:", ""]


def _modes_to_use(experiment: Experiment) -> list[str]:
    """The modes that serve this model and need no data, with the flags that they need."""
    if not Painter(experiment.model, experiment.configuration.traversal).draws:
        return ["export"]
    if isinstance(experiment.model, PairModel):
        return ["translate --input=images --direction=x2y", "export"]
    return ["traverse", "generate", "interpolate", "export"]
