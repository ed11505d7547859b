"""Scores a representation: codes from any tool, or a Keras encoder on a data set; `python -m metrics`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.arguments import CommandParser
from common.errors import UserError, run_command
from common.output import answer, say
from common.progress import encoding_line
from metrics import registry
from metrics.catalogue import CODE_ERRORS
from metrics.files import read_arrays
from metrics.generation_catalogue import ENTRIES
from metrics.inputs import KEYS
from metrics.results import MetricResult

_BATCH = 256
_OF_ENCODER = ("source", "data_dir", "raw_dir", "encoder_output", "batch")
_EPILOG = """\
the file of --codes, written by numpy.savez (nothing in it is ever unpickled):
{keys}
  Which factors are categories: `discrete`, or else those that are named so (shape, class, ...) or take at most five
  whole values. Real values are cut into 20 bins where levels are needed. The results say what was assumed.
  Metrics that hold something out take test_... arrays, or else the last third of the rows or groups.

the metrics, and the arrays that each reads:
{needs}
  Slow ones are left out unless they are named. docs/metrics.md says which number of which paper is which id.

examples:
  python -m metrics --codes codes.npz
  python -m metrics --codes codes.npz --metrics mig,sap,dci_lasso --json
  python -m metrics --codes codes.npz --preset fast --plots plots
  python -m metrics --encoder encoder.keras --dataset dsprites --preset fast
  python -m metrics --list

  # in Python: the codes of some thousand images, and their factors
  numpy.savez("codes.npz", codes=codes, factors=factors, factor_names=["shape", "scale"], discrete=[True, False])

The scores go to standard output, everything else to standard error. Exit code 0 is success, 2 is bad input.
"""


def parser() -> CommandParser:
    """The command line."""
    width = max(map(len, registry.names()))
    entries = [registry.get(name) for name in registry.names()]
    needs = "\n".join(f"  {entry.name:{width}s}  {', '.join(entry.needs)}{_about_slowness(entry)}" for entry in entries)
    keys = "\n".join(f"  {name:17s}  {text}" for name, text in KEYS.items())
    result = CommandParser(
        prog="python -m metrics",
        description="Scores a representation: given as arrays from any tool, or made by a Keras encoder on a data set.",
        epilog=_EPILOG.format(needs=needs, keys=keys),
    )
    result.add_argument("--codes", metavar="FILE.npz", type=Path, help="the arrays to score; see below")
    result.add_argument(
        "--encoder", metavar="FILE.keras", type=Path, help="a Keras model from images in [0, 1] to codes; see --dataset"
    )
    result.add_argument("--dataset", metavar="NAME", help="the data set to score --encoder on (python -m data_gen)")
    data = result.add_argument_group("options of --encoder")
    data.add_argument("--source", metavar="NAME", help="which version of the data set (default: auto)")
    data.add_argument(
        "--data_dir", type=Path, metavar="FOLDER", help="prepared data (default: $SPOUT_DATA_DIR or data)"
    )
    data.add_argument("--raw_dir", type=Path, metavar="FOLDER", help="published files (default: $SPOUT_RAW_DIR)")
    data.add_argument("--encoder_output", type=int, metavar="N", help="which output, if the model has several, from 0")
    data.add_argument("--batch", type=int, metavar="N", help=f"images in a batch (default: {_BATCH})")
    result.add_argument(
        "--metrics", metavar="ID,ID", help="which metrics (default: all that are possible and not slow)"
    )
    result.add_argument(
        "--preset",
        choices=registry.PRESETS,
        default="paper",
        help="paper (default): the published number of images, or all rows; fast: at most 10,000 of them",
    )
    result.add_argument("--seed", type=int, default=0, metavar="N", help="for what is drawn at random (default: 0)")
    result.add_argument(
        "--strict_reference",
        action="store_true",
        help="give what the released code gives for degenerate input, such as null where it divides 0 by 0",
    )
    result.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    result.add_argument(
        "--plots", type=Path, metavar="FOLDER", help="also draw matrices, votes and scores as PNG files"
    )
    result.add_argument("--list", action="store_true", help="list the metrics with their papers and stop")
    return result


def _about_slowness(metric: registry.Metric) -> str:
    presets = [preset for preset in registry.PRESETS if preset in metric.slow_in]
    return f" (slow with preset {' and '.join(presets)})" if presets else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: what follows the command's name; by default that of the process.

    Returns:
        the exit code.

    Raises:
        UserError: for bad input of any kind.
    """
    options = parser().parse_args(arguments)
    if options.list:
        print(_listing(options.json))
        return 0
    _check_options(options)
    chosen = None if options.metrics is None else [name.strip() for name in options.metrics.split(",") if name.strip()]
    for name in chosen or ():
        # Unknown ids are told before a file of gigabytes is read.
        registry.get(name)
    results, about = _of_codes(options, chosen) if options.codes is not None else _of_encoder(options, chosen)
    if options.plots is not None:
        from metrics.plots import write_plots

        files = write_plots(results, options.plots)
        say(f"{len(files)} plots in {options.plots}")
    if options.json:
        scores = {name: result.to_json() for name, result in results.items()}
        answer({"metrics": scores, **about, "preset": options.preset, "seed": options.seed})
    else:
        print(_table(results))
    return 0


