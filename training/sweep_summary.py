"""What came out of a sweep: scores by combination, with mean, standard deviation and number of seeds."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.files import write_bytes, write_text
from common.output import say, say_table
from metrics.registry import lower_is_better
from training import pictures, report
from training.summary import data_notice, published_score
from training.sweep_plan import Member, Plan
from training.sweep_states import TOTAL_STEPS, State, state_of

_PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
_PRESET = "evaluation.preset"
_PAPER_SCORES = "experiment.paper_scores."
_LONGEST_LABEL = 40
_LINE = 13
_UPRIGHT_BARS = 7
_MOST_BARS = 40


@dataclass
class Combination:
    """The members of a sweep that differ in their seeds only.

    Args:
        bindings: what they share, without the seed.
        planned: how many there are.
        scores: metric id to its scores, one for each finished member that has one.
        finished: how many are finished.
    """

    bindings: Mapping[str, str]
    planned: int = 0
    finished: int = 0
    scores: dict[str, list[float]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The bindings in short, for tables and plots."""
        return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in self.bindings.items()) or "all seeds"


def statistics_of(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (of n - 1; None for a single value) and number of values."""
    return {
        "mean": statistics.fmean(values) if values else None,
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "n": len(values),
    }


def write_summary(plan: Plan, folder: Path) -> dict[str, Any]:
    """Writes `summary.json`, `.csv`, `.md`, a picture for each metric, and `report.html` into a sweep's folder.

    Args:
        plan: of the sweep.
        folder: its folder, with as many finished members as there are.

    Returns:
        what `summary.json` holds.
    """
    states = [state_of(folder / m.name, options) for m, options in zip(plan.members, plan.options, strict=True)]
    combinations = _combinations(plan.members, states)
    metrics = list(dict.fromkeys(name for combination in combinations for name in combination.scores))
    summary = _as_data(plan, folder, states, combinations)
    write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    write_text(folder / "summary.csv", _csv(combinations, metrics))
    write_text(folder / "summary.md", markdown(summary))
    plots = _plots(summary, combinations, metrics)
    for name, plot in plots.items():
        write_bytes(folder / "summary" / f"{name.replace('/', '_')}.png", plot)
    report.write_report(folder / "report.html", _sections(plan, summary, states, plots))
    return summary


def _combinations(members: Iterable[Member], states: Iterable[State]) -> list[Combination]:
    found: dict[str, Combination] = {}
    for member, state in zip(members, states, strict=True):
        key = json.dumps(member.combination, sort_keys=True)
        combination = found.setdefault(key, Combination(member.combination))
        combination.planned += 1
        if state.result is None:
            continue
        combination.finished += 1
        for name, value in _scores(state.result).items():
            combination.scores.setdefault(name, []).append(float(value))
    return list(found.values())


def _scores(result: Mapping[str, Any]) -> dict[str, float]:
    """The scores of a member: those of its end by their metric's id, those of a snapshot by `<snapshot>/<id>`."""
    snapshots = result.get("snapshots", {})
    named = {f"{name}/{metric}": value for name in snapshots for metric, value in snapshots[name]["scores"].items()}
    return {**result["scores"], **named}


def _as_data(plan: Plan, folder: Path, states: Sequence[State], combinations: Sequence[Combination]) -> dict[str, Any]:
    results = [state.result for state in states if state.result is not None]
    presets = sorted({str(options.get(_PRESET)) for options in plan.options})
    return {
        "run_dir": str(folder),
        "experiment": plan.experiment,
        "members": len(plan.members),
        "finished": len(results),
        "missing": [
            {"index": member.index, "name": member.name, "state": state.describe()}
            for member, state in zip(plan.members, states, strict=True)
            if state.result is None
        ],
        "data": sorted({f"{result['data']} ({result['data_source']})" for result in results}),
        "data_sources": sorted({result["data_source"] for result in results}),
        "steps": sorted({int(options[TOTAL_STEPS]) for options in plan.options}),
        "paper_steps": plan.options[0].get("experiment.paper_steps"),
        "presets": presets,
        "paper_scores": _common_paper_scores(plan),
        "combinations": [
            {
                "bindings": dict(combination.bindings),
                "label": combination.label,
                "members": combination.planned,
                "finished": combination.finished,
                "metrics": {name: statistics_of(values) for name, values in combination.scores.items()},
            }
            for combination in combinations
        ],
        "report": str(folder / "report.html"),
    }


def _common_paper_scores(plan: Plan) -> dict[str, list[float]]:
    first = {key: value for key, value in plan.options[0].items() if key.startswith(_PAPER_SCORES)}
    return {
        key.removeprefix(_PAPER_SCORES): value
        for key, value in first.items()
        if all(options.get(key) == value for options in plan.options)
    }


def _csv(combinations: Sequence[Combination], metrics: Sequence[str]) -> str:
    """One row for each combination: bindings, numbers of members, and mean, std and n of each metric."""
    keys = list(dict.fromkeys(key for combination in combinations for key in combination.bindings))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = ("mean", "std", "n")
    writer.writerow([*keys, "members", "finished", *(f"{name} {part}" for name in metrics for part in parts)])
    for combination in combinations:
        numbers = {name: statistics_of(combination.scores.get(name, [])) for name in metrics}
        cells = ["" if numbers[name][part] is None else numbers[name][part] for name in metrics for part in parts]
        bound = [combination.bindings.get(key, "") for key in keys]
        writer.writerow([*bound, combination.planned, combination.finished, *cells])
    return text.getvalue()


def markdown(summary: Mapping[str, Any]) -> str:
    """The summary as a Markdown page: the table, and what the reader must know of its numbers."""
    columns, rows = table_of(summary)
    lines = [f"# Sweep of {summary['experiment']}", ""]
    lines += [f"{summary['finished']} of {summary['members']} members are finished. {_meaning(summary)}", ""]
    lines += report.Table(columns, rows).markdown()
    if notices := [text for text, _ in _notices(summary)]:
        lines += ["", *(f"* {text}" for text in notices)]
    if summary["missing"]:
        lines += ["", "Missing:", ""]
        lines += [f"* {entry['name']} ({entry['state']})" for entry in summary["missing"]]
    return "\n".join(lines) + "\n"


def table_of(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str | None]]]:
    """Heads and rows of the table of a summary: combination, seeds, one column for each metric; the paper's last."""
    combinations = summary["combinations"]
    metrics = list(dict.fromkeys(name for combination in combinations for name in combination["metrics"]))
    rows: list[list[str | None]] = []
    for combination in combinations:
        seeds = f"{combination['finished']} of {combination['members']}"
        cells = [_cell(combination["metrics"].get(name), combination["finished"]) for name in metrics]
        rows.append([combination["label"], seeds, *cells])
    published = summary["paper_scores"]
    papers = [_published(published_score(published, name)) for name in metrics]
    if any(papers):
        rows.append(["paper", None, *papers])
    return ["combination", "n", *map(_head, metrics)], rows


