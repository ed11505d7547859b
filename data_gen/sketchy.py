"""Sketchy Extended as IIAE uses it: VGG features of sketches (x) and photos (y) of 125 kinds of things, not images.

The features of the authors (Hwang, Kim, Hong, Kim 2020) are 512 numbers of a VGG-16 that was tuned to sketches, and of
another one for photos. In zero-shot retrieval the classes to test on are none of those to train on. There are two
divisions: split 1 has 100 classes to train on and 25 to test on, split 2 (Yelamarthi et al., 2018) has 104 and 21.

A training batch has one random sketch and one random photo of each class: no sketch belongs to a photo.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, near_matches, run_command
from data_gen import Summary
from data_gen.command import Option, prepare
from data_gen.features import FeatureDataset, Features, plan_of_features
from data_gen.npz import read_npy
from data_gen.published import find_files, looks_like_a_page

SOURCES = ("auto", "published", "custom", "synthetic")
PARTS = ("train", "test")
HOMEPAGE = "https://doi.org/10.5281/zenodo.3890097"
DIMENSIONS = 512
SUMMARY = Summary(
    what="sketches and photos of 125 kinds of things, as features of VGG-16 for zero-shot retrieval",
    images="no images: 75,471 sketches and 73,002 photos as vectors of 512 numbers",
    factors="class: 100 to train on and 25 others held out (split 1), or 104 and 21 (split 2)",
    files=f"the folder SketchyVGG (split1, split2) from {HOMEPAGE}",
    license="not stated here: see the record on Zenodo, and sketchy.eye.gatech.edu for the images",
    raw_names=("SketchyVGG*",),
)
# fmt: off
TEST_CLASSES = {
    1: [
        "bear", "bell", "cannon", "door", "eyeglasses", "geyser", "guitar", "hamburger", "jack_o_lantern",
        "lobster", "motorcycle", "mushroom", "pear", "racket", "rhinoceros", "saw", "saxophone", "spoon",
        "squirrel", "tank", "teapot", "tiger", "trumpet", "violin", "wheelchair",
    ],
    2: [
        "bat", "cabin", "cow", "dolphin", "door", "giraffe", "helicopter", "mouse", "pear", "raccoon", "rhinoceros",
        "saw", "scissors", "seagull", "skyscraper", "songbird", "sword", "tree", "wheelchair", "windmill", "window",
    ],
}
# fmt: on
"""The classes to test on in both published divisions."""

_NUM_CLASSES = {1: 100, 2: 104}
# How the files name the two domains.
_SKETCH, _PHOTO = "sketch", "image"


def synthetic(
    split: str = "train", zero_shot_split: int = 1, num_examples: int = 1_000, seed: int = 0
) -> FeatureDataset:
    """A miniature of Sketchy without any file: a cloud of random vectors for each class, in two domains.

    Args:
        split: `train` or `test`. Default: `train`.
        zero_shot_split: 1 or 2, which fixes the numbers of classes: 20 and 5, or 21 and 4. Default: 1.
        num_examples: how many vectors there are to train on in both domains, at least 100. Default: 1,000.
        seed: determines the vectors. Default: 0.

    Raises:
        UserError: for an unknown split, or too few vectors.
    """
    _check(split, zero_shot_split)
    if num_examples < 100:
        raise UserError(f"num_examples is {num_examples}; give at least 100")
    rng = np.random.default_rng(seed)
    classes = {"train": 20 + zero_shot_split - 1, "test": 6 - zero_shot_split}
    # What a domain makes of what the classes share.
    views = rng.normal(size=(2, 32, DIMENSIONS)) / np.sqrt(32)
    parts: dict[str, FeatureDataset] = {}
    for part, count in (("test", num_examples // 4), ("train", num_examples)):
        labels = np.sort(np.arange(count // 2, dtype=np.int64) % classes[part])
        meaning = rng.normal(size=(classes[part], 32))[labels]
        sides = [
            Features(
                (meaning @ view + 0.3 * rng.normal(size=(len(labels), DIMENSIONS))).astype(np.float32),
                labels,
                tuple(f"{part}/{number:05d}" for number in range(len(labels))),
            )
            for view in views
        ]
        parts[part] = FeatureDataset(
            sides[0],
            sides[1],
            class_names=[f"{part}_class_{number:02d}" for number in range(classes[part])],
            name=f"sketchy_synthetic_split{zero_shot_split}" + ("" if part == "train" else "_test"),
            source="synthetic",
            description="Random vectors in classes, a stand-in for the features of Sketchy in tests and first tries.",
            held_out=parts.get("test"),
        )
    return parts[split]


def load(
    *,
    data_dir: Path,
    raw_dir: Path,
    source: str = "auto",
    limit: int | None = None,
    split: str = "train",
    zero_shot_split: int = 1,
) -> FeatureDataset:
    """Loads the features of Sketchy; see `data_gen.load`. What it gives has no images: see `FeatureDataset`.

    Args:
        data_dir: not needed.
        raw_dir: where the folders `split1` and `split2` with the features are looked for, four levels deep.
        source: `published`, files with the published classes; `custom`, others of the same layout; `synthetic`, a
            miniature; `auto`, what is there. Default: `auto`.
        limit: how many vectors to keep, of each domain and class alike. Default: all.
        split: `train`, whose `held_out` is `test`; or `test`. Default: `train`.
        zero_shot_split: which division of the classes, 1 or 2. Default: 1.

    Raises:
        UserError: if files are missing or damaged.
    """
    _check(split, zero_shot_split)
    if source == "synthetic":
        whole = synthetic(split, zero_shot_split)
    else:
        whole = _read(_find(raw_dir, zero_shot_split), split, zero_shot_split)
        if source not in ("auto", whole.source):
            raise UserError(f"the features in {raw_dir} have the source {whole.source!r}, not {source!r}; choose that")
    return whole.limited(limit)


def _check(split: str, zero_shot_split: int) -> None:
    if split not in PARTS:
        raise UserError(f"unknown split {split!r} of sketchy{near_matches(split, PARTS)}")
    if zero_shot_split not in TEST_CLASSES:
        raise UserError(f"zero_shot_split is {zero_shot_split}; allowed: 1, 2")


def _find(raw_dir: Path, zero_shot_split: int) -> Path:
    """The folder with the features of a division."""
    name = f"split{zero_shot_split}"
    for path in find_files(raw_dir, (f"train_{_SKETCH}_features.npy",)):
        if path.parent.name == name:
            return path.parent
    raise UserError(
        f"no features of Sketchy for split {zero_shot_split} in {raw_dir}: get the VGG features from {HOMEPAGE}, "
        f"unpack them, and put the folder SketchyVGG, with {name}/train_{_SKETCH}_features.npy and so on, into "
        f"{raw_dir}; or choose the source 'synthetic' for a miniature"
    )


def _read(folder: Path, split: str, zero_shot_split: int) -> FeatureDataset:
    names = {part: _class_names(folder, part) for part in PARTS}
    if common := sorted(set(names["train"]) & set(names["test"])):
        raise UserError(f"{folder}: {', '.join(common[:5])} are classes both to train on and to test on; get it anew")
    is_published = (
        names["test"] == TEST_CLASSES[zero_shot_split] and len(names["train"]) == (_NUM_CLASSES[zero_shot_split])
    )
    name = "sketchy" if is_published else "sketchy_custom"
    parts: dict[str, FeatureDataset] = {}
    for part in ("test",) if split == "test" else ("test", "train"):
        sides = [_features(folder, part, domain, names[part]) for domain in (_SKETCH, _PHOTO)]
        if sides[0].vectors.shape[1] != sides[1].vectors.shape[1]:
            raise UserError(f"{folder}: the features of sketches and photos have different sizes; get it anew")
        parts[part] = FeatureDataset(
            sides[0],
            sides[1],
            class_names=names[part],
            name=f"{name}_split{zero_shot_split}" + ("" if part == "train" else "_test"),
            source="published" if is_published else "custom",
            description="VGG features of sketches (x) and photos (y) of Sketchy Extended.",
            held_out=parts.get("test"),
        )
    return parts[split]


def _paths(folder: Path, part: str, domain: str) -> list[str]:
    file = folder / f"{part}_{domain}_paths.npy"
    paths = _array(file)
    if paths.ndim != 1 or paths.dtype.kind != "U" or not len(paths):
        raise UserError(f"{file}: {paths.dtype} of shape {paths.shape}; expected a list of paths")
    texts: list[str] = paths.tolist()
    for text in texts:
        if len(text.split("/")) < 2:
            raise UserError(f"{file}: {text[:80]!r} is no path with a class in it (.../class/file)")
    return texts


def _class_of(path: str) -> str:
    return path.split("/")[-2]


def _class_names(folder: Path, part: str) -> list[str]:
    """The classes of a part, sorted; `UserError` if sketches and photos differ in them."""
    classes = [{_class_of(path) for path in _paths(folder, part, domain)} for domain in (_SKETCH, _PHOTO)]
    if differ := sorted(classes[0] ^ classes[1]):
        raise UserError(f"{folder}: {part}: {', '.join(differ[:5])} have either sketches or photos only; get it anew")
    return sorted(classes[0])


def _features(folder: Path, part: str, domain: str, class_names: list[str]) -> Features:
    file = folder / f"{part}_{domain}_features.npy"
    vectors, paths = _array(file), _paths(folder, part, domain)
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.shape[1]:
        raise UserError(f"{file}: {vectors.dtype} of shape {vectors.shape}; expected floats of (n, {DIMENSIONS})")
    if len(vectors) != len(paths):
        raise UserError(f"{file} has {len(vectors):,} vectors, but there are {len(paths):,} paths; get them anew")
    number = {name: place for place, name in enumerate(class_names)}
    labels = np.array([number[_class_of(path)] for path in paths], np.int64)
    order = np.argsort(labels, kind="stable")
    with np.errstate(over="ignore"):
        # What is too large becomes infinite, and is refused with what is so already.
        ordered = np.asarray(vectors, np.float32)[order]
    if not np.isfinite(ordered).all():
        raise UserError(f"{file} has values that are no finite numbers; get it anew")
    return Features(ordered, labels[order], tuple(paths[row] for row in order.tolist()))


def _array(file: Path) -> NDArray[Any]:
    """An array of a `.npy` file; pickles are refused."""
    if not file.is_file():
        raise UserError(f"{file} is missing; get the VGG features anew from {HOMEPAGE}")
    with open(file, "rb") as handle:
        head = handle.read(64)
    if looks_like_a_page(head):
        raise UserError(f"{file} is a web page, not the file; get it anew from {HOMEPAGE}")
    if head.startswith(b"PK"):
        raise UserError(f"{file} is an archive; expected one array")
    return read_npy(file, f"get it anew from {HOMEPAGE}")


def main() -> None:
    """Writes the features of Sketchy as TFRecord shards; see `--help`."""
    prepare(
        "sketchy",
        homepage=HOMEPAGE,
        make_plan=plan_of_features,
        options=(Option("zero_shot_split", int, "which division of the classes: 1 or 2 (default: 1)"),),
        teaching=f"""where the data come from:
  The VGG features of the authors of IIAE, on Zenodo: {HOMEPAGE}
  Unpack them and put the folder SketchyVGG anywhere below --raw_dir. It holds, in split1 and split2,
  {{train,test}}_{{sketch,image}}_{{features,paths}}.npy. There is no --download, because the names of
  the files on Zenodo are not known here.
  License: {SUMMARY.license}.

result:
  splits train_sketch, train_photo, test_sketch, test_photo, each with id (the path), features
  ({DIMENSIONS} numbers), label and class_name; the classes to test on are none of those to train on

examples:
  python -m data_gen.sketchy --zero_shot_split 2
  python -m data_gen.sketchy --source synthetic
""",
    )


if __name__ == "__main__":
    run_command(main)
