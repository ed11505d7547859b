"""Text files of numbers, line by line, as meshes and patches come in."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

from common.errors import UserError, disk_error

MAX_BYTES = 1 << 28
"""A file of a million vertices and as many faces is half as large."""


def statements(path: str | os.PathLike[str]) -> Iterator[tuple[int, list[str]]]:
    """The lines of a text file that say something, each as its number and its words.

    Remarks (from `#` to the end of the line) and empty lines are passed over. A line that ends in a backslash goes on
    in the next one. Lines end as on Unix, Windows or the old Macintosh.

    Args:
        path: the file.

    Raises:
        UserError: if the file cannot be read or is larger than `MAX_BYTES`.
    """
    words: list[str] = []
    begun = 0
    try:
        # Remarks may be in any encoding; what is not text at all fails as the first statement.
        with open(path, encoding="utf-8", errors="replace") as handle:
            if os.fstat(handle.fileno()).st_size > MAX_BYTES:
                raise UserError(f"{path}: larger than {MAX_BYTES >> 20} MiB; give a mesh of fewer triangles")
            for number, line in enumerate(handle, 1):
                begun = begun or number
                content = line.partition("#")[0].rstrip()
                goes_on = content.endswith("\\")
                words += (content[:-1] if goes_on else content).split()
                if words and not goes_on:
                    yield begun, words
                if not goes_on:
                    words, begun = [], 0
    except OSError as error:
        raise disk_error(error) or error from error
    if words:
        yield begun, words


def finite_numbers(words: list[str]) -> list[float] | None:
    """The numbers that words stand for; `None` if one is no number, or is NaN or infinite."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        return None
    # Python would read 1_000 as a number.
    if not all(abs(value) < math.inf for value in values) or any("_" in word for word in words):
        return None
    return values


def quoted(words: list[str]) -> str:
    """Words of a file for an error message: cut where they are long, made visible where they are not."""
    text = " ".join(words)
    return ascii(text if len(text) <= 40 else f"{text[:40]}...")
