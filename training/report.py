"""The report of a run: one self-contained HTML file without scripts or anything from outside."""

from __future__ import annotations

import base64
import dataclasses
import html
import math
import os
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.files import write_text

_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_NUMBER = re.compile("[+\N{MINUS SIGN}-]?[0-9][0-9.,]*( \N{PLUS-MINUS SIGN} [0-9.]+)?")
_LONG_TEXT = 40

LEVELS = ("info", "warning", "error")


@dataclasses.dataclass(frozen=True)
class Title:
    """The block at the top: what was run, on what, for how long.

    Args:
        run: name of the run.
        summary: one line under it, such as the paper and the table row; may be empty.
        data: the data set with its source, such as "dsprites_reconstructed (reconstructed)".
        steps: training steps done.
        seed: the run's seed.
        fingerprint: SHA-256 of all weights.
        more: further facts, name -> value.
    """

    run: str
    summary: str = ""
    data: str = ""
    steps: int | None = None
    seed: int | None = None
    fingerprint: str = ""
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def html(self) -> str:
        """The block's HTML."""
        steps = None if self.steps is None else f"{self.steps:,}"
        facts = {"Data": self.data, "Steps": steps, "Seed": self.seed} | dict(self.more)
        facts["Fingerprint"] = self.fingerprint
        given = {name: value for name, value in facts.items() if value is not None and value != ""}
        summary = f"<p>{_text(self.summary)}</p>" if self.summary else ""
        return f"<header><h1>{_text(self.run)}</h1>{summary}{_facts(given)}</header>"


@dataclasses.dataclass(frozen=True)
class Heading:
    """A heading that opens a part of the report."""

    text: str

    def html(self) -> str:
        """The heading's HTML."""
        return f"<h2>{_text(self.text)}</h2>"


@dataclasses.dataclass(frozen=True)
class Text:
    """Prose; an empty line begins a new paragraph."""

    text: str

    def html(self) -> str:
        """The paragraphs' HTML."""
        paragraphs = [part for part in self.text.replace("\r\n", "\n").split("\n\n") if part.strip()]
        return "".join(f"<p>{_text(part)}</p>" for part in paragraphs)


@dataclasses.dataclass(frozen=True)
class Notice:
    """A remark that must not be overlooked.

    Args:
        text: one or two sentences.
        level: "info" (default), "warning" or "error".
    """

    text: str
    level: str = "info"

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"the level of a notice must be one of {', '.join(LEVELS)}, not {self.level!r}")

    def html(self) -> str:
        """The notice's HTML."""
        word = {"info": "Note", "warning": "Warning", "error": "Error"}[self.level]
        return f'<p class="notice {self.level}" role="note"><strong>{word}:</strong> {_text(self.text)}</p>'


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of cells under column heads.

    Args:
        columns: the heads.
        rows: cells, as many in each row as there are heads. Numbers stand to the right, with four significant
            digits if they are not whole; `None` is a dash.
        caption: stands above; may be empty.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"row {number} of a table has {len(row)} cells for {len(self.columns)} columns")

    def html(self) -> str:
        """The table's HTML."""
        numeric = [_is_numeric([row[column] for row in self.rows]) for column in range(len(self.columns))]
        kinds = [' class="number"' if flag else "" for flag in numeric]
        heads = zip(kinds, self.columns, strict=True)
        head = "".join(f'<th scope="col"{kind}>{_text(name)}</th>' for kind, name in heads)
        body = "".join(f"<tr>{''.join(map(_table_cell, row, numeric))}</tr>" for row in self.rows)
        caption = f"<caption>{_text(self.caption)}</caption>" if self.caption else ""
        table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f'<div class="wide" tabindex="0">{table}</div>'

    def markdown(self) -> list[str]:
        """The table's lines in Markdown, without the caption."""
        lines = [
            ["-" if cell is None else str(cell).replace("|", r"\|") for cell in line]
            for line in (self.columns, *self.rows)
        ]
        head, *rows = [f"| {' | '.join(line)} |" for line in lines]
        return [head, "|" + "---|" * len(self.columns), *rows]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture, embedded.

    Args:
        source: the bytes of a PNG or GIF file, or the path of one.
        caption: stands below, and is what a screen reader says.
    """

    source: bytes | str | os.PathLike[str]
    caption: str = ""

    def html(self) -> str:
        """The picture's HTML.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is neither PNG nor GIF.
        """
        data = self.source if isinstance(self.source, bytes) else Path(self.source).read_bytes()
        media_type, width, height = _picture_header(data)
        source = f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
        caption = f"<figcaption>{_text(self.caption)}</figcaption>" if self.caption else ""
        image = f'<img width="{width}" height="{height}" alt="{_text(self.caption)}" src="{source}">'
        return f"<figure>{image}{caption}</figure>"


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Pictures side by side, as many in a row as there is room for."""

    pictures: Sequence[Picture]

    def html(self) -> str:
        """The pictures' HTML."""
        return f'<div class="gallery">{"".join(picture.html() for picture in self.pictures)}</div>'


