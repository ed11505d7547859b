"""The text files of CelebA, as published or as spreadsheets of commas, and miniatures of all its files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from data_gen.drawing import SIDE, ellipse, paint, to_bytes
from data_gen.image_files import Pixels
from data_gen.image_miniatures import Files, check_count, fitted, jpeg, write_folder, write_zip
from data_gen.published import looks_like_a_page

ARCHIVE = "img_align_celeba.zip"
FOLDER = "img_align_celeba"
ATTRIBUTES_FILE = "list_attr_celeba.txt"
PARTITION_FILE = "list_eval_partition.txt"
IDENTITY_FILE = "identity_CelebA.txt"
HEIGHT, WIDTH = 218, 178
COUNT = 202_599
PARTS = ("train", "validation", "test")
_NAMES = """
    5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair
    Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones
    Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline
    Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick
    Wearing_Necklace Wearing_Necktie Young
"""
ATTRIBUTES = tuple(_NAMES.split())
"""The published names, in the published order."""

_IMAGE_NAME = re.compile(r"\d{6}\.(?:jpg|png)")
_ADVICE = "get the file anew"
_MOST_PERSONS = 10**9


@dataclasses.dataclass(frozen=True)
class Table:
    """A text file of CelebA: some integers for each image.

    Args:
        columns: their names.
        rows: of each image, by its number in the name: `000001.jpg` is 1.
        values: int64 of shape (images, columns).
    """

    columns: tuple[str, ...]
    rows: dict[int, int]
    values: NDArray[np.int64]

    def of(self, names: Sequence[str], where: str) -> NDArray[np.int64]:
        """The values of images, int64 of shape (n, columns); `UserError` if the table does not have one."""
        numbers = [image_number(name) for name in names]
        missing = [name for name, number in zip(names, numbers, strict=True) if number not in self.rows]
        if missing:
            raise UserError(
                f"{where} has no line for {len(missing):,} of {len(names):,} images, such as {missing[0]}; it belongs "
                "to other images: give the files of one release"
            )
        return self.values[[self.rows[number] for number in numbers]]


def image_number(name: str) -> int:
    """The number of an image by its file name: `img_align_celeba/000001.jpg` is 1."""
    return int(name.rpartition("/")[2].partition(".")[0])


def read_table(text: str, where: str, check: Callable[[list[int]], bool], wanted: int | None = None) -> Table:
    """Reads a text file of CelebA.

    Args:
        text: the file; lines `000001.jpg 1 -1 ...`, before them perhaps a count and a line of names, with any number
            of spaces or commas between.
        where: its path, for messages.
        check: whether the values of a line are such as they should be.
        wanted: how many values a line has. Default: as many as the first.

    Raises:
        UserError: if a line is not like that; it is named.
    """
    if looks_like_a_page(text[:200].encode()):
        raise UserError(f"{where} is a web page and no table: the server sent a page in place of the file; {_ADVICE}")
    columns: tuple[str, ...] = ()
    announced: int | None = None
    rows: dict[int, int] = {}
    values: list[list[int]] = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.replace(",", " ").split()
        if not fields:
            continue
        if not _IMAGE_NAME.fullmatch(fields[0]):
            if values:
                raise UserError(f"{where}, line {number}: {line[:40]!r} does not begin with an image; {_ADVICE}")
            if len(fields) == 1 and (count := _integers(fields)) is not None:
                announced = count[0]
            else:
                columns = tuple(fields[1:] if fields[0] == "image_id" else fields)
            continue
        row = _integers(fields[1:])
        width = wanted if wanted is not None else len(values[0]) if values else len(fields) - 1
        if row is None or len(row) != width or not check(row):
            raise UserError(
                f"{where}, line {number}: {line[:60]!r} is no image with {width} values as they should be; {_ADVICE}"
            )
        image = image_number(fields[0])
        if image in rows:
            raise UserError(f"{where}, line {number}: {fields[0]} is there twice; {_ADVICE}")
        rows[image] = len(values)
        values.append(row)
    if not values or (announced is not None and announced != len(values)):
        expected = f"{announced:,} lines are announced" if announced is not None else "it should have many"
        raise UserError(f"{where} has lines for {len(values):,} images; {expected}; it is cut off, {_ADVICE}")
    return Table(columns, rows, np.array(values, np.int64))


def _integers(fields: Sequence[str]) -> list[int] | None:
    try:
        return [int(field) for field in fields]
    except ValueError:
        return None


def read_attributes(text: str, where: str) -> Table:
    """The 40 attributes, each -1 or 1; arguments and errors as those of `read_table`."""
    quick = _read_attributes_at_once(text)
    if quick is not None:
        return quick
    table = read_table(text, where, lambda row: all(value in (-1, 1) for value in row), len(ATTRIBUTES))
    if table.columns != ATTRIBUTES:
        raise UserError(
            f"{where}: its names of attributes are not those of CelebA, {ATTRIBUTES[0]} to Young; {_ADVICE}"
        )
    return table


def _read_attributes_at_once(text: str) -> Table | None:
    """The same for a file without any fault, ten times as fast; `None` if there is something to look at closely."""
    head = re.match(r"\d{1,9}\s*\n", text)
    names, _, body = text[head.end() if head else 0 :].partition("\n")
    columns = tuple(names.replace(",", " ").split())
    if (columns[1:] if columns[:1] == ("image_id",) else columns) != ATTRIBUTES or not body.isascii():
        return None
    data = np.frombuffer(f"\n{body.replace(',', ' ').rstrip()}\n".encode(), np.uint8)
    is_space = (data == 32) | (data == 10) | (data == 13)
    first = np.flatnonzero(~is_space[1:] & is_space[:-1]) + 1
    after = np.flatnonzero(is_space[1:] & ~is_space[:-1]) + 1
    if not len(first) or len(first) % (len(ATTRIBUTES) + 1):
        return None
    begins, ends = (places.reshape(-1, len(ATTRIBUTES) + 1) for places in (first, after))
    lengths = ends - begins
    is_negative = data[begins[:, 1:]] == ord("-")
    # A line has its name, then its values, all of them 1 or -1, and only then a line ends.
    lines = np.flatnonzero(data == 10)[1:]
    if (
        (lengths[:, 0] != 10).any()
        or (data[ends[:, 1:] - 1] != ord("1")).any()
        or (lengths[:, 1:] != 1 + is_negative).any()
        or len(lines) != len(ends)
        or (lines < ends[:, -1]).any()
        or (lines[:-1] > begins[1:, 0]).any()
    ):
        return None
    digits = data[begins[:, :1] + np.arange(6)].astype(np.int64) - ord("0")
    endings = data[begins[:, :1] + np.arange(6, 10)].tobytes()
    if digits.min() < 0 or digits.max() > 9 or endings not in (b".jpg" * len(begins), b".png" * len(begins)):
        return None
    numbers = (digits @ 10 ** np.arange(5, -1, -1)).tolist()
    rows = dict(zip(numbers, range(len(numbers)), strict=True))
    if len(rows) != len(numbers) or (head is not None and int(head[0]) != len(numbers)):
        return None
    return Table(ATTRIBUTES, rows, np.where(is_negative, -1, 1).astype(np.int64))


def read_partition(text: str, where: str) -> Table:
    """To which part an image belongs: 0 train, 1 validation, 2 test."""
    return read_table(text, where, lambda row: row[0] in (0, 1, 2), 1)


def read_identity(text: str, where: str) -> Table:
    """Whom an image shows, a number from 1 to a billion."""
    return read_table(text, where, lambda row: 1 <= row[0] <= _MOST_PERSONS, 1)


def drawn_faces(num_examples: int, seed: int) -> tuple[Pixels, NDArray[np.int64]]:
    """Drawn faces: hair, skin, eyes and a mouth on a plain ground.

    Args:
        num_examples: how many, at least 1.
        seed: determines them.

    Returns:
        uint8 of shape (n, 64, 64, 3); and the 40 attributes, -1 or 1, int64 of shape (n, 40): those that the drawing
        shows are true, all others are -1.
    """
    check_count(num_examples)
    rng = np.random.default_rng(seed)
    n = num_examples
    center, top = rng.uniform(27, 37, n), rng.uniform(30, 36, n)
    width, height = rng.uniform(13, 18, n), rng.uniform(18, 23, n)
    turn = rng.uniform(-4, 4, n)
    light = rng.uniform(0.45, 1.0, (n, 1))
    skin = np.array([0.95, 0.75, 0.62]) * light
    shine = rng.uniform(0.05, 1.0, (n, 1))
    hair = np.array([0.9, 0.7, 0.4]) * shine
    canvas = np.broadcast_to(rng.uniform(0.0, 1.0, (n, 1, 1, 3)), (n, SIDE, SIDE, 3)).astype(np.float32)
    length = rng.uniform(0, 8, n)
    paint(canvas, ellipse(center, top - 3, width + 4, height + length), hair)
    paint(canvas, ellipse(center, top + 4, width, height - 2), skin)
    for side in (-1, 1):
        eye = center + turn + side * width * 0.42
        paint(canvas, ellipse(eye, top, 3.2, 2.0), np.ones((n, 3)))
        paint(canvas, ellipse(eye, top, 1.5, 1.5), np.full((n, 3), 0.1))
    paint(canvas, ellipse(center + turn, top + 7, 1.6, 3.5), skin * 0.8)
    lips, gap = rng.uniform(3, 8, n), rng.uniform(1, 3, n)
    paint(canvas, ellipse(center + turn, top + 14, lips, gap), skin * [0.9, 0.4, 0.4])
    shown = {
        "Black_Hair": shine[:, 0] < 0.25,
        "Blond_Hair": shine[:, 0] > 0.75,
        "Pale_Skin": light[:, 0] > 0.85,
        "Mouth_Slightly_Open": gap > 2,
        "Big_Lips": lips > 6,
        "Oval_Face": height > 1.4 * width,
        "Straight_Hair": length > 4,
        "No_Beard": np.ones(n, bool),
    }
    attributes = np.full((n, len(ATTRIBUTES)), -1, np.int64)
    for name, holds in shown.items():
        attributes[holds, ATTRIBUTES.index(name)] = 1
    return to_bytes(canvas), attributes


def write_miniature(folder: Path, num_examples: int = 24, seed: int = 0, unpacked: bool = False) -> Path:
    """Writes drawn faces in the files and the layout of the published CelebA.

    Args:
        folder: where the archive and the three text files are put; made if missing.
        num_examples: how many faces, at least 1. Default: 24.
        seed: determines them. Default: 0.
        unpacked: whether the images are put into a folder instead of the archive. Default: no.

    Returns:
        the archive, or the folder of images.
    """
    faces, attributes = drawn_faces(num_examples, seed)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.arange(1, num_examples + 1)
    parts = np.searchsorted(np.array([0.8, 0.9]) * num_examples, numbers, side="left")
    persons = np.random.default_rng(seed).integers(1, max(2, num_examples // 3), num_examples)
    names = [f"{number:06d}.jpg" for number in numbers]
    lines = [f"{name} " + " ".join(f"{value:2d}" for value in row) for name, row in zip(names, attributes, strict=True)]
    header = f"{num_examples}\n{' '.join(ATTRIBUTES)} \n"
    (folder / ATTRIBUTES_FILE).write_text(header + "\n".join(lines) + "\n", encoding="utf-8")
    for file, values in ((PARTITION_FILE, parts), (IDENTITY_FILE, persons)):
        text = "".join(f"{name} {value}\n" for name, value in zip(names, values, strict=True))
        (folder / file).write_text(text, encoding="utf-8")
    files = _image_files(faces)
    if unpacked:
        return write_folder(folder, files) / FOLDER
    return write_zip(folder / ARCHIVE, files)


def _image_files(faces: Pixels) -> Files:
    def files() -> Iterator[tuple[str, bytes]]:
        for number, face in enumerate(fitted(faces, (HEIGHT, WIDTH, 3)), 1):
            yield f"{FOLDER}/{number:06d}.jpg", jpeg(face)

    return files()