def _head(metric: str) -> str:
    return f"{metric} (lower is better)" if lower_is_better(metric) else metric


def _cell(numbers: Mapping[str, Any] | None, finished: int) -> str | None:
    if numbers is None or numbers["mean"] is None:
        return None
    spread = "" if numbers["std"] is None else f" {_PLUS_MINUS} {numbers['std']:.3f}"
    fewer = "" if numbers["n"] == finished else f" (n = {numbers['n']})"
    return f"{numbers['mean']:.3f}{spread}{fewer}"


def _published(values: Sequence[float]) -> str | None:
    return None if not values else f" {_PLUS_MINUS} ".join(f"{value:.2f}" for value in values)


def _meaning(summary: Mapping[str, Any]) -> str:
    data = "; ".join(summary["data"]) or "nothing yet"
    steps = " or ".join(f"{number:,}" for number in summary["steps"])
    return (
        f"Mean {_PLUS_MINUS} sample standard deviation (n - 1) over the finished seeds; a single one has no deviation. "
        f"Data: {data}; {steps} steps; preset {' or '.join(summary['presets'])}."
    )


def _notices(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    shortest, published = min(summary["steps"]), summary["paper_steps"]
    if published and shortest < published:
        found.append(
            (
                f"Shorter than the paper's: {shortest:,} of {published:,} steps ({100 * shortest / published:.2g} %). "
                "The scores are not comparable with published ones.",
                "warning",
            )
        )
    if (notice := data_notice(summary["data_sources"])) is not None:
        found.append((notice.text, notice.level))
    if len(summary["data"]) > 1:
        found.append(("The members learned from different data.", "warning"))
    if "fast" in summary["presets"]:
        found.append(("Scores of the preset fast come from smaller samples than the published ones.", "warning"))
    return found


def print_summary(summary: Mapping[str, Any]) -> None:
    """Shows the table to people."""
    columns, rows = table_of(summary)
    say_table([columns, *rows])
    if summary["missing"]:
        names = [entry["name"] for entry in summary["missing"]]
        say(f"missing: {len(names)} of {summary['members']}: {', '.join(names[:5])}{', ...' if names[5:] else ''}")
    say(f"summary: {summary['report']}")


def _plots(summary: Mapping[str, Any], combinations: Sequence[Combination], metrics: Sequence[str]) -> dict[str, bytes]:
    """A bar plot for each metric, if there is something to compare."""
    if len(combinations) < 2:
        return {}
    shown = combinations[:_MOST_BARS]
    fewer = f", the first {len(shown)} of {len(combinations):,}" if len(shown) < len(combinations) else ""
    labels = _plot_labels(shown)
    plots = {}
    for name in metrics:
        numbers = {
            label: statistics_of(combination.scores.get(name, []))
            for label, combination in zip(labels, shown, strict=True)
        }
        means = {label: math.nan if n["mean"] is None else n["mean"] for label, n in numbers.items()}
        errors = {label: n["std"] for label, n in numbers.items() if n["std"] is not None}
        published = published_score(summary["paper_scores"], name)
        reference = dict.fromkeys(labels, published[0]) if published else None
        plots[name] = pictures.bar_plot(means, _head(name) + fewer, "score", reference, errors=errors)
    return plots


def _plot_labels(combinations: Sequence[Combination]) -> list[str]:
    """Labels that fit under bars: one line for each option where the bars are few and the text stands upright."""
    labels = []
    for number, combination in enumerate(combinations):
        options = combination.label.split(", ")
        if len(combinations) < _UPRIGHT_BARS:
            parts = [option if len(option) <= _LINE else option.replace("=", "\n= ", 1) for option in options]
            label = "\n".join(pictures.shortened(line, _LINE + 2) for part in parts for line in part.split("\n"))
        else:
            label = pictures.shortened(combination.label, _LONGEST_LABEL)
        # What was cut may be what kept two apart.
        labels.append(label if label not in labels else f"{number}: {label}")
    return labels


def _sections(
    plan: Plan, summary: Mapping[str, Any], states: Sequence[State], plots: Mapping[str, bytes]
) -> list[report.Section | None]:
    columns, rows = table_of(summary)
    names = ", ".join(dict.fromkeys(key for member in plan.members for key in member.bindings))
    members = [
        [
            member.index,
            member.label,
            state.describe(),
            None if state.result is None else _scores_line(_scores(state.result)),
            None if state.result is None else state.result["fingerprint"][:12],
        ]
        for member, state in zip(plan.members, states, strict=True)
    ]
    missing = len(summary["missing"])
    return [
        report.Title(
            run=f"Sweep of {summary['experiment']}",
            summary=f"Varied: {names}",
            data="; ".join(summary["data"]),
            steps=summary["steps"][0] if len(summary["steps"]) == 1 else None,
            more={"Members": len(plan.members), "Finished": summary["finished"]},
        ),
        report.Notice(f"{missing} of {len(plan.members)} members are missing.", "warning") if missing else None,
        *(report.Notice(text, level) for text, level in _notices(summary)),
        report.Heading("Scores"),
        report.Table(columns, rows, _meaning(summary)),
        *(report.Picture(plot, f"{name}: mean and standard deviation over seeds") for name, plot in plots.items()),
        report.Heading("Members"),
        report.Table(["Number", "Bindings", "State", "Scores", "Fingerprint"], members),
    ]


def _scores_line(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
