"""Mean and covariance of image features: in one pass over batches of any size, merged, and kept in files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.damage import NPZ_DAMAGE
from common.errors import disk_error
from common.files import atomic_file
from common.output import say
from metrics.arrays import LARGEST, FloatArray, real_array

_BLOCK_ROWS = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """What the Fréchet distance knows of a set of images.

    Args:
        count: how many images.
        mean: `[D]` float64.
        scatter: `[D, D]` float64, the sum of outer products of the deviations from the mean; `covariance` is this
            divided by `count - 1`.
    """

    count: int
    mean: FloatArray
    scatter: FloatArray

    def __post_init__(self) -> None:
        size = self.mean.size
        if self.mean.shape != (size,) or self.scatter.shape != (size, size):
            raise ValueError(f"mean {self.mean.shape} and scatter {self.scatter.shape} must be (D,) and (D, D)")

    @property
    def size(self) -> int:
        """How many features an image has."""
        return self.mean.size

    @property
    def covariance(self) -> FloatArray:
        """`[D, D]` the unbiased estimate.

        Raises:
            ValueError: of one image.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs two images or more, not {self.count}")
        return self.scatter / (self.count - 1)

    def merged(self, other: FeatureStatistics) -> FeatureStatistics:
        """The statistics of both sets together.

        Raises:
            ValueError: if they are of different features.

        Source: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm, 1979, equation 2.1: no sum of raw
        squares is formed, which would lose all digits of features far from 0.
        """
        if other.size != self.size:
            raise ValueError(f"statistics of {self.size} and of {other.size} features cannot be merged")
        count = self.count + other.count
        delta = other.mean - self.mean
        scatter = np.outer(delta * (self.count * (other.count / count)), delta)
        scatter += self.scatter
        scatter += other.scatter
        return FeatureStatistics(count, self.mean + delta * (other.count / count), scatter)


class StatisticsStream:
    """Statistics of features that come in batches; only `D * D` numbers and one block of rows are kept.

    The rows are gathered into blocks of a fixed size first, so that the result is the same to the last bit however
    they are divided into batches.

    Args:
        name: what to call the features in messages.
    """

    def __init__(self, name: str = "features") -> None:
        self._name = name
        self._rows: list[FloatArray] = []
        self._waiting = 0
        self._done: FeatureStatistics | None = None
        self._size: int | None = None

    def add(self, features: npt.ArrayLike) -> None:
        """Takes features `[n, D]`.

        Raises:
            TypeError: if they are not real numbers.
            ValueError: if they are not finite, too large to be squared, or of another D than those before.
        """
        batch = real_array(self._name, features, 2).astype(np.float64)
        if np.abs(batch).max() > LARGEST:
            raise ValueError(f"{self._name} holds numbers beyond {LARGEST:g}; scale them down")
        if self._size is not None and batch.shape[1] != self._size:
            raise ValueError(f"{self._name} have {batch.shape[1]} columns, those before them {self._size}")
        self._size = batch.shape[1]
        self._rows.append(batch)
        self._waiting += len(batch)
        if self._waiting >= _BLOCK_ROWS:
            rows = np.concatenate(self._rows)
            whole = len(rows) // _BLOCK_ROWS * _BLOCK_ROWS
            for start in range(0, whole, _BLOCK_ROWS):
                self._done = _joined(self._done, _of_block(rows[start : start + _BLOCK_ROWS]))
            self._rows, self._waiting = [rows[whole:].copy()], len(rows) - whole

    def result(self) -> FeatureStatistics:
        """The statistics of all rows so far.

        Raises:
            ValueError: if there are none.
        """
        done = self._done
        if self._waiting:
            done = _joined(done, _of_block(np.concatenate(self._rows)))
        if done is None:
            raise ValueError(f"{self._name} has no rows")
        return done


def statistics_of(name: str, features: npt.ArrayLike | Iterable[npt.ArrayLike]) -> FeatureStatistics:
    """The statistics of features `[N, D]`, or of batches of them.

    Args:
        name: what to call them in messages.
        features: an array, or an iterable of arrays `[n, D]`.

    Raises:
        TypeError: if they are not real numbers.
        ValueError: if there are none, they are not finite, or the batches do not fit together.
    """
    stream = StatisticsStream(name)
    if isinstance(features, np.ndarray):
        table = real_array(name, features, 2)
        features = (table[start : start + _BLOCK_ROWS] for start in range(0, len(table), _BLOCK_ROWS))
    for batch in features:  # type: ignore[union-attr]
        stream.add(batch)
    return stream.result()


def _joined(done: FeatureStatistics | None, block: FeatureStatistics) -> FeatureStatistics:
    return block if done is None else done.merged(block)


def _of_block(rows: FloatArray) -> FeatureStatistics:
    # Centered on a row first: equal rows then have a scatter of exactly 0.
    first = rows[0].copy()
    shift = (rows - first).mean(axis=0)
    mean = first + shift
    centered = rows - first - shift
    return FeatureStatistics(len(rows), mean, centered.T @ centered)


def cached_statistics(
    folder: Path, key: Mapping[str, Any], compute: Callable[[], FeatureStatistics]
) -> FeatureStatistics:
    """Statistics from a file, or computed and written there.

    Args:
        folder: where the files are; it is made if missing.
        key: all that the statistics depend on: the data set's fingerprint, the extractor's id, the preprocessing, which
            images; what `json.dumps` takes. The file is named by its SHA-256.
        compute: makes the statistics.

    Returns:
        the statistics. A file that is damaged or of another key is made again.

    Raises:
        UserError: if the file cannot be written.
    """
    text = json.dumps(dict(key), sort_keys=True)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()}.npz"
    found = _read(path, text)
    if found is not None:
        return found
    statistics = compute()
    try:
        with atomic_file(path) as temporary, temporary.open("wb") as handle:
            np.savez(
                handle,
                key=np.array(text),
                checksum=np.array(_checksum(text, statistics)),
                count=np.array(statistics.count),
                mean=statistics.mean,
                scatter=statistics.scatter,
            )
    except OSError as error:
        raise disk_error(error) or error from error
    return statistics


def _read(path: Path, key: str) -> FeatureStatistics | None:
    """What a file holds; `None` if there is none, or it is not whole."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            mean, scatter = (np.asarray(file[name], np.float64) for name in ("mean", "scatter"))
            statistics = FeatureStatistics(int(file["count"]), mean, scatter)
            if str(file["key"]) == key and str(file["checksum"]) == _checksum(key, statistics):
                return statistics
    except (OSError, TypeError, AttributeError, MemoryError, *NPZ_DAMAGE):
        pass
    say(f"note: {path} is damaged; its statistics are computed again")
    return None


def _checksum(key: str, statistics: FeatureStatistics) -> str:
    digest = hashlib.sha256(f"{key} {statistics.count} {statistics.size}".encode())
    for array in (statistics.mean, statistics.scatter):
        digest.update(np.ascontiguousarray(array, "<f8").tobytes())
    return digest.hexdigest()
