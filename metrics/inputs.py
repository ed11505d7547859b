"""What a metric of the registry is called with: arrays by name, checked and prepared once for all metrics."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from metrics.arrays import FloatArray, IntArray, code_table, population_std, real_array
from metrics.factors import Factors, read_factors
from metrics.protocols import generator

GENERATION_KEYS = {
    "features_real": "(N, D)     numbers: features of real images",
    "features_fake": "(M, D)     numbers: features of generated images, by the same extractor",
    "vgan_features_real": "(N, D)     numbers: features of real images drawn as VGAN's code does",
    "vgan_features_fake": "(M, D)     numbers: those of generated images",
    "extractor": "()         text: what made the features or probabilities; it is repeated in the results",
    "probabilities": "(N, C)     numbers: a classifier's probabilities of generated images; rows add up to 1",
    "shared_x": "(N, D)     numbers: shared codes of one domain",
    "shared_y": "(N, D)     numbers: those of their partners in the other domain, in the same order",
    "exclusive_x": "(N, D)     numbers: exclusive codes of one domain",
    "exclusive_y": "(N, D)     numbers: those of their partners",
    "queries": "(Q, D)     numbers: codes of images to search with",
    "query_labels": "(Q,)       integers: their classes",
    "gallery": "(G, D)     numbers: codes of images to be found",
    "gallery_labels": "(G,)       integers: their classes",
    "retrieval_k": "()         integer: how many of the nearest to look at",
}
"""The arrays of generated images and of retrieval, and what each is."""

KEYS = {
    "codes": "(N, D)     numbers: codes of N images",
    "factors": "(N, F)     numbers: the factors of the same images; NaN is a missing cell",
    "factor_names": "(F,)       text: names of the factors",
    "discrete": "(F,)       True for categories, False for quantities",
    "periodic": "(F,)       True for quantities that go around a circle",
    "group_codes": "(M, L, D)  numbers: codes of M groups of L images that share one factor's value",
    "group_labels": "(M,)       integers: which factor that is",
    "test_codes": "(T, D)     codes held out, for metrics that hold some out",
    "test_factors": "(T, F)     their factors",
    "code_columns": "(K,)       integers: which columns of codes are the categories of one categorical code",
    "test_group_codes": "(U, L, D)  groups held out",
    "test_group_labels": "(U,)       their labels",
    "model_codes": "(m, N, D)  codes of the same N images by m models, to rank the models",
    "model_kl": "(m, D)     nats by which each code's posterior differs from the prior, on average",
    "model_names": "(m,)       text: names of the models",
    "model_scores": "(m, m)     FactorVAE score of encoder i on the images of generator j",
    **GENERATION_KEYS,
}
"""The arrays that metrics read, and what each is."""

FAST_ROWS = 10_000
"""Rows of `codes` and `factors` that the fast preset looks at."""


FITTED_ROWS, HELD_OUT_ROWS = 10_000, 5_000
"""Images to fit to, and images held out, in the protocol of disentanglement_lib."""


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Images to fit to and images held out."""

    codes: np.ndarray
    factors: Factors
    test_codes: np.ndarray
    test_factors: Factors
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class GroupSplit:
    """Groups to fit to and groups held out."""

    codes: np.ndarray
    labels: np.ndarray
    test_codes: np.ndarray
    test_labels: np.ndarray
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """Arrays by name, and the options that metrics have in common.

    Args:
        arrays: those of `KEYS` that are there; `factor_levels` and `test_factor_levels` beside them where a data set
            knows its levels.
        seed: for metrics that draw or fit at random.
        strict_reference: give what the released code gives for degenerate input, NaN included.
    """

    arrays: Mapping[str, np.ndarray]
    seed: int = 0
    strict_reference: bool = False

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self.arrays

    @functools.cached_property
    def codes(self) -> np.ndarray:
        """`codes`, checked."""
        return code_table("codes", self["codes"])

    @functools.cached_property
    def factors(self) -> Factors:
        """`factors` of the rows of `codes`."""
        return self._all_factors.rows(slice(0, len(self.codes)))

    @functools.cached_property
    def split(self) -> Split:
        """`codes` and `factors` to fit to, and those held out: the `test_` arrays, or else the last third of the rows.

        Of more than 15,000 rows the first 10,000 and the next 5,000 are taken.

        Raises:
            ValueError: if there are fewer than six rows to be split.
        """
        size = len(self.codes)
        if "test_codes" in self:
            tests = code_table("test_codes", self["test_codes"])
            if tests.shape[1] != self.codes.shape[1]:
                raise ValueError(
                    f"codes {self.codes.shape} and test_codes {tests.shape} must have the same number of codes"
                )
            return Split(self.codes, self.factors, tests, self._all_factors.rows(slice(size, None)), ())
        if size < 6:
            raise ValueError(f"codes has {size} rows, too few to hold a third of them out; give 6 or more")
        first, last = 2 * size // 3, size
        note = f"fitted to the first {first:,} rows; the other {size - first:,} are held out"
        if size > FITTED_ROWS + HELD_OUT_ROWS:
            first, last = FITTED_ROWS, FITTED_ROWS + HELD_OUT_ROWS
            note = (
                f"fitted to the first {first:,} of {size:,} rows, the next {HELD_OUT_ROWS:,} held out, as many as in "
                "the published protocol"
            )
        train, test = slice(0, first), slice(first, last)
        return Split(self.codes[train], self.factors.rows(train), self.codes[test], self.factors.rows(test), (note,))

    @functools.cached_property
    def group_split(self) -> GroupSplit:
        """Groups to fit to, and groups held out: the `test_` arrays, or else the last third.

        Raises:
            ValueError: if there are fewer than three groups to be split.
        """
        groups, labels = real_array("group_codes", self["group_codes"], 3), np.asarray(self["group_labels"])
        if "test_group_codes" in self or "test_group_labels" in self:
            missing = [name for name in ("test_group_codes", "test_group_labels") if name not in self]
            if missing:
                raise ValueError(f"{missing[0]} is missing; give both test_group_codes and test_group_labels, or none")
            return GroupSplit(groups, labels, self["test_group_codes"], self["test_group_labels"], ())
        size = len(groups)
        if size < 3:
            raise ValueError(f"group_codes has {size} groups, too few to hold a third of them out; give 3 or more")
        if labels.shape != (size,):
            raise ValueError(f"group_labels must have the shape ({size},), one label per group; it is {labels.shape}")
        first = 2 * size // 3
        note = f"fitted to the first {first:,} groups; the other {size - first:,} are held out"
        return GroupSplit(groups[:first], labels[:first], groups[first:], labels[first:], (note,))

    @functools.cached_property
    def spread(self) -> tuple[FloatArray, int, tuple[str, ...]]:
        """The population standard deviation of every code, over how many images, and a note if these are not random.

        It is taken over `codes`, or, for want of these, over the groups' own images.
        """
        groups = real_array("group_codes", self["group_codes"], 3)
        if "codes" in self:
            codes = real_array("codes", self["codes"], 2)
            if codes.shape[1] != groups.shape[2]:
                raise ValueError(
                    f"codes {codes.shape} and group_codes {groups.shape} must have the same number of codes"
                )
            return population_std(codes), len(codes), ()
        images = groups.reshape(-1, groups.shape[2])
        note = "spread of the codes over the images of the groups, where the published protocol has random images"
        return population_std(images), len(images), (f"{note} (`codes`)",)

    @functools.cached_property
    def _all_factors(self) -> Factors:
        """The factors of `codes` and, below them, of `test_codes`: levels are the same for both."""
        factors = np.asarray(self["factors"])
        if factors.ndim == 2 and len(factors) != len(self.codes):
            raise ValueError(
                f"codes has {len(self.codes):,} rows and factors {len(factors):,}; both need one row for each image"
            )
        parts = [factors]
        if "test_codes" in self or "test_factors" in self:
            missing = [name for name in ("test_codes", "test_factors") if name not in self]
            if missing:
                raise ValueError(f"{missing[0]} is missing; give both test_codes and test_factors, or neither")
            tests = np.asarray(self["test_factors"])
            if tests.ndim != 2 or factors.ndim != 2 or tests.shape != (len(self["test_codes"]), factors.shape[1]):
                raise ValueError(
                    f"test_factors has the shape {tests.shape}; it must have one row for each row of test_codes, "
                    f"{np.shape(self['test_codes'])}, and the columns of factors, {factors.shape}"
                )
            parts.append(tests)
        levels: list[IntArray] = [self[name] for name in ("factor_levels", "test_factor_levels") if name in self]
        return read_factors(
            np.concatenate(parts) if len(parts) > 1 else factors,
            self.arrays.get("discrete"),
            None if "factor_names" not in self else [str(name) for name in np.atleast_1d(self["factor_names"])],
            self.arrays.get("periodic"),
            np.concatenate(levels) if levels else None,
        )


def limited(arrays: Mapping[str, np.ndarray], seed: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What the fast preset looks at: at most `FAST_ROWS` random rows of `codes` and `factors`, half as many of tests.

    Args:
        arrays: by name; those whose first axes do not fit are left for the metrics to refuse.
        seed: which rows.

    Returns:
        the arrays, and a note for each of `codes` and `test_codes` that was cut.
    """
    result, notes = dict(arrays), {}
    for prefix, most in (("", FAST_ROWS), ("test_", FAST_ROWS // 2)):
        names = [name for name in (f"{prefix}codes", f"{prefix}factors") if name in arrays]
        sizes = {np.shape(arrays[name])[:1] for name in names}
        if len(sizes) != 1 or sizes == {()}:
            continue
        size = len(arrays[names[0]])
        if size > most:
            rows = np.sort(generator(seed, f"fast {prefix}rows").choice(size, most, replace=False, shuffle=False))
            result.update({name: np.asarray(arrays[name])[rows] for name in names})
            notes[f"{prefix}codes"] = f"{most:,} of the {size:,} rows of {prefix}codes (preset fast)"
    return result, notes
