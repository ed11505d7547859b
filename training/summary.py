"""The report of a run, put together from what stands in its folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metrics.registry import bare_id, lower_is_better
from training import pictures, report
from training.configuration import flatten
from training.curves import write_curves
from training.evaluation import Scores, part_values, score_values
from training.experiment import Experiment
from training.pair_export import FOLDER as PAIRS_FOLDER
from training.pair_export import INDEX as PAIRS_PAGE
from training.pair_grids import CAPTIONS, PAIR_SHEETS
from training.records import read_records
from training.run_folder import RunFolder, read_json
from training.start_from import origin_of

_LONGEST_MOVIE = 60


def write_summary(
    experiment: Experiment, folder: RunFolder, scores: Scores, environment: Mapping[str, Any], fingerprint: str
) -> None:
    """Writes `report.html`, the curves and the GIF over training into a run folder.

    Args:
        experiment: what was run.
        folder: its folder, with records and pictures.
        scores: metric id to result.
        environment: versions and hardware.
        fingerprint: of the weights.
    """
    options, dataset = experiment.configuration.experiment, experiment.dataset
    step = int(experiment.model.step.numpy())
    records = read_records(folder.path / "metrics.jsonl")
    sections: list[report.Section | None] = [
        report.Title(
            run=options.name,
            summary=options.paper,
            data=f"{dataset.name} ({dataset.source}), {dataset.num_examples:,} images",
            steps=step,
            seed=options.seed,
            fingerprint=fingerprint,
            more={"Batch": options.global_batch, "Precision": options.precision, "Started from": origin_of(folder)},
        ),
        report.shorter_run_notice(step, options.paper_steps),
        data_notice([dataset.source]),
        *_score_sections(experiment, scores),
        *_snapshot_sections(experiment, folder),
        *_pair_sections(folder),
        *_sample_sections(folder),
        *_traversal_sections(folder),
        report.Heading("Curves"),
        *(report.Picture(path, title) for path, title in write_curves(records, folder.subfolder("pictures"))),
        report.Heading("Machine and configuration"),
        report.KeyValues(_flat(environment), "Environment", folded=True),
        report.KeyValues(_flat(folder.read_options()), "All options", folded=True),
    ]
    report.write_report(folder.report, sections)


def data_notice(sources: Sequence[str]) -> report.Notice | None:
    """The remark that data are not those that were published; None if they are."""
    others = [source for source in sources if source not in ("official", "published")]
    if not others:
        return None
    return report.Notice(f"The data are not the published files; their source is: {', '.join(others)}.", "info")


def _score_sections(experiment: Experiment, scores: Scores) -> list[report.Section]:
    if not scores:
        return []
    return [report.Heading("Scores"), score_rows(experiment, scores)]


def score_rows(experiment: Experiment, scores: Scores, snapshot: str = "") -> report.Table:
    """Scores beside the paper's.

    Args:
        experiment: what was run.
        scores: metric id to result.
        snapshot: which of its states was measured; empty: the run itself.
    """
    published = experiment.configuration.experiment.paper_scores
    prefix = f"{snapshot}/" if snapshot else ""
    rows: list[report.Score] = []
    for name, result in scores.items():
        value = float("nan") if result["score"] is None else result["score"]
        rows.append(_score_row(name, value, published_score(published, prefix + name), _remark(name, result)))
        # Tables of retrieval have one column for each direction.
        parts = {f"{name}/{part}": value for part, value in part_values(result).items()}
        rows += [_score_row(part, value, published.get(prefix + part, ()), "") for part, value in parts.items()]
    evaluation = experiment.configuration.evaluation
    caption = f"One seed, {experiment.dataset.name}, preset '{evaluation.preset}'"
    if evaluation.representation is not None:
        caption += f", representation '{evaluation.representation}'"
    return report.score_table(rows, caption)


def _score_row(name: str, value: float, paper: Sequence[float], remark: str) -> report.Score:
    spread = paper[1] if len(paper) > 1 else None
    return report.Score(name, value, paper=paper[0] if paper else None, paper_spread=spread, remark=remark)


def _remark(name: str, result: Mapping[str, Any]) -> str:
    remarks = ["Lower is better."] if lower_is_better(name) else []
    if result.get("extractor") and bare_id(name) != name:
        remarks.append(f"By {result['extractor']}; numbers of other networks cannot be compared.")
    return " ".join([*remarks, *result["degenerate"], *result["notes"]])


def published_score(published: Mapping[str, Any], name: str) -> Sequence[float]:
    """The published number of a score, which knows nothing of the network in its name; empty if there is none.

    Args:
        published: `experiment.paper_scores`: `<metric id>`, or `<snapshot>/<metric id>`, to number and spread.
        name: of the score.
    """
    snapshot, slash, metric = name.rpartition("/")
    return published.get(name) or published.get(f"{snapshot}{slash}{bare_id(metric)}") or ()


def snapshots_of(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """What the run wrote of its snapshots: name to `step`, `fingerprint` and `scores`, in the order of the steps."""
    found = {path.parent.name: read_json(path) for path in (folder.path / "snapshots").glob("*/scores.json")}
    return dict(sorted(found.items(), key=lambda item: item[1]["step"]))


def snapshot_values(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Only the numbers: snapshot to its `step` and `scores`."""
    return {
        name: {"step": kept["step"], "scores": score_values(kept["scores"])}
        for name, kept in snapshots_of(folder).items()
    }


