"""What a selection leaves: the matrix, the ranking, pictures and a report."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.files import atomic_file, write_bytes, write_text
from common.output import say, say_table
from metrics.model_centrality import ModelCentralityResult
from metrics.registry import lower_is_better
from metrics.results import plain
from metrics.udr import UdrResult
from training import pictures, report
from training.selection_images import Protocol
from training.selection_runs import Run, differing_options

_MOST_BARS = 20
_LONGEST_LABEL = 24


@dataclasses.dataclass(frozen=True)
class Selection:
    """A finished comparison; all sequences have one entry for each run, in the same order.

    Args:
        runs: the runs.
        fingerprints: of their weights.
        steps: of their checkpoints.
        checkpoint: which one it was.
        preset: `paper` or `fast`.
        protocol: the numbers of images.
        centrality: the ranking and the matrix.
        udr: metric id to result; empty if the data differ.
        udr_note: on which images, or why there is none.
        scores: supervised scores of the same weights, and their preset.
    """

    runs: Sequence[Run]
    fingerprints: Sequence[str]
    steps: Sequence[int]
    checkpoint: str
    preset: str
    protocol: Protocol
    centrality: ModelCentralityResult
    udr: Mapping[str, UdrResult]
    udr_note: str
    scores: Sequence[tuple[Mapping[str, float], str]]

    @property
    def metrics(self) -> list[str]:
        """Ids of the supervised metrics that any of the runs has."""
        return list(dict.fromkeys(name for scores, _ in self.scores for name in scores))

    def notes(self) -> list[str]:
        """What the reader must know of the numbers, one sentence each."""
        p, found = self.protocol, []
        if self.preset != "paper":
            found.append(
                f"Preset fast: {p.groups_per_code} groups of {p.group_size} for each code and {p.spread_images:,} "
                "images for the spread, where 100 groups of 100 and 73,728 are published."
            )
        unfinished = [f"{run.name} ({run.state})" for run in self.runs if run.state != "finished"]
        if unfinished:
            found.append(f"Not finished: {', '.join(unfinished)}.")
        found.append(self.udr_note + ".")
        found += sorted({f"UDR: {note}." for result in self.udr.values() for note in result.notes})
        if any(preset == "fast" for _, preset in self.scores):
            found.append("Some supervised scores are of the preset fast.")
        return found

    def degenerate(self) -> list[str]:
        """What was degenerate, one sentence each."""
        return [*self.centrality.degenerate, *(text for result in self.udr.values() for text in result.degenerate)]


def rows_of(selection: Selection) -> list[dict[str, Any]]:
    """The ranking as plain data, the most central run first."""
    differing = differing_options(selection.runs)
    rows = []
    for rank, number in enumerate(selection.centrality.ranking.tolist(), start=1):
        run = selection.runs[number]
        rows.append(
            {
                "rank": rank,
                "name": run.name,
                "run_dir": str(run.path),
                "step": selection.steps[number],
                "fingerprint": selection.fingerprints[number],
                "centrality": float(selection.centrality.centralities[number]),
                "own_images": float(selection.centrality.scores[number, number]),
                "udr": {name: float(result.model_scores[number]) for name, result in selection.udr.items()},
                "scores": dict(selection.scores[number][0]),
                "scores_preset": selection.scores[number][1] or None,
                "options": {name: run.options.get(name) for name in differing},
            }
        )
    return plain(rows)


def agreements_of(selection: Selection) -> list[dict[str, Any]]:
    """Spearman's rank correlation of each ranking with each supervised metric, over the runs that have a score.

    Of a metric whose lower values are better it is that with the scores' negatives: 1 is agreement always.
    """
    from scipy.stats import spearmanr

    rankings = {"model_centrality": selection.centrality.centralities}
    rankings |= {name: result.model_scores for name, result in selection.udr.items()}
    found = []
    for metric in selection.metrics:
        there = np.array([metric in scores for scores, _ in selection.scores])
        supervised = np.array([scores[metric] for scores, _ in selection.scores if metric in scores])
        supervised = -supervised if lower_is_better(metric) else supervised
        for name, values in rankings.items():
            given = np.asarray(values)[there]
            # Fewer say nothing, and equal values have no ranks.
            if len(given) > 2 and np.ptp(given) > 0 and np.ptp(supervised) > 0:
                correlation = float(spearmanr(given, supervised).statistic)
                found.append({"ranking": name, "metric": metric, "spearman": correlation, "runs": len(given)})
    return found


def write_selection(selection: Selection, folder: Path) -> dict[str, Any]:
    """Writes `selection.json`, `scores.npz`, `scores.csv`, two pictures and `report.html`.

    Args:
        selection: the comparison.
        folder: where they go.

    Returns:
        what `selection.json` holds.
    """
    result = selection.centrality
    summary = {
        "out": str(folder),
        "family": selection.runs[0].family,
        "checkpoint": selection.checkpoint,
        "preset": selection.preset,
        "protocol": dataclasses.asdict(selection.protocol),
        "best": result.names[int(result.ranking[0])],
        "ranking": rows_of(selection),
        "names": list(result.names),
        "scores": plain(result.scores),
        "similarity": plain(result.similarity),
        "agreement": agreements_of(selection),
        "degenerate": selection.degenerate(),
        "notes": selection.notes(),
        "report": str(folder / "report.html"),
    }
    write_text(folder / "selection.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    write_text(folder / "scores.csv", _matrix_csv(result))
    _write_arrays(selection, folder / "scores.npz")
    plots = _plots(selection)
    for name, plot in plots.items():
        write_bytes(folder / f"{name}.png", plot)
    report.write_report(folder / "report.html", _sections(selection, summary, plots))
    return summary


def _matrix_csv(result: ModelCentralityResult) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["encoder \\ images of", *result.names])
    writer.writerows([name, *map(float, row)] for name, row in zip(result.names, result.scores, strict=True))
    return text.getvalue()


def _write_arrays(selection: Selection, path: Path) -> None:
    result = selection.centrality
    arrays: dict[str, Any] = {
        "scores": result.scores,
        "similarity": result.similarity,
        "centralities": result.centralities,
        "ranking": result.ranking,
        "names": np.array(result.names),
        "fingerprints": np.array(selection.fingerprints),
        **{f"{name}_similarity": udr.similarity for name, udr in selection.udr.items()},
        **{f"{name}_scores": udr.model_scores for name, udr in selection.udr.items()},
    }
    with atomic_file(path) as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(handle, **arrays)


def _plots(selection: Selection) -> dict[str, bytes]:
    result = selection.centrality
    order = result.ranking.tolist()
    places = [str(position) for position in range(1, len(order) + 1)]
    # What was cut may be what kept two apart; their ranks do.
    rows = [
        f"{place}. {pictures.shortened(result.names[number], _LONGEST_LABEL)}"
        for place, number in zip(places, order, strict=True)
    ]
    bars = {place: float(result.centralities[number]) for place, number in zip(places, order, strict=True)}
    shown = dict(list(bars.items())[:_MOST_BARS])
    title = "ModelCentrality by rank" if len(shown) == len(bars) else f"ModelCentrality, the first {len(shown)}"
    return {
        "matrix": pictures.matrix_plot(result.scores[np.ix_(order, order)], rows, places, "FactorVAE scores"),
        "ranking": pictures.bar_plot(shown, title, "centrality"),
    }


def _table(selection: Selection) -> tuple[list[str], list[list[Any]]]:
    """Heads and rows of the ranking without options."""
    rows = rows_of(selection)
    heads = ["Rank", "Run", "ModelCentrality", *selection.udr, *selection.metrics]
    cells = [
        [
            row["rank"],
            row["name"],
            f"{row['centrality']:.4f}",
            *(None if row["udr"][name] is None else f"{row['udr'][name]:.4f}" for name in selection.udr),
            *(f"{row['scores'][name]:.4f}" if name in row["scores"] else None for name in selection.metrics),
        ]
        for row in rows
    ]
    return heads, cells


def print_ranking(selection: Selection) -> None:
    """Shows the ranking and its remarks to people."""
    heads, rows = _table(selection)
    say_table([heads, *([None if cell is None else str(cell) for cell in row] for row in rows)])
    for note in selection.notes():
        say(f"note: {note}")
    if found := selection.degenerate():
        say(f"note: {found[0]}{f'; {len(found) - 1} more such remarks are in the report' if found[1:] else ''}")


def _sections(
    selection: Selection, summary: Mapping[str, Any], plots: Mapping[str, bytes]
) -> list[report.Section | None]:
    heads, rows = _table(selection)
    options = differing_options(selection.runs)
    ranking = summary["ranking"]
    p = selection.protocol
    sections: list[report.Section | None] = [
        report.Title(
            run=f"Selection among {len(selection.runs)} runs of {selection.runs[0].family}",
            summary=f"Most central: {summary['best']}",
            seed=p.seed,
            more={"Checkpoint": selection.checkpoint, "Preset": selection.preset},
        ),
        *(report.Notice(note, "info") for note in selection.notes()),
        report.Heading("Ranking"),
        report.Table(
            heads, rows, "The most central first; supervised scores, where there are some, take no part in it"
        ),
        report.Picture(plots["ranking"], "Mean similarity to all other models; the numbers are ranks"),
        report.Picture(
            plots["matrix"], "How well the encoder of each row finds the codes of the images of each column"
        ),
    ]
    if summary["agreement"]:
        cells = [
            [entry["ranking"], entry["metric"], f"{entry['spearman']:.2f}", entry["runs"]]
            for entry in summary["agreement"]
        ]
        caption = "Spearman's rank correlation with supervised metrics"
        sections.append(report.Table(["Ranking", "Metric", "Correlation", "Runs"], cells, caption))
    if options:
        cells = [[row["name"], *(_cell(row["options"][name]) for name in options)] for row in ranking]
        sections += [report.Heading("Options in which the runs differ"), report.Table(["Run", *options], cells)]
    facts = {row["name"]: f"{row['run_dir']}, step {row['step']:,}, {row['fingerprint']}" for row in ranking}
    sections.append(report.KeyValues(facts, "Runs", folded=True))
    if summary["degenerate"]:
        numbered = {str(number): text for number, text in enumerate(summary["degenerate"], start=1)}
        sections.append(report.KeyValues(numbered, "Degenerate", folded=True))
    return sections


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict | bool) else value
