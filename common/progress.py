"""A progress bar where somebody looks, sparse lines where nobody does."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], description: str, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Passes `items` on and shows how far they are.

    On a terminal this is a bar on standard error; elsewhere (a log, a pipe) a line every half minute at most,
    so that logs stay readable.

    Args:
        items: what to go through.
        description: what is being done, in a few words.
        total: how many there are, if `len(items)` does not tell.
        unit: what one item is.
    """
    on_terminal = sys.stderr.isatty()
    return iter(
        tqdm(
            items,
            desc=description,
            total=total,
            unit=unit,
            file=sys.stderr,
            mininterval=0.2 if on_terminal else 30.0,
            dynamic_ncols=on_terminal,
            leave=on_terminal,
        )
    )
