"""The ways in which a command speaks: remarks and results to people, and one answer to programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any


def say(message: str) -> None:
    """A line for people, on standard error."""
    print(message, file=sys.stderr, flush=True)


def say_table(rows: Sequence[Sequence[str | None]]) -> None:
    """Rows of cells for people, on standard error, in columns that are as wide as they must be; None is a dash."""
    cells = [["-" if cell is None else cell for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def tell(result: str) -> None:
    """A line of the result for people, on standard output: of commands that have no answer for programs."""
    print(result, flush=True)


def answer(value: Any, indent: int | None = None) -> None:
    """The command's answer for programs, on standard output: one JSON value.

    Args:
        value: what `json.dumps` takes.
        indent: spaces per level; None: one line.
    """
    print(json.dumps(value, indent=indent), flush=True)
