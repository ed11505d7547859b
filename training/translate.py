"""The mode translate: images of one's own from one domain into the other, by a trained model of pairs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from common.errors import UserError
from common.files import atomic_folder, write_bytes, write_text
from common.output import answer, say
from common.progress import progress
from data_gen.archives import ARCHIVE_SUFFIXES, BadFileError, open_container
from data_gen.crops import Picture
from data_gen.image_files import decode
from data_gen.png import encode_png
from models.noise import Noise
from models.pairs import OTHER, Domain, PairModel
from training import pictures
from training.options import Configuration
from training.translate_flags import TranslateFlags

RECORD = "translations.json"
"""What was made of what, in the folder of the results."""

_SHEET = "sheet.png"
_BATCH = 16
_MOST_ROWS, _MOST_STYLES = 24, 8
# What the data sets are scaled by; see their modules.
_BILINEAR = ("afhq", "iiae_community")


@dataclass(frozen=True)
class Source:
    """Image files that the user gave.

    Args:
        path: as given.
        files: their names.
        names: what translations of each are called: without what tells the format, each once.
        read: the bytes of the file of a number; `BadFileError` if there are none.
        is_single: whether it is one file, which must be usable.
    """

    path: str
    files: tuple[str, ...]
    names: tuple[str, ...]
    read: Callable[[int], bytes]
    is_single: bool


@dataclass
class Reader:
    """Reads images as the model takes them, and keeps account of those that cannot be used.

    Args:
        picture: how a file becomes an array.
        skipped: file to reason.
    """

    picture: Picture
    skipped: dict[str, str] = field(default_factory=dict)
    _told: bool = False

    def images(self, source: Source, numbers: Sequence[int]) -> tuple[list[str], np.ndarray]:
        """Names and images `[n, height, width, channels]` in [0, 1] of those files that can be used.

        Raises:
            UserError: a single file that cannot.
        """
        names, found = [], []
        for number in numbers:
            try:
                found.append(self._pixels(source.read(number), source.files[number]))
                names.append(source.names[number])
            except BadFileError as error:
                if source.is_single:
                    raise UserError(f"{source.path} cannot be used: {error}; give another image file") from None
                self.skipped[source.files[number]] = str(error)
        return names, np.asarray(found, np.float32).reshape(-1, *self.picture.shape) / np.float32(255.0)

    def _pixels(self, data: bytes, name: str) -> np.ndarray:
        picture = self.picture
        image = decode(data, picture.channels, picture.background, picture.orient)
        if image.width == 2 * image.height and not self._told:
            self._told = True
            say(
                f"{name} is twice as wide as high, as pairs side by side are; its middle is taken, so cut out the half "
                "that you mean first"
            )
        return picture.of_image(image)


@dataclass(frozen=True)
class Styles:
    """What the translations look like.

    Args:
        names: of the styles.
        codes: `[n, size]`.
        shown: the images that the first of them were taken from; None: they were drawn.
    """

    names: list[str]
    codes: np.ndarray
    shown: np.ndarray | None


def translate_images(model: PairModel, folder: Path, configuration: Configuration, flags: TranslateFlags) -> int:
    """Translates images, writes them and a sheet, and prints what was made as JSON.

    An image is squared by cutting its middle out and scaled as the model's data are. All images get the same styles.

    Args:
        model: of pairs of images.
        folder: the run's.
        configuration: of the run.
        flags: what the user asked for.

    Returns:
        the exit code.

    Raises:
        UserError: nothing to translate, or results that would replace something else.
    """
    height, width, channels = model.image_shape
    of_data = {configuration.data.name, configuration.data.options.get("preset")}
    scaling = "bilinear" if of_data & set(_BILINEAR) else "area"
    reader = Reader(Picture((height, width), channels, window="center", filter=scaling))
    domain: Domain = "x" if flags.direction == "x2y" else "y"
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(_source(flags.input))
        styles = _styles(model, domain, flags, reader, stack)
        about = {"direction": flags.direction, "seed": flags.seed, "step": int(model.step.numpy())}
        translator = Translator(model, domain, source, reader, styles, about)
        if flags.out_file is not None:
            return translator.write_file(flags.out_file, flags)
        return translator.write_folder(_folder_to_fill(folder, flags))


@dataclass
class Translator:
    """Translates all images of a source in all styles.

    Args:
        model: of pairs of images.
        domain: that of the source.
        source: the images.
        reader: reads them.
        styles: of the translations.
        about: of the run, for the record.
    """

    model: PairModel
    domain: Domain
    source: Source
    reader: Reader
    styles: Styles
    about: dict[str, Any]

    def batches(self) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
        """Names, images, and translations `[n, styles, height, width, channels]`, all images in [0, 1].

        Raises:
            UserError: no image can be used.
        """
        compiled = tf.function(self.model.decode, reduce_retracing=True, autograph=False)
        count, any_used = len(self.source.names), False
        for start in progress(range(0, count, _BATCH), "translating", unit="batch"):
            names, images = self.reader.images(self.source, range(start, min(start + _BATCH, count)))
            if not names:
                continue
            any_used = True
            shared = self.model.shared_code(tf.convert_to_tensor(images), self.domain)
            made = [
                compiled(shared, tf.repeat(code[None], len(names), axis=0), OTHER[self.domain]).numpy()
                for code in tf.convert_to_tensor(self.styles.codes)
            ]
            yield names, images, np.stack(made, axis=1)
        if not any_used:
            raise UserError(f"{self.source.path}: none of {count:,} images can be used: {self._reasons()}")

    def _reasons(self) -> str:
        return ", ".join(f"{name} ({reason})" for name, reason in list(self.reader.skipped.items())[:3])

    def write_file(self, path: Path, flags: TranslateFlags) -> int:
        """Writes the only translation there is.

        Raises:
            UserError: there are several, or the file is one of those given.
        """
        count = len(self.source.names) * len(self.styles.names)
        if count > 1:
            raise UserError(f"--out={path} is one file for {count:,} translations; give a folder")
        if any(given is not None and path.resolve() == Path(given).resolve() for given in (flags.input, flags.style)):
            raise UserError(f"--out={path} is one of the images given; choose another name")
        for _, _, made in self.batches():
            write_bytes(path, encode_png(pictures.to_uint8(made[0, 0]), smooth=True))
        answer({**self.about, "files": [str(path)], "translated": 1, "skipped": {}})
        return 0

    def write_folder(self, folder: Path) -> int:
        """Writes all translations as PNG files, and a sheet of the first."""
        files: dict[str, None] = {}
        translated = 0
        rows: list[np.ndarray] = []
        labels: list[str] = []
        with atomic_folder(folder) as target:
            for names, images, made in self.batches():
                translated += len(names)
                for name, translations in zip(names, made, strict=True):
                    for style, image in zip(self.styles.names, translations, strict=True):
                        file = f"{name}-{style}.png"
                        # Names may have dashes themselves: "a-b" and "c" meet "a" and "b-c".
                        while file in files:
                            file = f"_{file}"
                        files[file] = None
                        (target / file).write_bytes(encode_png(pictures.to_uint8(image), smooth=True))
                room = _MOST_ROWS - len(rows)
                rows += [
                    np.concatenate([image[None], few[:_MOST_STYLES]])
                    for image, few in zip(images[:room], made[:room], strict=True)
                ]
                labels += names[:room]
            pictures.save_png(self._sheet(rows, labels), target / _SHEET)
            result = {
                **self.about,
                "folder": str(folder),
                "files": list(files),
                "sheet": _SHEET,
                "translated": translated,
                "skipped": self.reader.skipped,
            }
            write_text(target / RECORD, json.dumps(result, indent=2) + "\n")
        if self.reader.skipped:
            say(f"{len(self.reader.skipped):,} of {len(self.source.names):,} images left out: {self._reasons()}")
        answer(result)
        return 0

    def _sheet(self, rows: list[np.ndarray], labels: list[str]) -> pictures.Picture:
        """The first images, their translations, and what their styles are of."""
        columns = ["input", *self.styles.names[:_MOST_STYLES]]
        shown = self.styles.shown
        if shown is not None and len(self.styles.names) == 1:
            rows, columns = [np.concatenate([row, shown]) for row in rows], ["input", "translation", columns[1]]
        elif shown is not None:
            blank = np.ones_like(shown[:1])
            rows, labels = [np.concatenate([blank, shown]), *rows], ["styles", *labels]
        title = f"{self.domain} to {OTHER[self.domain]}, step {self.about['step']:,}"
        return pictures.labelled_sheet(np.stack(rows), labels, columns, title)


@contextlib.contextmanager
def _source(given: str) -> Iterator[Source]:
    """The image files of a path: one file, or those of a folder or archive whose names are those of images."""
    path = Path(given)
    if path.is_file() and not path.name.lower().endswith(ARCHIVE_SUFFIXES):
        yield Source(given, (path.name,), (path.stem,), lambda number: path.read_bytes(), is_single=True)
        return
    with open_container(path) as container:
        members = [member for member in container.members if member.is_image]
        if not members:
            raise UserError(f"{path}: no images in it; give an image, or a folder of images")
        files = tuple(member.name for member in members)
        yield Source(given, files, _distinct(files), lambda number: container.read(members[number]), is_single=False)


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Paths as names of files without an ending: `a/b.png` is `a_b`, and `a_b.png` if that is there already."""
    found: dict[str, None] = {}
    for name in names:
        flat = name.replace("/", "_")
        stem = flat.rpartition(".")[0] or flat
        number, chosen = 2, stem
        while chosen in found:
            chosen, number = (flat, number) if chosen == stem else (f"{flat}_{number}", number + 1)
        found[chosen] = None
    return tuple(found)


