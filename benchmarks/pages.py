"""Pages of the documents that programs write section by section, between marks; what people wrote stays."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from common.files import write_text


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


def row(cells: Sequence[str]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"
