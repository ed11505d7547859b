"""Data sets made of image files: decoded over all cores once, kept as an array that is mapped from a file.

The array stands beside a record of what made it (the archive or folder, which files of it, the steps from file to
pixels). It is whole or not there: a run that is killed starts clean. Files that cannot be used leave an empty row and a
reason in the array itself, so that the account of them outlives the run; the data set is what is left.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.cores import available_cores
from common.errors import UserError
from common.files import made_folder, write_text
from common.progress import progress
from data_gen.archives import (
    ARCHIVE_SUFFIXES,
    IMAGE_SUFFIXES,
    BadFileError,
    Container,
    Member,
    identity_of,
    open_container,
)
from data_gen.crops import Picture
from data_gen.dataset import ArrayDataset, Dataset, Subset, limited_indices
from data_gen.factors import check_indices
from data_gen.image_files import Pixels, codecs
from data_gen.packed import find_packed, packed_cache

TOLERANCE = 0.01
"""Above this share of files that cannot be used, the others are not trusted either."""
REASONS = (
    "",
    "empty file",
    "no image",
    "truncated",
    "damaged",
    "too large",
    "too small",
    "no pixels",
    "unknown kind of pixels",
    "link",
    "link to nowhere",
    "no plain file",
    "name twice",
    "encrypted",
    "unknown compression",
    "damaged in the archive",
    "gone",
    "permission denied",
    "input/output error",
    "other size",
    "other",
)
"""Why a file was not used; the place in this list is what is kept, so that it only ever grows at its end."""

Splits = Mapping[str, NDArray[np.int64]]
"""Parts of a data set by name: the numbers of their images."""

_FORMAT = 1
_BATCH = 32
_BATCH_BYTES = 2 << 20
_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Account:
    """Which files were used, and which were not.

    Args:
        used: how many images there are.
        skipped: the names of files that could not be used, by reason.
        others: how many files were passed over, because they are no images by their names.
    """

    used: int
    skipped: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    others: int = 0

    @property
    def num_skipped(self) -> int:
        """How many files could not be used."""
        return sum(len(names) for names in self.skipped.values())

    def summary(self) -> str:
        """One line: how many were read, how many were not and why, with the first few names."""
        parts = [f"{self.used:,} images read"]
        if self.num_skipped:
            parts.append(f"{self.num_skipped:,} files left out ({self.reasons()})")
        if self.others:
            parts.append(f"{self.others:,} files that are no images passed over")
        return "; ".join(parts)

    def reasons(self) -> str:
        """How many files were left out for which reason, with the first few names."""
        told = []
        for reason, names in self.skipped.items():
            more = ", ..." if len(names) > _NAMED else ""
            # A name may hold anything, such as bytes that are no text.
            shown = ", ".join(name if name.isprintable() else ascii(name) for name in names[:_NAMED])
            told.append(f"{len(names):,} {reason}: {shown}{more}")
        return "; ".join(told)


class ImageSet(ArrayDataset):
    """A data set of image files.

    Args:
        images: uint8 of shape (n, height, width, channels); may be memory-mapped.
        splits: its parts, in the order in which they are written. Default: one part, `train`.
        account: which files are in it. Default: all of them.
        class_names: what the levels of its only factor are called. Default: nothing.
        files: the name of each image's file, in its archive or folder. Default: not known.
        **about: further arguments of `ArrayDataset`.
    """

    def __init__(
        self,
        images: Pixels,
        *,
        splits: Splits | None = None,
        account: Account | None = None,
        class_names: tuple[str, ...] = (),
        files: Sequence[str] | None = None,
        **about: Any,
    ) -> None:
        super().__init__(images, **about)
        if files is not None and len(files) != len(images):
            raise ValueError(f"{len(files)} names of files for {len(images)} images")
        self._files = files
        self.splits: Splits = splits if splits is not None else {"train": np.arange(len(images))}
        self.account: Account = account if account is not None else Account(len(images))
        self.class_names = class_names

    def files_at(self, indices: NDArray[Any] | Sequence[int]) -> list[str] | None:
        if self._files is None:
            return None
        return [self._files[number] for number in check_indices(indices, self.num_examples).tolist()]

    def subset(self, indices: NDArray[np.int64], name: str) -> ImageSelection:
        return ImageSelection(self, indices, name)


class ImageSelection(Subset):
    """Some images of an `ImageSet`, or of another selection; what is left of its parts keeps their names."""

    def __init__(self, base: ImageSet | ImageSelection, indices: NDArray[np.int64], name: str) -> None:
        super().__init__(base, indices, name)
        self.account: Account = base.account
        self.class_names: tuple[str, ...] = base.class_names
        self.splits: Splits = {
            part: kept
            for part, numbers in base.splits.items()
            if len(kept := np.flatnonzero(np.isin(indices, numbers)))
        }

    def subset(self, indices: NDArray[np.int64], name: str) -> ImageSelection:
        return ImageSelection(self, check_indices(indices, self.num_examples), name)


Images = ImageSet | ImageSelection


def splits_of(dataset: Dataset) -> Splits:
    """The parts of a data set; all is `train` where it has none."""
    if isinstance(dataset, ImageSet | ImageSelection):
        return dataset.splits
    return {"train": np.arange(dataset.num_examples)}


class Maker(Protocol):
    """What makes an array of a file, such as a `Picture`; called by several threads at once."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the arrays."""

    def record(self) -> dict[str, Any]:
        """All that determines the result, for comparison."""

    def __call__(self, data: bytes) -> Pixels:
        """The file with these bytes as uint8; `BadFileError` if it cannot be used."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """Which files are read, and how each becomes an array.

    Args:
        path: the archive or folder.
        picture: the steps from a file to its array.
        pattern: regular expression that a file's path must match somewhere. Default: all do.
        suffixes: how names of files must end, in small letters. Default: those of images.
        tolerance: the largest share of files that may be unusable, 0 to 1.
        description: what is read, for the progress bar.
    """

    path: Path
    picture: Maker
    pattern: str = ""
    tolerance: float = TOLERANCE
    description: str = "reading images"
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES

    def __post_init__(self) -> None:
        if not 0.0 <= self.tolerance <= 1.0:
            raise UserError(f"tolerance is {self.tolerance}; give a share from 0 to 1, such as {TOLERANCE}")


@dataclasses.dataclass(frozen=True)
class Read:
    """Image files that were read.

    Args:
        names: of the files that could be used, in order.
        rows: the row of `images` of each.
        images: uint8, a row for each file, usually of shape (files, height, width, channels); mapped from a file. Rows
            of unusable files are empty.
        account: which files were used.
    """

    names: list[str]
    rows: NDArray[np.int64]
    images: Pixels
    account: Account


Chooser = Callable[[Sequence[str]], NDArray[np.int64]]
"""From the names of all files to the numbers of those that are wanted."""


class NoneChosenError(UserError):
    """None of the files is wanted: the part that was asked for is empty."""


def read_images(
    reading: Reading, cache: Path, choose: Chooser | None = None, choice: Any = None, whole: Path | None = None
) -> Read:
    """The images of an archive or a folder, read now or kept from before.

    Args:
        reading: what is read.
        cache: the file that keeps the array, `.npy`; two more stand beside it.
        choose: which files are wanted. Default: all.
        choice: what determines `choose`, for comparison with what is kept.
        whole: the file that would keep the array of all files; if it is there, the chosen ones are taken from it.
            Default: it is not looked for.

    Returns:
        the images, with an account of those that could not be used.

    Raises:
        NoneChosenError: if `choose` chooses none.
        UserError: if there is no image, too many are unusable, the archive is damaged, or the disk is full.
    """
    origin = {
        "format": _FORMAT,
        "files": identity_of(reading.path),
        "pattern": reading.pattern,
        "choice": choice,
        "picture": reading.picture.record(),
        "codecs": codecs(),
    }
    kept = _kept(cache, origin, reading.picture)
    if kept is not None:
        return _checked(kept, reading)
    if choose is not None and whole is not None:
        kept = _kept(whole, {**origin, "choice": None}, reading.picture)
        if kept is not None:
            return _checked(kept, reading, _chosen(reading, choose, kept.names))
    with made_folder(cache.parent), open_container(reading.path, cache.parent) as container:
        found = [member for member in container.members if member.name.lower().endswith(reading.suffixes)]
        others = len(container.members) - len(found)
        found = [member for member in found if re.search(reading.pattern, member.name)]
        if not found:
            raise UserError(_nothing_there(reading, container))
        if choose is not None:
            found = [found[number] for number in _chosen(reading, choose, [member.name for member in found])]
        make = functools.partial(_rows, container, found, reading)
        packed = packed_cache(cache, origin, _packed_shape(len(found), reading.picture), make)
    names = [member.name for member in found]
    write_text(_names_file(cache), json.dumps({"origin": origin, "others": others, "names": names}) + "\n")
    return _checked(_Kept(packed, names, others), reading)


def _chosen(reading: Reading, choose: Chooser, names: Sequence[str]) -> NDArray[np.int64]:
    numbers = choose(names)
    if not len(numbers):
        raise NoneChosenError(f"{reading.path}: none of {len(names):,} images belongs to this part; choose another one")
    return numbers


def read_limited(
    reading: Reading,
    folder: Path,
    limit: int | None,
    part: str = "",
    members_of: Chooser | None = None,
) -> tuple[Read, str]:
    """The images of an archive or a folder, or so many of them, of which no others are decoded.

    Args:
        reading: what is read.
        folder: where arrays are kept.
        limit: how many; `None` for all.
        part: the name of a part of the files. Default: all files.
        members_of: from the names of all files to the numbers of that part. Default: all.

    Returns:
        the images (of all parts, if there is no limit), and what the limit adds to the name of the data set.
    """
    kept = folder / _cache_name(reading)
    if limit is None:
        return read_images(reading, kept), ""

    def choose(names: Sequence[str]) -> NDArray[np.int64]:
        numbers = np.arange(len(names)) if members_of is None else members_of(names)
        return numbers if limit >= len(numbers) else numbers[limited_indices(len(numbers), limit)]

    limited = kept.with_name(f"{kept.stem}{f'_{part}' if part else ''}_limit{limit}.npy")
    read = read_images(reading, limited, choose, {"limit": limit, "part": part}, kept)
    return read, f"_limit{limit}" if len(read.names) + read.account.num_skipped == limit else ""


def _cache_name(reading: Reading) -> str:
    """A name that tells arrays of other sizes and steps apart, so that they do not push each other out."""
    about = json.dumps([reading.pattern, reading.picture.record()])
    size = "x".join(map(str, reading.picture.shape))
    return f"images_{size}_{hashlib.sha256(about.encode()).hexdigest()[:8]}.npy"


@dataclasses.dataclass(frozen=True)
class _Kept:
    """An array with the names of all files that it has rows for, usable or not."""

    packed: Pixels
    names: list[str]
    others: int


def _packed_shape(count: int, picture: Maker) -> tuple[int, int]:
    """Rows of images, and behind them as many rows as a byte for each image takes."""
    size = math.prod(picture.shape)
    return count + -(-count // size), size


def _names_file(cache: Path) -> Path:
    return cache.with_suffix(".names.json")


def _kept(cache: Path, origin: dict[str, Any], picture: Maker) -> _Kept | None:
    """What was made before of the same origin; `None` if there is nothing, or it is not whole."""
    try:
        record = json.loads(_names_file(cache).read_text(encoding="utf-8"))
        if record["origin"] != json.loads(json.dumps(origin)):
            return None
        names, others = list(record["names"]), int(record["others"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    packed = find_packed(cache, origin, _packed_shape(len(names), picture))
    return None if packed is None else _Kept(packed, names, others)


def _nothing_there(reading: Reading, container: Container) -> str:
    names = [member.name for member in container.members]
    archives = [name for name in names if name.lower().endswith(ARCHIVE_SUFFIXES)]
    if archives:
        return f"{reading.path}: no images in it, but an archive; give that itself: {reading.path / archives[0]}"
    held = f"{len(names):,} files, such as {', '.join(names[:3])}" if names else "no files at all"
    wanted = f" with names like {reading.pattern}" if reading.pattern else ""
    return f"{reading.path}: no images{wanted} in it; it holds {held}; give the folder or archive with the image files"


def _rows(container: Container, members: Sequence[Member], reading: Reading) -> Iterator[Pixels]:
    """The rows of the array in blocks; stops with an error as soon as too many files are unusable."""
    names, status = [member.name for member in members], np.zeros(len(members), np.uint8)
    bar = progress(range(len(members)), reading.description, unit="image")
    done, size = 0, math.prod(reading.picture.shape)
    if isinstance(reading.picture, Picture):
        reading.picture.speed_up(len(members))
    for rows, reasons in in_order(functools.partial(read_batch, container, reading.picture), _batches(members, size)):
        status[done : done + len(rows)] = reasons
        done += len(rows)
        _check_tolerance(status[:done], names, reading)
        yield rows
        for _ in zip(range(len(rows)), bar, strict=False):
            pass
    yield np.pad(status, (0, -len(status) % size)).reshape(-1, size)


def _batches(members: Sequence[Member], size: int) -> Iterator[Sequence[Member]]:
    step = max(1, min(_BATCH, _BATCH_BYTES // size))
    return (members[start : start + step] for start in range(0, len(members), step))


def read_batch(container: Container, picture: Maker, members: Sequence[Member]) -> tuple[Pixels, list[int]]:
    """Reads some files; may be called by several threads at once.

    Args:
        container: where they are.
        picture: makes an array of each.
        members: which ones.

    Returns:
        a row of bytes for each, uint8, empty for files that cannot be used; and for each 0 or its reason, a place in
        `REASONS`.
    """
    rows = np.zeros((len(members), math.prod(picture.shape)), np.uint8)
    reasons = [0] * len(members)
    for number, member in enumerate(members):
        try:
            rows[number] = picture(container.read(member)).reshape(-1)
        except BadFileError as error:
            reason = str(error)
            reasons[number] = REASONS.index(reason if reason in REASONS else "other")
    return rows, reasons


def in_order(work: Callable[[Any], Any], items: Iterable[Any], workers: int | None = None) -> Iterator[Any]:
    """Does some work on all cores and gives the results in order, with few of them waiting.

    Args:
        work: called by several threads; it should spend its time where Python lets other threads run.
        items: what it is called with.
        workers: how many threads. Default: one for each core.
    """
    workers = workers or available_cores()
    waiting: collections.deque[Future[Any]] = collections.deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 3 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _check_tolerance(status: NDArray[np.uint8], names: Sequence[str], reading: Reading) -> None:
    """Refuses too many unusable files; `status` may be that of the first files only."""
    bad, total = int(np.count_nonzero(status)), len(names)
    if bad == total or bad > reading.tolerance * total:
        so_far = "" if len(status) == total else f" (of the first {len(status):,})"
        raise UserError(
            f"{reading.path}: {bad:,} of {total:,} images cannot be used{so_far}, more than the "
            f"{reading.tolerance:.2%} that may be: {_account(status, names, 0).reasons()}; get the files anew, or "
            "allow more with --tolerance"
        )


def _account(status: NDArray[np.uint8], names: Sequence[str], others: int) -> Account:
    skipped: dict[str, list[str]] = {}
    for number in np.flatnonzero(status).tolist():
        skipped.setdefault(REASONS[status[number]], []).append(names[number])
    return Account(len(status) - sum(map(len, skipped.values())), skipped, others)


def _checked(kept: _Kept, reading: Reading, chosen: NDArray[np.int64] | None = None) -> Read:
    """The images of a whole array; the tolerance of this call may be another than that of the one that made it."""
    count = len(kept.names)
    status = kept.packed[count:].reshape(-1)[:count]
    if status.max() >= len(REASONS):
        raise UserError(f"{reading.path}: what was kept of it was made by a later version; remove it from --data_dir")
    wanted = np.arange(count) if chosen is None else chosen
    names = [kept.names[row] for row in wanted]
    _check_tolerance(status[wanted], names, reading)
    rows = wanted[status[wanted] == 0]
    images = kept.packed[:count].reshape(count, *reading.picture.shape)
    return Read([kept.names[row] for row in rows], rows, images, _account(status[wanted], names, kept.others))


def image_set(read: Read, splits: Splits | None = None, **about: Any) -> Images:
    """The data set of images that were read; `about` has one entry (of factors, say) for each name.

    Args:
        read: the images.
        splits: its parts, as numbers of `read.names`. Default: one part, `train`.
        **about: further arguments of `ArrayDataset`; `classes` and `values` for the names, in their order.
    """
    count = len(read.images)
    if len(read.rows) == count:
        return ImageSet(read.images, splits=splits, account=read.account, files=read.names, **about)
    # Rows of unusable files stay in the array, and out of the data set; what is known of the others is put in place.
    for key in ("classes", "values"):
        if about.get(key) is not None:
            spread = np.zeros((count, *about[key].shape[1:]), about[key].dtype)
            spread[read.rows] = about[key]
            about[key] = spread
    moved = None if splits is None else {name: read.rows[numbers] for name, numbers in splits.items()}
    space = about.pop("factor_space", None)
    if space is not None:
        about["factors"] = space.factors
    files = [""] * count
    for name, row in zip(read.names, read.rows.tolist(), strict=True):
        files[row] = name
    whole = ImageSet(read.images, splits=moved, account=read.account, files=files, **about)
    return ImageSelection(whole, read.rows, whole.name)
