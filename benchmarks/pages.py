"""Pages of the documents that programs write section by section, between marks; what people wrote stays."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.turns import MOST_DISTURBANCE, ROOT
from common.files import write_text

PERFORMANCE = Path("docs") / "performance.md"
"""The page of all timings, which several programs write."""
_PERFORMANCE_HEAD = """# Performance

What was measured, on which machine. Ratios are formed within a round, in which all contestants ran on the same cores
one after the other; `make benchmarks` repeats it on yours.
"""


def write_section(page: Path, name: str, text: str, head: str) -> None:
    """Puts a section into a page, between its two marks; the rest of the page stays as it is.

    Args:
        page: a Markdown file, made if it is not there.
        name: of the section, in its marks.
        text: of the section, ending with a new line.
        head: the beginning of a new page.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    block = f"{begin}\n{text}{end}\n"
    old = page.read_text(encoding="utf-8") if page.is_file() else head
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end) + "\n", re.DOTALL)
    new = pattern.sub(lambda _: block, old) if pattern.search(old) else old + "\n" + block
    write_text(page, new)


def write_performance(name: str, text: str) -> None:
    """Puts a section into the page of all timings; see `write_section`."""
    write_section(ROOT / PERFORMANCE, name, text, _PERFORMANCE_HEAD)


def row(cells: Sequence[str]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(map(row, (header, ["---"] * len(header), *rows)))


def figure(spread: Mapping[str, float], digits: int = 2) -> str:
    """Median and range, as `benchmarks.turns.spread` gives them, for a cell: `2.60 (2.20 to 2.70)`."""
    return "{median:,.{0}f} ({low:,.{0}f} to {high:,.{0}f})".format(digits, **spread)


def setting(
    machine: Mapping[str, Any], where: str | int, versions: Mapping[str, str | None], rounds: str, disturbance: float
) -> str:
    """The sentence at the beginning of a section: where, with what and how often something was timed.

    Args:
        machine: of `benchmarks.turns.processor`.
        where: how many of its cores were used, or what else.
        versions: of programs, by the name that people know.
        rounds: how many of what.
        disturbance: the share of the cores' time that other programs took, 0 to 1.
    """
    place = f"{where} of {machine['cores']} cores" if isinstance(where, int) else where
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    warning = " Compare these figures with one another only: on idle cores all are better."
    return (
        f"{machine['name']}, {place}; {named}; {rounds}; other programs took {disturbance:.0%} of these cores."
        f"{warning if disturbance > MOST_DISTURBANCE else ''}"
    )


def disturbance_of(*summaries: Mapping[str, Any]) -> float:
    """The largest median disturbance of the contestants of some summaries of `benchmarks.turns.summarize`."""
    return max(values["median"] for summary in summaries for values in summary["disturbance"].values())


def contest_table(summary: Mapping[str, Any], unit: str, digits: int = 2) -> str:
    """A summary of `benchmarks.turns.summarize` as a table: the first contestant beside each of the others.

    Args:
        summary: what was measured.
        unit: of the rates, for example `steps per second`.
        digits: of the rates, behind the point.
    """
    first = next(iter(summary["per_second"]))
    rows = []
    for name, rate in summary["per_second"].items():
        ratio = summary["ratios"].get(f"{first} / {name}")
        rows.append([name, figure(rate, digits), figure(ratio) if ratio else ""])
    return table(["", f"{unit}, median (range)", f"{first} is so many times as fast, median (range)"], rows)


def threads_table(summary: Mapping[str, Any], unit: str) -> str:
    """A summary of `benchmarks.turns.measure_threads` as a table: the rates by threads, beside one thread's.

    Args:
        summary: what was measured.
        unit: of the rates, for example `images per second`.
    """
    rows = []
    for threads, rate in summary["per_second"].items():
        ratio = summary["ratios"].get(f"{threads} / 1")
        rows.append([threads, figure(rate, 0), figure(ratio) if ratio else ""])
    return table(["threads", f"{unit}, median (range)", "so many times one thread's, median (range)"], rows)


def section(title: str, *paragraphs: str) -> str:
    """A section of a page: its title and its paragraphs, of which empty ones are left out."""
    return "\n\n".join((f"### {title}", *filter(None, paragraphs))) + "\n"
