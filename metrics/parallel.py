"""Independent pieces of work on several processor cores."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Result = TypeVar("Result")

# Starting processes takes a second or two: less work than this many seconds is done at once.
_WORTH_IT = 4.0
_MOST = 8
# How many seconds processes wait for more work: metrics that follow each other share them.
_PATIENCE = 60


def map_tasks(
    function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], workers: int | None, seconds: float
) -> list[Result]:
    """`[function(*task) for task in tasks]`, in several processes if that pays.

    Threads would not help: the work is many short numpy calls, between which they wait for each other. The processes
    are joblib's, which need no guard in the user's program, unlike those of the standard library.

    Args:
        function: at the top level of a module, so that other processes can import it.
        tasks: the arguments of each call; the longest work should come first.
        workers: how many processes, 1 for this one alone; by default as many as there are processor cores, at most 8,
            for work that is worth it.
        seconds: a rough guess of how long all the work takes in one process.

    Raises:
        ValueError: if `workers` is not positive.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be 1 or more, not {workers}")
    count = _count(workers, seconds) if len(tasks) > 1 else 1
    if count == 1:
        return [function(*task) for task in tasks]
    from joblib.externals import loky

    _end_workers_in_time()
    # Always as many, whatever the tasks: another number would start all processes anew.
    executor = loky.get_reusable_executor(max_workers=count, timeout=_PATIENCE)
    return list(executor.map(function, *zip(*tasks, strict=True)))


def _count(workers: int | None, seconds: float) -> int:
    """How many processes to use."""
    # The workers of a pool may not start processes of their own.
    if workers == 1 or multiprocessing.current_process().daemon or (workers is None and seconds < _WORTH_IT):
        return 1
    if workers is not None:
        return workers
    from joblib.externals import loky

    return min(loky.cpu_count(), _MOST)


@functools.cache
def _end_workers_in_time() -> None:
    """Sees to it that the waiting processes go when this one does.

    They do at the end of a program, but one that multiprocessing started would wait until their patience is over.
    """
    import multiprocessing.util

    from joblib.externals import loky

    multiprocessing.util.Finalize(None, lambda: loky.get_reusable_executor().shutdown(wait=True), exitpriority=100)