def _styles(
    model: PairModel, domain: Domain, flags: TranslateFlags, reader: Reader, stack: contextlib.ExitStack
) -> Styles:
    target = OTHER[domain]
    if flags.style is None:
        noise = Noise(flags.seed, 0)
        # One by one, so that the first are the same however many there are.
        drawn = [model.exclusive_noise(target, 1, noise, f"style{n}").numpy() for n in range(flags.drawn_styles)]
        return Styles([f"sample{number}" for number in range(len(drawn))], np.concatenate(drawn), None)
    source = stack.enter_context(_source(flags.style))
    names: list[str] = []
    codes, shown = [], []
    for start in range(0, len(source.names), _BATCH):
        found, images = reader.images(source, range(start, min(start + _BATCH, len(source.names))))
        if not found:
            continue
        codes.append(model.exclusive_code(tf.convert_to_tensor(images), target).numpy())
        shown.append(images[: max(0, _MOST_STYLES - len(names))])
        names += found
    if not names:
        raise UserError(f"--style={flags.style}: none of {len(source.names):,} images can be used")
    return Styles(names, np.concatenate(codes), np.concatenate(shown))


def _folder_to_fill(run_dir: Path, flags: TranslateFlags) -> Path:
    """The folder of the results; one that is there may hold nothing but earlier ones."""
    folder = run_dir / "translations" if flags.out is None else Path(flags.out)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give --out=NAME.png, or a folder")
    for name, given in (("input", flags.input), ("style", flags.style)):
        if given is not None and folder.resolve() in (Path(given).resolve(), *Path(given).resolve().parents):
            raise UserError(f"--{name}={given} lies in {folder}, which is replaced; give another --out")
    if folder.is_dir() and not _holds_translations(folder):
        raise UserError(f"{folder} holds other files; give an empty or new folder as --out")
    return folder


def _holds_translations(folder: Path) -> bool:
    """Whether a folder is empty or holds what this mode wrote, and nothing else."""
    there = {path.name for path in folder.iterdir()}
    if not there:
        return True
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return there <= {RECORD, _SHEET, *record["files"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
