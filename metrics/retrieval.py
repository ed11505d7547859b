"""Retrieval across two domains: the partner of an image by Recall@k, images of its class by average precision.

Equal distances are never resolved in anybody's favor: every order of the equals is as likely, and a score is its mean
over these orders. A representation that is constant therefore scores as chance does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from metrics.arrays import (
    LARGEST,
    BoolArray,
    FloatArray,
    IntArray,
    code_table,
    integer_labels,
    listed,
    live_codes,
    real_array,
)
from metrics.distances import TIE, SquaredDistances, row_numbers
from metrics.results import MetricResult

RECALL_AT = (1, 5, 10)
_RANKED_VALUES = 1 << 21
_EQUAL_COSINES = 1e-13
"""Cosines that differ by no more are equal: rounding alone makes a copy differ by so much."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RecallResult(MetricResult):
    """How often an image's partner is among its nearest ones; `score` is the mean of both directions at the first k.

    Args:
        x_to_y: k -> share of queries from x whose partner is among the k nearest of y.
        y_to_x: the other direction.
        chance: k -> what codes without information score: k / N.
        pairs: N, how many pairs there are.
    """

    x_to_y: dict[int, float]
    y_to_x: dict[int, float]
    chance: dict[int, float]
    pairs: int


def recall_at_k(codes_x: npt.ArrayLike, codes_y: npt.ArrayLike, at: Sequence[int] | None = None) -> RecallResult:
    """Recall@k both ways: row i of x and row i of y are partners, and squared Euclidean distance decides.

    For shared codes this should be near 1, for exclusive codes near chance.

    Args:
        codes_x: `[N, D]` codes of one domain.
        codes_y: `[N, D]` codes of the other, in the same order.
        at: which k; `score` is for the first. Default: those of 1, 5 and 10 that are at most N.

    Returns:
        shares in [0, 1].

    Raises:
        TypeError: if the codes are not real numbers.
        ValueError: if the shapes differ, a code is not finite, or a k is below 1 or above N.

    Source: Hwang et al., IIAE, NeurIPS 2020, tables of cross-domain retrieval, `feat_dist_full.py` of the authors' code
    (k = 1).
    """
    x, y = code_table("codes_x", codes_x), code_table("codes_y", codes_y)
    if x.shape != y.shape:
        raise ValueError(f"both domains need the same rows and columns; the codes are {x.shape} and {y.shape}")
    count = len(x)
    wanted = [k for k in RECALL_AT if k <= count] if at is None else list(at)
    if not wanted or min(wanted) < 1 or max(wanted) > count:
        raise ValueError(f"k is {listed(wanted) or 'missing'}; allowed: 1 to {count:,}, the number of pairs")
    nearer, equal = _partners(x, y)
    ways = [{k: float(np.clip((k - nearer[way]) / (equal[way] + 1), 0, 1).mean()) for k in wanted} for way in range(2)]
    degenerate = tuple(
        f"the codes of {name} are the same for all images"
        for name, codes in (("x", x), ("y", y))
        if not live_codes(codes).any()
    )
    for way, what in enumerate(("x", "y")):
        tied = int(np.count_nonzero(equal[way]))
        if tied:
            degenerate += (
                f"{tied:,} of {count:,} queries from {what} are as near to other images as to their partner; any order "
                "of these is as likely",
            )
    return RecallResult(
        score=(ways[0][wanted[0]] + ways[1][wanted[0]]) / 2,
        x_to_y=ways[0],
        y_to_x=ways[1],
        chance={k: k / count for k in wanted},
        pairs=count,
        degenerate=degenerate,
    )


