"""The mode select: ranks finished runs by ModelCentrality and UDR, which need no labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import made_folder
from common.locks import locked
from common.output import answer, say
from metrics.encoding import encode_images
from metrics.model_centrality import model_centrality
from metrics.protocols import generator
from metrics.udr import UdrResult, dlib_udr_lasso, dlib_udr_spearman
from training.experiment import Experiment
from training.selection_images import PRESETS, Encoder, Protocol, centrality_model, encoder_of
from training.selection_report import Selection, print_ranking, write_selection
from training.selection_runs import (
    Run,
    common_folder,
    configurations_of,
    find_runs,
    kept_scores,
    read_runs,
    restore_runs,
)
from training.selection_scores import KeptScores

_PAIRS_FILE = "pairs.json"


@dataclass(frozen=True)
class SelectionFlags:
    """What the command line says of a selection.

    Args:
        runs: texts of `--runs`.
        out: the folder of the results; None: `selection` in the folder in which all runs lie.
        gin_params: bindings for all runs.
        checkpoint: `last`, `best` or the name of a snapshot, for all runs.
        preset: `paper` or `fast`.
        seed: of all images.
        allow_unfinished: take runs that are not finished too.
    """

    runs: Sequence[str]
    out: str | None = None
    gin_params: Sequence[str] = ()
    checkpoint: str = "last"
    preset: str = "paper"
    seed: int = 0
    allow_unfinished: bool = False


def select(flags: SelectionFlags) -> int:
    """Compares runs and ranks them.

    Returns:
        the exit code.

    Raises:
        UserError: runs that are not there, not finished, or not comparable.
    """
    paths = find_runs(flags.runs)
    runs = read_runs(paths, flags.allow_unfinished)
    folder = Path(flags.out or Path(common_folder(paths)) / "selection")
    configurations = configurations_of(runs, flags.gin_params)
    try:
        with made_folder(folder), locked(folder, wait=False):
            experiments = restore_runs(runs, configurations, flags.checkpoint)
            selection = _compare(runs, experiments, folder, flags)
            summary = write_selection(selection, folder)
    except BlockingIOError:
        raise UserError(f"another process compares runs in {folder}; wait for it, or choose another --out") from None
    print_ranking(selection)
    say(f"report: {folder / 'report.html'}")
    answer(summary)
    return 0


def _compare(runs: list[Run], experiments: list[Experiment], folder: Path, flags: SelectionFlags) -> Selection:
    protocol = replace(PRESETS[flags.preset], seed=flags.seed)
    fingerprints = [experiment.model.fingerprint() for experiment in experiments]
    encoders = [
        encoder_of(run.name, experiment, protocol.group_size) for run, experiment in zip(runs, experiments, strict=True)
    ]
    models = [
        centrality_model(run.name, experiment, encode, protocol)
        for run, experiment, encode in zip(runs, experiments, encoders, strict=True)
    ]
    identities = {
        run.name: f"{fingerprint} {experiment.configuration.evaluation.representation or 'published'}"
        for run, fingerprint, experiment in zip(runs, fingerprints, experiments, strict=True)
    }
    pairs = KeptScores(folder / _PAIRS_FILE, identities, protocol)
    if len(pairs):
        say(f"{len(pairs)} of {len(runs) ** 2} pairs were measured before")
    result = model_centrality(models, known=pairs, remarks=pairs.remarks, progress=_PairsLine(len(pairs)))
    udr, note = _udr(runs, experiments, encoders, protocol)
    return Selection(
        runs=runs,
        fingerprints=fingerprints,
        steps=[int(experiment.model.step.numpy()) for experiment in experiments],
        checkpoint=flags.checkpoint,
        preset=flags.preset,
        protocol=protocol,
        centrality=result,
        udr=udr,
        udr_note=note,
        scores=[kept_scores(run, fingerprint) for run, fingerprint in zip(runs, fingerprints, strict=True)],
    )


class _PairsLine:
    """Says how many pairs are measured, whenever there are more."""

    def __init__(self, measured_before: int) -> None:
        self._last = measured_before

    def __call__(self, done: int, total: int) -> None:
        if done > self._last:
            say(f"{done} of {total} pairs are measured")
        self._last = done


def _udr(
    runs: list[Run], experiments: list[Experiment], encoders: Sequence[Encoder], protocol: Protocol
) -> tuple[dict[str, UdrResult], str]:
    """UDR by both methods on the same real images; or nothing, and why."""
    datasets = [experiment.dataset for experiment in experiments]
    kinds = [(dataset.name, dataset.source, dataset.num_examples) for dataset in datasets]
    options = [experiment.configuration.data.options for experiment in experiments]
    if any(kind != kinds[0] for kind in kinds) or any(option != options[0] for option in options):
        shown = ", ".join(sorted({f"{name} ({source}, {count:,} images)" for name, source, count in kinds}))
        return {}, f"UDR is left out: it compares codes of the same images, but the runs' data differ: {shown}"
    data = datasets[0]
    count = min(protocol.real_images, data.num_examples)
    indices = np.sort(generator(protocol.seed, "udr").choice(data.num_examples, count, replace=False))
    codes = [encode_images(data, encode, indices, protocol.group_size) for encode in encoders]
    names = [run.name for run in runs]
    note = f"UDR: {count:,} images of {data.name} ({data.source})"
    return {
        "dlib_udr_lasso": dlib_udr_lasso(codes, names=names),
        "dlib_udr_spearman": dlib_udr_spearman(codes, names=names),
    }, note