def _snapshot_sections(experiment: Experiment, folder: RunFolder) -> list[report.Section]:
    sections: list[report.Section] = []
    for name, kept in snapshots_of(folder).items():
        sections.append(report.Heading(f"Snapshot {name}, step {kept['step']:,}"))
        if kept["scores"]:
            sections.append(score_rows(experiment, kept["scores"], name))
        for overview in sorted((folder.path / "snapshots" / name).glob("*_all.png")):
            base = overview.name.removesuffix("_all.png")
            sections.append(report.Picture(overview, f"Each code moved alone, the others kept ({base})"))
    return sections


def _pair_sections(folder: RunFolder) -> list[report.Section]:
    """The sheets of a model of pairs."""
    shown: list[report.Section] = []
    for name, caption in CAPTIONS.items():
        sheet = folder.path / "pictures" / f"{PAIR_SHEETS}{name}.png"
        if sheet.is_file():
            shown.append(report.Picture(sheet, f"Left to right: {caption}"))
    if (folder.path / PAIRS_FOLDER / PAIRS_PAGE).is_file():
        page = f"{PAIRS_FOLDER}/{PAIRS_PAGE}"
        shown.append(report.Links({"The four experiments as published, and 16 pictures of single pairs": page}))
    return [report.Heading("Translations"), *shown] if shown else []


def _sample_sections(folder: RunFolder) -> list[report.Section]:
    """Samples; none of a model that makes no images."""
    samples = folder.path / "pictures" / "samples.png"
    if not samples.is_file():
        return []
    return [report.Heading("Samples and traversals"), report.Picture(samples, "Samples from the prior")]


def _traversal_sections(folder: RunFolder) -> list[report.Section]:
    found = folder.path / "pictures"
    sections: list[report.Section] = []
    for overview in sorted(found.glob("*_all.png")):
        base = overview.name.removesuffix("_all.png")
        sections.append(report.Picture(overview, f"Each code moved alone, the others kept ({base})"))
        movie = _training_movie(folder, base)
        if movie is not None:
            sections.append(report.Picture(movie, f"The same while training ({base})"))
        sections += _code_sheet_sections(folder, base)
    first = sorted(found.glob("*_all.png"))[:1]
    for overview in first:
        base = overview.name.removesuffix("_all.png")
        movies = sorted(found.glob(f"{base}_*.gif"), key=_natural_order)
        sections.append(report.Gallery([report.Picture(movie, movie.stem) for movie in movies]))
    return sections


def _code_sheet_sections(folder: RunFolder, base: str) -> list[report.Section]:
    """The sheets of two codes, and their GIFs over training; a sheet of one code has a GIF of its own name."""
    shown = []
    for sheet in sorted((folder.path / "pictures").glob(f"{base}_*.png"), key=_natural_order):
        if sheet.stem != f"{base}_all" and not sheet.with_suffix(".gif").exists():
            movie = _training_movie(folder, sheet.stem)
            shown += [report.Picture(path, path.stem) for path in (sheet, movie) if path is not None]
    return [report.Gallery(shown)] if shown else []


def _natural_order(path: Path) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.stem)]


def _training_movie(folder: RunFolder, base: str) -> Path | None:
    """A GIF of the sheets drawn while training, thinned evenly if there are many."""
    sheets = sorted((folder.path / "training_pictures").glob(f"{base}_[0-9]*.png"))
    if len(sheets) < 2:
        return None
    count = min(_LONGEST_MOVIE, len(sheets))
    chosen = [sheets[round(index * (len(sheets) - 1) / (count - 1))] for index in range(count)]
    frames = [pictures.read_png(path) for path in chosen]
    movie = folder.path / "pictures" / f"training_{base}.gif"
    pictures.save_gif(frames, movie, frames_per_second=4)
    return movie


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values by dotted names, lists as text."""
    flat = flatten(values)
    return {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in flat.items()}