def _partners(x: np.ndarray, y: np.ndarray) -> tuple[IntArray, IntArray]:
    """How many images are nearer than the partner, and how many others as near: `[2, N]`, from x and from y."""
    distances = SquaredDistances(x, y)
    numbers = np.arange(len(x))
    partner = distances.exact(numbers, numbers)
    # From x the copies of a partner are copies in y, and the other way around. They need no distances: of constant
    # codes all N^2 would have to be looked at in double precision.
    of_rivals = (row_numbers(y), row_numbers(x))
    has_copies = [bool(numbered.max() + 1 < len(numbered)) for numbered in of_rivals]
    nearer = np.zeros((2, len(x)), dtype=np.int64)
    equal = np.zeros((2, len(x)), dtype=np.int64)
    for rows, columns, near, errors in distances.tiles():
        if rows == columns:
            np.fill_diagonal(near, np.inf)
        least, most = near - errors, near + errors
        references = partner[rows, None], partner[None, columns]
        sides = (rows, columns)
        settled: list[BoolArray] = []
        open_: BoolArray = np.zeros(near.shape, dtype=bool)
        for way, reference in enumerate(references):
            clear = most < reference * (1 - TIE)
            if has_copies[way]:
                same = of_rivals[way][rows, None] == of_rivals[way][None, columns]
                same &= np.isfinite(near)
                equal[way, sides[way]] += same.sum(axis=1 - way)
                clear &= ~same
                settled.append(clear | same)
            else:
                settled.append(clear)
            nearer[way, sides[way]] += clear.sum(axis=1 - way)
            open_ |= ~settled[way] & (least <= reference * (1 + TIE))
        row, column = np.nonzero(open_)
        exact = distances.exact(row + rows.start, column + columns.start)
        for way, reference in enumerate(references):
            place = (row, column)[way]
            own = reference.ravel()[place]
            # A pair may be open for one direction only: what was counted above is not counted again.
            undecided = ~settled[way][row, column]
            ties = undecided & (np.abs(exact - own) <= TIE * np.maximum(exact, own))
            np.add.at(equal[way], place[ties] + sides[way].start, 1)
            np.add.at(nearer[way], place[undecided & ~ties & (exact < own)] + sides[way].start, 1)
    return nearer, equal


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ClassRetrievalResult(MetricResult):
    """How well images of a query's class are found in a gallery.

    Args:
        k: how many nearest images were looked at.
        per_class: class -> mean over its queries.
        queries: how many queries count.
        gallery: how many images there are to find.
    """

    k: int
    per_class: dict[int, float]
    queries: int
    gallery: int


def map_all(
    queries: npt.ArrayLike, query_labels: npt.ArrayLike, gallery: npt.ArrayLike, gallery_labels: npt.ArrayLike
) -> ClassRetrievalResult:
    """Mean average precision over the whole gallery, by cosine distance (mAP@all).

    Args:
        queries: `[Q, D]` codes.
        query_labels: `[Q]` integers, their classes.
        gallery: `[G, D]` codes of the images to be found.
        gallery_labels: `[G]` integers.

    Returns:
        the mean, over queries whose class is in the gallery, of the precision at the places of the relevant images.

    Raises:
        TypeError: if an array does not hold numbers.
        ValueError: if shapes do not fit, a code is not finite, or no query has its class in the gallery.

    Source: Hwang et al., IIAE, NeurIPS 2020, table of zero-shot sketch-based retrieval.
    """
    search = _Search(queries, query_labels, gallery, gallery_labels)
    values = search.gains(len(search.gallery)) / np.maximum(search.relevant, 1)
    return search.result(values, len(search.gallery), search.relevant > 0)


def map_at_k(
    queries: npt.ArrayLike,
    query_labels: npt.ArrayLike,
    gallery: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    k: int = 200,
) -> ClassRetrievalResult:
    """Mean average precision among the first k as it is usually defined: divided by k or, if fewer, by all relevant.

    Args:
        queries: `[Q, D]` codes.
        query_labels: `[Q]` integers, their classes.
        gallery: `[G, D]` codes of the images to be found.
        gallery_labels: `[G]` integers.
        k: from 1 to G, default 200.

    Returns:
        the mean over queries whose class is in the gallery.

    Raises:
        TypeError: if an array does not hold numbers.
        ValueError: as for `map_all`, and for another k.
    """
    search = _Search(queries, query_labels, gallery, gallery_labels, k)
    return search.result(search.gains(k) / np.clip(search.relevant, 1, k), k, search.relevant > 0)