@dataclasses.dataclass(frozen=True)
class KeyValues:
    """Facts, name by name.

    Args:
        items: name -> value.
        caption: stands above; may be empty.
        folded: hide the facts until the reader opens them; needs a caption.
    """

    items: Mapping[str, Any]
    caption: str = ""
    folded: bool = False

    def __post_init__(self) -> None:
        if self.folded and not self.caption:
            raise ValueError("folded facts need a caption to click on")

    def html(self) -> str:
        """The facts' HTML."""
        facts = _facts(self.items)
        if self.folded:
            return f"<details><summary>{_text(self.caption)}</summary>{facts}</details>"
        return (f"<h3>{_text(self.caption)}</h3>" if self.caption else "") + facts


@dataclasses.dataclass(frozen=True)
class Links:
    """A line of links to pages that lie beside this one.

    Args:
        items: what is read -> where it leads, relative to this page; an empty one leads nowhere.
    """

    items: Mapping[str, str]

    def html(self) -> str:
        """The links' HTML."""
        shown = (
            f'<a href="{_address(to)}">{_text(name)}</a>' if to else _text(name) for name, to in self.items.items()
        )
        return f'<p class="links">{" ".join(shown)}</p>'


@dataclasses.dataclass(frozen=True)
class LinkedPictures:
    """A table of pictures in files of their own, beside the page; each leads to its file.

    Args:
        columns: the heads.
        rows: what stands in front of each row, and its pictures, as paths relative to the page.
        size: width and height of all pictures.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    size: tuple[int, int]

    def html(self) -> str:
        """The table's HTML."""
        head = "".join(f'<th scope="col">{_text(name)}</th>' for name in ("", *self.columns))
        body = "".join(
            f'<tr><th scope="row">{_text(name)}</th>{self._cells(name, row)}</tr>' for name, row in self.rows
        )
        return (
            f'<div class="wide" tabindex="0"><table class="pictures"><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def _cells(self, name: str, row: Sequence[str]) -> str:
        size = f'width="{self.size[0]}" height="{self.size[1]}"'
        return "".join(
            f'<td><a href="{_address(path)}"><img {size} loading="lazy" alt="{_text(f"{name}: {column}")}" '
            f'src="{_address(path)}"></a></td>'
            for column, path in zip(self.columns, row, strict=True)
        )


Section = Title | Heading | Text | Notice | Table | Picture | Gallery | KeyValues | Links | LinkedPictures


@dataclasses.dataclass(frozen=True)
class Score:
    """One row of a table of scores.

    Args:
        metric: the metric's id.
        ours: the run's score; NaN is shown as a dash.
        paper: the published score, if there is one.
        paper_spread: what follows the published score after "±".
        remark: what was degenerate, or how the samples differ from the published protocol.
    """

    metric: str
    ours: float
    paper: float | None = None
    paper_spread: float | None = None
    remark: str = ""


def score_table(scores: Sequence[Score], caption: str = "Scores") -> Table:
    """A table of scores beside the paper's; columns that would be empty are left out.

    Args:
        scores: one for each row.
        caption: stands above the table; it should say on which data, after how many steps and for how many seeds.
    """
    columns: dict[str, list[Any]] = {
        "Metric": [score.metric for score in scores],
        "This run": [_fixed(score.ours) for score in scores],
        "Paper": [_published(score) for score in scores],
        "Difference": [_difference(score) for score in scores],
        "Remarks": [score.remark or None for score in scores],
    }
    kept = {
        name: cells
        for name, cells in columns.items()
        if name in ("Metric", "This run") or any(cell is not None for cell in cells)
    }
    return Table(list(kept), list(zip(*kept.values(), strict=True)), caption)


def shorter_run_notice(steps: int, paper_steps: int | None) -> Notice | None:
    """The warning that a run is shorter than the paper's; `None` if it is not, or if the paper's length is unknown.

    Args:
        steps: training steps of this run.
        paper_steps: those of the published run.
    """
    if paper_steps is None or steps >= paper_steps:
        return None
    share = 100 * steps / paper_steps
    return Notice(
        f"This run is shorter than the paper's: {steps:,} of {paper_steps:,} steps ({share:.2g} %). "
        "Its scores are not comparable with published ones.",
        "warning",
    )


def write_report(path: str | os.PathLike[str], sections: Sequence[Section | None]) -> None:
    """Writes a report as a whole HTML file that needs no other.

    Args:
        path: where the file shall stand; its folder is made if missing.
        sections: what the report shows, in this order; a `Title` names the page, and `None` is passed over.

    Raises:
        OSError: if a picture cannot be read or the report not be written.
        ValueError: if a picture is neither PNG nor GIF.
    """
    write_text(path, report_html(sections))


def report_html(sections: Sequence[Section | None]) -> str:
    """The report's HTML; see `write_report`."""
    name = next((section.run for section in sections if isinstance(section, Title)), "Report")
    body = "\n".join(section.html() for section in sections if section is not None)
    # The policy makes sure of what the format promises: nothing is fetched from elsewhere, nothing runs.
    beside = " 'self' file:" if any(isinstance(section, LinkedPictures) for section in sections) else ""
    policy = f"default-src 'none'; img-src data:{beside}; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(name)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _text(value: object) -> str:
    """Escaped text; what HTML forbids (control characters, halves of surrogate pairs) is written as its number."""
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return html.escape(_FORBIDDEN.sub(lambda match: f"\\x{ord(match[0]):02x}", text), quote=True)


def _address(path: str) -> str:
    """A relative path as the address of a link."""
    return _text(urllib.parse.quote(path))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _is_numeric(cells: Sequence[object]) -> bool:
    """Whether a column holds nothing but numbers, as such or as text."""
    present = [cell for cell in cells if cell is not None]
    return bool(present) and all(
        _is_number(cell) or (isinstance(cell, str) and _NUMBER.fullmatch(cell) is not None) for cell in present
    )


def _table_cell(value: object, numeric: bool) -> str:
    shown = _cell(value)
    kind = ' class="number"' if numeric else ' class="long"' if len(shown) > _LONG_TEXT else ""
    return f"<td{kind}>{shown}</td>"


def _cell(value: object) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return f"{int(value):,}"
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.4g}" if math.isfinite(value) else _text(value)
    return _text(value)


