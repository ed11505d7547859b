"""What the columns of factors mean: categories or quantities, and the levels that some metrics count.

The metrics of information and the classifiers need levels; SAP and DCI need to know whether a number is a name or an
amount. Data sets of the suite say both. For arrays from elsewhere the rules below decide, and every result that rests
on one of them says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from metrics.arrays import BoolArray, FloatArray, IntArray, factor_labels, factor_table, listed
from metrics.mutual_information import NUM_BINS, bin_codes

MOST_LEVELS = 256
"""Factors that are not called discrete are cut into bins if they have more values than this."""

MOST_CATEGORIES = 5
"""Factors of whole numbers with at most this many values are taken for categories unless `discrete` says otherwise."""

CATEGORY_NAMES = ("shape", "object", "class", "category", "label", "identity", "type")
"""Factors with such a name (or with one as its last word) are taken for categories unless `discrete` says otherwise."""

_MOST_DISCRETE_LEVELS = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Factors:
    """Factors of some images.

    Args:
        values: `[N, F]` float64; NaN is a missing cell.
        levels: `[N, F]` int64 from 0; -1 is a missing cell.
        discrete: `[F]` which are categories.
        names: of the columns.
        about_levels: what was assumed to make the levels.
        about_kinds: what was assumed to tell categories from quantities.
        about_circles: which factors go around a circle, which no metric here takes into account.
        missing: what is to be said of missing cells.
    """

    values: FloatArray
    levels: IntArray
    discrete: BoolArray
    names: tuple[str, ...]
    about_levels: tuple[str, ...] = ()
    about_kinds: tuple[str, ...] = ()
    about_circles: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def rows(self, chosen: slice | IntArray) -> Factors:
        """The same of some images only."""
        return dataclasses.replace(self, values=self.values[chosen], levels=self.levels[chosen])


def read_factors(
    factors: npt.ArrayLike,
    discrete: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    periodic: npt.ArrayLike | None = None,
    levels: npt.ArrayLike | None = None,
) -> Factors:
    """Decides what the columns mean.

    *Categories.* Where `discrete` is not given, a factor is one if its name is in `CATEGORY_NAMES`, or if it takes at
    most `MOST_CATEGORIES` values, all whole numbers. That gives the flags of InfoGAN-CR on dSprites: the shape, not the
    scale, orientation and position.

    *Levels.* The values of a category are its levels. So are those of a quantity if there are at most `MOST_LEVELS`,
    and they are whole numbers or occur twice each on average. Other quantities are cut into 20 bins of equal width
    over the values found, InfoGAN-CR's rule for 3D Teapot.

    Args:
        factors: `[N, F]` numbers; NaN is a missing cell.
        discrete: `[F]` which are categories. Default: the rule above.
        names: `[F]`. Default: `factor 0`, `factor 1` and so on.
        periodic: `[F]` which go around a circle; they are used as ordinary numbers, and the results say so.
        levels: `[N, F]` int64, if they are known; negative ones are missing cells.

    Raises:
        TypeError: if something is not numbers.
        ValueError: if shapes do not fit, a value is infinite, or a category has a thousand levels or more.
    """
    values = factor_table("factors", factors, len(np.asarray(factors)) if np.ndim(factors) else 0)
    labels = factor_labels(names, values.shape[1])
    kinds, about_kinds = _kinds(values, labels, discrete)
    known = None if levels is None else np.asarray(levels).astype(np.int64)
    if known is not None and known.shape != values.shape:
        raise ValueError(f"levels have the shape {known.shape}, factors {values.shape}; they must be the same")
    found, cut = (known, []) if known is not None else _levels(values, kinds, labels)
    about_levels: tuple[str, ...] = ()
    if cut:
        about_levels = (f"real values are cut into {NUM_BINS} bins of equal width: {listed(cut)}",)
    circles = [name for name, flag in zip(labels, _flags("periodic", periodic, len(labels)), strict=True) if flag]
    about_circles: tuple[str, ...] = ()
    if circles:
        about_circles = (f"periodic factors are used as ordinary numbers, as published: {listed(circles)}",)
    empty = np.isnan(values)
    missing = tuple(
        f"{int(count):,} of {len(values):,} images have no {name} and are left out for it"
        for name, count in zip(labels, empty.sum(axis=0), strict=True)
        if count
    )
    return Factors(values, found, kinds, labels, about_levels, about_kinds, about_circles, missing)


def _flags(name: str, flags: npt.ArrayLike | None, count: int) -> BoolArray:
    """`[count]` truth values; all false if there are none."""
    if flags is None:
        return np.full(count, False)
    array = np.asarray(flags)
    if array.shape != (count,):
        raise ValueError(f"{name} has the shape {array.shape}; give one of True and False for each of {count} factors")
    if array.dtype.kind not in "biu" or not np.isin(array, (0, 1)).all():
        raise TypeError(f"{name} must hold True and False, not values of type {array.dtype}")
    return array.astype(bool)


def _kinds(
    values: FloatArray, names: tuple[str, ...], discrete: npt.ArrayLike | None
) -> tuple[BoolArray, tuple[str, ...]]:
    """Which factors are categories, and what was assumed for that."""
    if discrete is not None:
        return _flags("discrete", discrete, len(names)), ()
    kinds = np.array([_is_category(column, name) for column, name in zip(values.T, names, strict=True)])
    chosen = [name for name, kind in zip(names, kinds, strict=True) if kind]
    return kinds, (f"`discrete` is not given; taken for categories: {listed(chosen) if chosen else 'none'}",)


def _is_category(column: FloatArray, name: str) -> bool:
    if name.lower().replace("-", " ").replace("_", " ").split()[-1:] in [[word] for word in CATEGORY_NAMES]:
        return True
    present = column[~np.isnan(column)]
    # A real-valued column is settled by its first values; only the others are worth sorting.
    if not (np.floor(present) == present).all():
        return False
    return np.unique(present).size <= MOST_CATEGORIES


def _levels(values: FloatArray, kinds: BoolArray, names: tuple[str, ...]) -> tuple[IntArray, list[str]]:
    """The levels, and the factors that were cut into bins for them."""
    levels = np.full(values.shape, -1, dtype=np.int64)
    cut = []
    for number, (column, is_category, name) in enumerate(zip(values.T, kinds, names, strict=True)):
        present = ~np.isnan(column)
        kept = column[present]
        distinct, places = np.unique(kept, return_inverse=True)
        whole = (np.floor(distinct) == distinct).all()
        if is_category and distinct.size > _MOST_DISCRETE_LEVELS:
            raise ValueError(
                f"{name} is called discrete and has {distinct.size:,} values, more than {_MOST_DISCRETE_LEVELS:,}; "
                "set its entry of `discrete` to False, or leave the factor out"
            )
        if is_category or (distinct.size <= MOST_LEVELS and (whole or 2 * distinct.size <= kept.size)):
            levels[present, number] = places
        elif kept.size:
            levels[present, number] = bin_codes(kept[:, None])[:, 0]
            cut.append(name)
    return levels, cut