def map_at_k_reference(
    queries: npt.ArrayLike,
    query_labels: npt.ArrayLike,
    gallery: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    k: int = 200,
) -> ClassRetrievalResult:
    """Mean average precision among the first k as the authors of IIAE compute it: always divided by k.

    It is lower than `map_at_k` where a class has fewer than k images; a query without any counts 0.

    Args:
        queries: `[Q, D]` codes.
        query_labels: `[Q]` integers, their classes.
        gallery: `[G, D]` codes of the images to be found.
        gallery_labels: `[G]` integers.
        k: from 1 to G, default 200, as for the second split of Sketchy.

    Returns:
        the mean over all queries.

    Raises:
        TypeError: if an array does not hold numbers.
        ValueError: as for `map_all`, and for another k.

    Source: Hwang et al., IIAE, NeurIPS 2020, `zs_cross_vae.py` of the authors' code.
    """
    search = _Search(queries, query_labels, gallery, gallery_labels, k)
    return search.result(search.gains(k) / k, k, np.ones(len(search.queries), dtype=bool))


def precision_at_k(
    queries: npt.ArrayLike,
    query_labels: npt.ArrayLike,
    gallery: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    k: int = 100,
) -> ClassRetrievalResult:
    """The share of the first k images that are of the query's class, by cosine distance (P@k).

    Args:
        queries: `[Q, D]` codes.
        query_labels: `[Q]` integers, their classes.
        gallery: `[G, D]` codes of the images to be found.
        gallery_labels: `[G]` integers.
        k: from 1 to G, default 100, as for the first split of Sketchy.

    Returns:
        the mean over all queries; one whose class is not in the gallery counts 0.

    Raises:
        TypeError: if an array does not hold numbers.
        ValueError: as for `map_all`, and for another k.

    Source: Hwang et al., IIAE, NeurIPS 2020, table of zero-shot sketch-based retrieval.
    """
    search = _Search(queries, query_labels, gallery, gallery_labels, k)
    return search.result(search.shares(k), k, np.ones(len(search.queries), dtype=bool))


