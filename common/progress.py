"""A progress bar where somebody looks, sparse lines where nobody does."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

from common.output import say

Item = TypeVar("Item")
_SECONDS_BETWEEN_LINES = 30.0


def progress(items: Iterable[Item], description: str, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Passes `items` on and shows how far they are.

    On a terminal this is a bar on standard error; elsewhere (a log, a pipe) a line every half minute, so that logs
    stay readable and short work leaves none.

    Args:
        items: what to go through.
        description: what is being done, in a few words.
        total: how many there are, if `len(items)` does not tell.
        unit: what one item is.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        return iter(tqdm(items, desc=description, total=total, unit=unit, file=sys.stderr, dynamic_ncols=True))
    return _with_lines(items, description, total, unit)


def _with_lines(items: Iterable[Item], description: str, total: int | None, unit: str) -> Iterator[Item]:
    begin = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            rate = done / (now - begin)
            of_all = f" of {total:,}" if total else ""
            left = f", {datetime.timedelta(seconds=round((total - done) / rate))} left" if total and rate else ""
            say(f"{description}: {done:,}{of_all} {unit}, {rate:,.1f} a second{left}")
        yield item


def encoding_line(done: int, total: int) -> None:
    """Shows on a terminal how many images are encoded, as the metrics tell it batch by batch."""
    if sys.stderr.isatty():
        end = "\n" if done >= total else ""
        sys.stderr.write(f"\rencoding images: {done:,} of {total:,}{end}")
        sys.stderr.flush()