def _facts(items: Mapping[str, Any]) -> str:
    """A list of facts; values are shown exactly as they are, for they may be a configuration."""
    rows = []
    for name, value in items.items():
        shown = _text("\N{EN DASH}" if value is None else value)
        kind = ' class="long"' if len(shown) > _LONG_TEXT else ""
        rows.append(f"<div{kind}><dt>{_text(name)}</dt><dd>{shown}</dd></div>")
    return f"<dl>{''.join(rows)}</dl>"


def _fixed(value: float) -> str | None:
    return f"{value:.3f}" if math.isfinite(value) else None


def _published(score: Score) -> str | None:
    if score.paper is None:
        return None
    spread = "" if score.paper_spread is None else f" \N{PLUS-MINUS SIGN} {score.paper_spread:g}"
    # Papers print two digits, which `g` would cut from 0.80.
    digits = f"{score.paper:.2f}" if score.paper == round(score.paper, 2) else f"{score.paper:g}"
    return digits + spread


def _difference(score: Score) -> str | None:
    if score.paper is None or not math.isfinite(score.ours):
        return None
    return f"{score.ours - score.paper:+.3f}".replace("-", "\N{MINUS SIGN}")


def _picture_header(data: bytes) -> tuple[str, int, int]:
    """The media type, width and height of a PNG or GIF file."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        return "image/png", int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data.startswith((b"GIF87a", b"GIF89a")) and len(data) >= 10:
        return "image/gif", int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    raise ValueError(f"a picture of a report must be a PNG or GIF file; this one begins with {data[:8]!r}")


_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6575; --paper: #fcfcfd; --card: #ffffff; --line: #dfe3ea;
  --accent: #2f6296; --info: #eaf1f9; --warning: #fdf3dc; --error: #fbe6e6; --warning-line: #c98a12;
  --error-line: #b93838; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #9aa5b4; --paper: #14181f; --card: #1b212a;
  --line: #313a47; --accent: #84b3e3; --info: #1c2a3a; --warning: #33290f; --error: #3a1d1f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
header { border-bottom: 2px solid var(--accent); padding-bottom: 1rem; margin-bottom: 1.5rem; }
header p { margin: 0 0 .8rem; color: var(--soft); }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .8rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
h3, caption { font-size: 1rem; font-weight: 600; text-align: left; margin: 1.4rem 0 .5rem; padding: 0 0 .5rem; }
h3 { padding: 0; }
p { margin: .8rem 0; max-width: 46rem; overflow-wrap: anywhere; }
.notice { max-width: none; padding: .7rem 1rem; border-left: 4px solid var(--accent); border-radius: 0 6px 6px 0;
  background: var(--info); }
.notice.warning { background: var(--warning); border-color: var(--warning-line); }
.notice.error { background: var(--error); border-color: var(--error-line); }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .94rem; }
th, td { padding: .42rem .8rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; white-space: nowrap; border-bottom-width: 2px; }
td.long { min-width: 14rem; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1.2rem 0; padding: .75rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; background: #ffffff; border-radius: 4px; }
figcaption { margin-top: .6rem; color: var(--soft); font-size: .9rem; text-align: center; }
a { color: var(--accent); }
.links a { margin-right: .8rem; }
table.pictures { width: auto; }
table.pictures th, table.pictures td { padding: .25rem; text-align: center; vertical-align: middle;
  white-space: normal; }
table.pictures th[scope="row"] { position: sticky; left: 0; background: var(--paper); white-space: nowrap; }
table.pictures img { width: 6.8rem; max-width: none; height: auto; }
@media (max-width: 40rem) { table.pictures img { width: 5.5rem; } }
.gallery { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 1rem; }
.gallery figure { margin: 0; }
dl { margin: .6rem 0; display: grid; grid-template-columns: repeat(auto-fit, minmax(min(16rem, 100%), 1fr));
  gap: .3rem 1.5rem; }
dl div { min-width: 0; }
dl div.long { grid-column: 1 / -1; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
details { margin: 1rem 0; padding: .5rem .9rem; border: 1px solid var(--line); border-radius: 8px; }
summary { cursor: pointer; font-weight: 600; }
@media print { body { background: none; } figure, tr { break-inside: avoid; } }
"""