class _Search:
    """A gallery in the order of its cosine distance from every query."""

    def __init__(
        self,
        queries: npt.ArrayLike,
        query_labels: npt.ArrayLike,
        gallery: npt.ArrayLike,
        gallery_labels: npt.ArrayLike,
        k: int | None = None,
    ) -> None:
        self.queries, self.gallery = _vectors("queries", queries), _vectors("gallery", gallery)
        if self.queries.shape[1] != self.gallery.shape[1]:
            raise ValueError(f"queries {self.queries.shape} and gallery {self.gallery.shape} need the same columns")
        self.query_labels = integer_labels("query_labels", query_labels, len(self.queries))
        self.gallery_labels = integer_labels("gallery_labels", gallery_labels, len(self.gallery))
        if k is not None and not 1 <= k <= len(self.gallery):
            raise ValueError(f"k is {k}; allowed: 1 to {len(self.gallery):,}, the images of the gallery")
        classes, counts = np.unique(self.gallery_labels, return_counts=True)
        place = np.minimum(np.searchsorted(classes, self.query_labels), classes.size - 1)
        self.relevant: IntArray = np.where(classes[place] == self.query_labels, counts[place], 0)
        if not self.relevant.any():
            raise ValueError("no query has an image of its class in the gallery; check query_labels and gallery_labels")
        self._factors = [_inverse_norms(table) for table in (self.queries, self.gallery)]
        self._tied = 0

    def gains(self, k: int) -> FloatArray:
        """Per query the sum, over the relevant ones of the first k places, of the precision there: `[Q]`."""
        return np.concatenate([gains[:, :k].sum(axis=1) for gains, _ in self._ranked()])

    def shares(self, k: int) -> FloatArray:
        """Per query the share of relevant ones in the first k places: `[Q]`."""
        return np.concatenate([hits[:, :k].mean(axis=1) for _, hits in self._ranked()])

    def result(self, values: FloatArray, k: int, counted: BoolArray) -> ClassRetrievalResult:
        """The mean over the queries that count."""
        degenerate: tuple[str, ...] = ()
        for name, factors in zip(("queries", "rows of gallery"), self._factors, strict=True):
            zeros = int(np.count_nonzero(factors == 0))
            if zeros:
                degenerate += (f"{zeros:,} of {factors.size:,} {name} are 0 and have no direction: their cosine is 0",)
        absent = int(np.count_nonzero(self.relevant == 0))
        if absent:
            what = "are left out" if not counted.all() else "count 0"
            classes = np.unique(self.query_labels[self.relevant == 0])
            degenerate += (f"{absent:,} queries of classes that the gallery has not {what}: {listed(classes)}",)
        if self._tied:
            degenerate += (
                f"{self._tied:,} queries are as near to several images of the gallery; any order of these is as likely",
            )
        labels = self.query_labels[counted]
        per_class = {int(label): float(values[counted][labels == label].mean()) for label in np.unique(labels)}
        return ClassRetrievalResult(
            score=float(values[counted].mean()),
            k=k,
            per_class=per_class,
            queries=int(np.count_nonzero(counted)),
            gallery=len(self.gallery),
            degenerate=degenerate,
        )

    def _ranked(self) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Some queries at a time: at every place the expected precision if relevant, and the expected relevance."""
        self._tied = 0
        places = np.arange(1, len(self.gallery) + 1)
        step = max(1, _RANKED_VALUES // len(self.gallery))
        for start in range(0, len(self.queries), step):
            cosines = self._cosines(slice(start, start + step))
            order = np.argsort(-cosines, axis=1)
            sorted_ = np.take_along_axis(cosines, order, axis=1)
            relevant = self.gallery_labels[order] == self.query_labels[start : start + step, None]
            first_of_equals = np.ones(relevant.shape, dtype=bool)
            first_of_equals[:, 1:] = sorted_[:, :-1] - sorted_[:, 1:] > _EQUAL_COSINES
            self._tied += int(np.count_nonzero(~first_of_equals.all(axis=1)))
            hits, gains = _expected(relevant, first_of_equals)
            yield gains / places, hits

    def _cosines(self, rows: slice) -> FloatArray:
        queries = self.queries[rows].astype(np.float64) * self._factors[0][rows, None]
        cosines = np.empty((len(queries), len(self.gallery)))
        step = max(1, _RANKED_VALUES // self.gallery.shape[1])
        for start in range(0, len(self.gallery), step):
            columns = slice(start, start + step)
            images = self.gallery[columns].astype(np.float64) * self._factors[1][columns, None]
            cosines[:, columns] = queries @ images.T
        return cosines


def _expected(relevant: BoolArray, first_of_equals: BoolArray) -> tuple[FloatArray, FloatArray]:
    """What to expect at every place if equals stand in random order.

    Args:
        relevant: `[B, G]` in some order of the equals.
        first_of_equals: `[B, G]` where the equals of a new distance begin; true in the first column.

    Returns:
        `[B, G]` the chance that the image at a place is relevant, and the expected number of relevant ones up to there
        if it is (0 if it is not).

    Source: McSherry and Najork, Computing Information Retrieval Performance Measures Efficiently in the Presence of
    Tied Scores, ECIR 2008, section 2.
    """
    found = np.cumsum(relevant, axis=1)
    if first_of_equals.all():
        return relevant.astype(np.float64), np.where(relevant, found, 0).astype(np.float64)
    starts = np.flatnonzero(first_of_equals)
    sizes = np.diff(np.append(starts, relevant.size))
    inside = np.add.reduceat(relevant.ravel().astype(np.int64), starts)
    before: IntArray = (found - relevant).ravel()[starts]
    chance = np.repeat(inside / sizes, sizes)
    # One that is relevant at place j of n equals has, on average, j (r - 1) / (n - 1) of the others before it.
    others = np.repeat((inside - 1) / np.maximum(sizes - 1, 1), sizes)
    place = np.arange(relevant.size) - np.repeat(starts, sizes)
    gains = chance * (np.repeat(before, sizes) + 1 + place * others)
    return chance.reshape(relevant.shape), gains.reshape(relevant.shape)


def _vectors(name: str, values: npt.ArrayLike) -> np.ndarray:
    table = real_array(name, values, 2)
    if float(np.abs(table).max()) > LARGEST:
        raise ValueError(f"{name} holds numbers beyond {LARGEST:g}; scale them down")
    return table


def _inverse_norms(table: np.ndarray) -> FloatArray:
    """What brings each row to length 1; 0 for rows of zeros."""
    factors = np.empty(len(table))
    step = max(1, _RANKED_VALUES // table.shape[1])
    for start in range(0, len(table), step):
        rows = table[start : start + step].astype(np.float64)
        largest = np.abs(rows).max(axis=1)
        # Scaled before squaring, so that rows near 1e-200 do not vanish.
        scaled = rows / np.where(largest > 0, largest, 1.0)[:, None]
        norms = np.sqrt(np.einsum("ij,ij->i", scaled, scaled)) * largest
        factors[start : start + step] = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    return factors
