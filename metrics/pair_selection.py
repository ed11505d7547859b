"""By what the authors of IIAE choose among checkpoints: partners found by shared codes, and none by exclusive ones."""

from __future__ import annotations

import dataclasses
import math

import numpy.typing as npt

from metrics.results import MetricResult
from metrics.retrieval import recall_at_k

MOST_EXCLUSIVE_HITS = 1
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SelectionResult(MetricResult):
    """Hits among pairs, from x and from y; `score` is NaN if exclusive codes find more partners than by chance.

    Args:
        x_to_y, y_to_x: share of partners that shared codes find.
        exclusive_hits_x_to_y, exclusive_hits_y_to_x: how many partners exclusive codes find; among equals, on average.
        pairs: how many pairs there are.
    """

    x_to_y: float
    y_to_x: float
    exclusive_hits_x_to_y: float
    exclusive_hits_y_to_x: float
    pairs: int


def shared_recall_exclusive_at_chance(
    shared_x: npt.ArrayLike, shared_y: npt.ArrayLike, exclusive_x: npt.ArrayLike, exclusive_y: npt.ArrayLike
) -> SelectionResult:
    """Recall@1 of shared codes, mean of both directions, if exclusive codes find at most one partner in each.

    One partner is what codes without information find, however many pairs there are. The authors count hits among 800
    pairs and keep the checkpoint with the most; the share here is the same order.

    Args:
        shared_x: `[N, D]` shared codes of one domain.
        shared_y: `[N, D]` those of their partners.
        exclusive_x: `[N, E]` exclusive codes of one domain.
        exclusive_y: `[N, E]` those of their partners.

    Returns:
        a share in [0, 1], or NaN, which is never the best, with the hits in `degenerate`.

    Raises:
        TypeError: if the codes are not real numbers.
        ValueError: if the shapes do not fit, or a code is not finite.

    Source: Hwang et al., IIAE, NeurIPS 2020, how the authors' code saves its model of MNIST-CDCB, Facades and Maps.
    """
    shared, exclusive = recall_at_k(shared_x, shared_y, [1]), recall_at_k(exclusive_x, exclusive_y, [1])
    if shared.pairs != exclusive.pairs:
        raise ValueError(f"there are shared codes of {shared.pairs:,} pairs, exclusive ones of {exclusive.pairs:,}")
    hits = [share[1] * exclusive.pairs for share in (exclusive.x_to_y, exclusive.y_to_x)]
    at_chance = max(hits) <= MOST_EXCLUSIVE_HITS + _ROUNDING
    degenerate = shared.degenerate
    if not at_chance:
        degenerate = (
            *degenerate,
            f"exclusive codes find {hits[0]:.4g} partners from x and {hits[1]:.4g} from y, more than the "
            f"{MOST_EXCLUSIVE_HITS} of chance",
        )
    return SelectionResult(
        score=shared.score if at_chance else math.nan,
        x_to_y=shared.x_to_y[1],
        y_to_x=shared.y_to_x[1],
        exclusive_hits_x_to_y=hits[0],
        exclusive_hits_y_to_x=hits[1],
        pairs=shared.pairs,
        degenerate=degenerate,
    )