def _check_options(options: argparse.Namespace) -> None:
    if options.codes is None and options.encoder is None:
        raise UserError(
            "--codes is missing: give the .npz file to score, or --encoder and --dataset, or --list or --help"
        )
    if options.codes is not None and options.encoder is not None:
        raise UserError("give either --codes or --encoder, not both")
    if (options.encoder is None) != (options.dataset is None):
        raise UserError("--encoder and --dataset belong together: an encoder is scored on a data set")
    if options.seed < 0:
        raise UserError(f"--seed is {options.seed}; it must be 0 or more")
    if options.batch is not None and options.batch < 1:
        raise UserError(f"--batch is {options.batch}; it must be 1 or more")
    if options.encoder is None:
        unused = [flag for flag in _OF_ENCODER if getattr(options, flag) is not None]
        if unused:
            flags = ", ".join(f"--{flag}" for flag in unused)
            raise UserError(f"--codes takes no {flags}, which tell of the data set that --encoder is scored on")
    if options.plots is not None:
        # Before anything is measured.
        above = next(path for path in (options.plots, *options.plots.absolute().parents) if path.exists())
        if above == options.plots and not above.is_dir():
            raise UserError(f"--plots is {options.plots}, which is a file; give a folder")
        if not above.is_dir():
            raise UserError(f"--plots is {options.plots}, but {above} is a file, not a folder; choose another folder")


def _of_codes(options: argparse.Namespace, chosen: list[str] | None) -> tuple[dict[str, MetricResult], dict[str, Any]]:
    arrays = read_arrays(options.codes)
    about = {"file": str(options.codes)}
    if chosen is not None:
        score = registry.score_arrays(arrays, chosen, options.preset, options.seed, options.strict_reference)
        return score, about
    possible = _possible(arrays, options.preset)
    results, refusals = registry.score_possible(
        arrays, possible, options.preset, options.seed, options.strict_reference
    )
    measured = {registry.get(name).needs for name in results}
    of_images = {entry.name for entry in ENTRIES}
    for name, refusal in refusals.items():
        # Images that suffice for one metric may be too few for another, and nobody said that codes are categories;
        # all else that is refused is wrong.
        is_too_few = name in of_images and registry.get(name).needs in measured
        if not is_too_few and (name not in CODE_ERRORS or "code_columns" in arrays):
            raise refusal
        say(f"note: left out: {refusal}")
    return results, about


def _of_encoder(
    options: argparse.Namespace, chosen: list[str] | None
) -> tuple[dict[str, MetricResult], dict[str, Any]]:
    import data_gen
    from metrics.keras_encoder import load_encoder

    source = options.source or "auto"
    dataset = data_gen.load(options.dataset, source=source, data_dir=options.data_dir, raw_dir=options.raw_dir)
    if not hasattr(dataset, "image_shape"):
        raise UserError(f"{dataset.name} has vectors and no images, which --encoder takes; choose another --dataset")
    ids = registry.possible_on(dataset, options.preset) if chosen is None else chosen
    encode = load_encoder(options.encoder, dataset.image_shape, options.encoder_output)
    batch = options.batch or _BATCH
    results = registry.evaluate(
        dataset, encode, ids, options.preset, options.seed, batch, encoding_line, options.strict_reference
    )
    about = {"encoder": str(options.encoder), "data": dataset.name, "data_source": dataset.source}
    return results, about


def _possible(arrays: dict[str, np.ndarray], preset: str) -> list[str]:
    """The metrics that these arrays suffice for and that are not slow in this preset."""
    possible = [name for name in registry.names() if all(key in arrays for key in registry.get(name).needs)]
    if not possible:
        needs = sorted({" and ".join(registry.get(name).needs) for name in registry.names()})
        has = ", ".join(sorted(arrays)) if arrays else "none of the arrays that metrics read"
        raise UserError(
            f"the file has {has}, which suffices for no metric; they need {', or '.join(needs)} "
            "(see python -m metrics --help)"
        )
    slow = [name for name in possible if preset in registry.get(name).slow_in]
    if slow:
        say(f"note: left out because they take long, unless named in --metrics: {', '.join(slow)}")
    return [name for name in possible if name not in slow] or possible


def _listing(as_json: bool) -> str:
    metrics = [registry.get(name) for name in registry.names()]
    if as_json:
        entries = {
            m.name: {
                "description": m.description,
                "paper": m.paper,
                "needs": list(m.needs),
                "slow_in": list(m.slow_in),
                "lower_is_better": m.lower_is_better,
            }
            for m in metrics
        }
        return json.dumps({"metrics": entries})
    width = max(len(metric.name) for metric in metrics)
    return "\n".join(
        f"{metric.name:{width}s}  {metric.description}{_direction(metric)} [{metric.paper}]" for metric in metrics
    )


def _direction(metric: registry.Metric) -> str:
    return " (lower is better)" if metric.lower_is_better else ""


def _table(results: dict[str, MetricResult]) -> str:
    width = max(len("metric"), *map(len, results))
    lines = [f"{'metric':{width}s}  score"]
    for name, result in results.items():
        lines.append(f"{name:{width}s}  {result.score:.4f}")
        lines.extend(f"{'':{width}s}  ! {text}" for text in result.degenerate)
        lines.extend(f"{'':{width}s}  . {text}" for text in result.notes)
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
