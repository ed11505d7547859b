"""The commands of the data sets: one set of flags, from a loaded data set to TFRecord shards."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.arguments import CommandParser
from common.output import tell
from data_gen import MODULES, default_data_dir, default_raw_dir, load, sources
from data_gen.dataset import Dataset, PackedDataset
from data_gen.png import encode_png
from data_gen.tfrecord import Example, Feature, Plan, Split, write_dataset

_BLOCK_IMAGES = 1024


@dataclasses.dataclass(frozen=True)
class Option:
    """An option of a data set's `load` that its command has too.

    Args:
        name: of the option, and of the flag.
        type: makes its value of the words of the command line.
        help: what it does.
    """

    name: str
    type: Callable[[str], Any]
    help: str


MakePlan = Callable[[Dataset, str, str, int | None], Plan]
Fetch = Callable[[Path, argparse.Namespace], None]


def prepare(
    name: str,
    *,
    version: str = "1.0.0",
    homepage: str = "",
    options: Sequence[Option] = (),
    fetch: Fetch | None = None,
    refuse: Callable[[Dataset], None] | None = None,
    make_plan: MakePlan | None = None,
    teaching: str = "",
    arguments: list[str] | None = None,
) -> None:
    """Runs the command of a data set: loads it as the flags say, writes it and what it holds out as TFRecord shards.

    Args:
        name: the data set's name in `data_gen.names()`.
        version: the version of the schema that is written.
        homepage: where the published data are.
        options: which options of the data set are flags.
        fetch: downloads the published files into a folder, given the flags. Default: there is no `--download`.
        refuse: raises `UserError` for a data set that shall not be written. Default: all may be.
        make_plan: says how a data set is written. Default: `plan_of_parts`.
        teaching: what `--help` says at its end.
        arguments: the command line. Default: that of this process.

    Raises:
        UserError: for bad flags, and for all that `data_gen.load` and `write_dataset` refuse.
    """
    flags = _parser(name, options, fetch is not None, teaching).parse_args(arguments)
    if fetch is not None and flags.download:
        fetch(flags.raw_dir or default_raw_dir(), flags)
    given = {option.name: getattr(flags, option.name) for option in options}
    data_dir = flags.data_dir or default_data_dir()
    dataset = load(
        name,
        data_dir=data_dir,
        raw_dir=flags.raw_dir,
        source=flags.source,
        limit=flags.limit,
        **{option: value for option, value in given.items() if value is not None},
    )
    if refuse is not None:
        refuse(dataset)
    if dataset.held_out is not None:
        dataset.held_out = dataset.held_out.limited(flags.limit)
    held_out = f", and {dataset.held_out.num_examples:,} held out" if dataset.held_out is not None else ""
    tell(f"{dataset.name}: {dataset.num_examples:,} images{held_out}, source {dataset.source}")
    plan = (make_plan or plan_of_parts)(dataset, version, homepage, flags.shards)
    folder = write_dataset(plan, data_dir, flags.overwrite)
    tell(f"whole in {folder}; open it with tfds.builder_from_directory({str(folder)!r})")


def plan_of(dataset: Dataset, version: str, homepage: str = "", shards: int | None = None) -> Plan:
    """How a data set is written: `id` and `image`, and for each factor its level `label_*` and value `value_*`.

    Beside `id`, a running number, there is `file`, what the image's file was called, where that is known. Binary images
    are written as 0 and 1, as the `dsprites` of TFDS has them; others as 0 to 255.

    Args:
        dataset: what is to be written.
        version: the version of the schema.
        homepage: where the published data are. Default: none.
        shards: over how many files they are spread. Default: see `Plan`.
    """
    features = {"id": Feature("text"), "image": Feature("image", shape=dataset.image_shape)}
    for factor in dataset.factors:
        features[f"label_{factor.name}"] = Feature("label", num_classes=factor.size)
        features[f"value_{factor.name}"] = Feature("float")
    if dataset.files_at([0]) is not None:
        features["file"] = Feature("text")

    def examples(start: int, stop: int) -> Iterator[Example]:
        for first in range(start, stop, _BLOCK_IMAGES):
            yield from _block(dataset, first, min(first + _BLOCK_IMAGES, stop))

    return Plan(
        name=dataset.name,
        version=version,
        features=features,
        splits=(Split("train", dataset.num_examples, examples, shards),),
        contents=dataset.fingerprint(),
        description=f"{dataset.description} Source: {dataset.source}.",
        homepage=homepage,
    )


def plan_of_parts(dataset: Dataset, version: str, homepage: str = "", shards: int | None = None) -> Plan:
    """How a data set is written: as `plan_of` says, in the split `train`, and what it holds out in the split `test`.

    Args:
        dataset: what is to be written.
        version: the version of the schema.
        homepage: where the published data are. Default: none.
        shards: over how many files the split `train` is spread. Default: see `Plan`.
    """
    plan = plan_of(dataset, version, homepage, shards)
    if dataset.held_out is None:
        return plan
    test = plan_of(dataset.held_out, version)
    return dataclasses.replace(
        plan,
        splits=(plan.splits[0], dataclasses.replace(test.splits[0], name="test")),
        contents={"train": plan.contents, "test": test.contents},
    )


def _block(dataset: Dataset, start: int, stop: int) -> Iterator[Example]:
    numbers = np.arange(start, stop)
    images = dataset.bits_at(numbers) if isinstance(dataset, PackedDataset) else dataset.images_at(numbers)
    labels = dataset.factors_at(numbers).tolist() if dataset.factors else [[]] * len(numbers)
    values = dataset.values_at(numbers).tolist() if dataset.factors else [[]] * len(numbers)
    label_keys = [f"label_{name}" for name in dataset.factor_names]
    value_keys = [f"value_{name}" for name in dataset.factor_names]
    files = dataset.files_at(numbers)
    for row, number in enumerate(range(start, stop)):
        example: dict[str, Any] = {"id": f"{number:06d}", "image": encode_png(images[row])}
        example.update(zip(label_keys, labels[row], strict=False))
        example.update(zip(value_keys, values[row], strict=False))
        if files is not None:
            example["file"] = as_text(files[row])
        yield example


def as_text(name: str) -> str:
    """A file's name as text, which the names of files need not be."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def parser_of(name: str, teaching: str, limit: str, shards: str) -> CommandParser:
    """The parser of a data set's command, with the flags that all of them have.

    Args:
        name: the data set's name in `data_gen.names()`.
        teaching: what `--help` says at its end.
        limit: what `--limit` does.
        shards: how many files there are without `--shards`.
    """
    parser = CommandParser(
        prog=f"python -m {MODULES[name]}",
        description=f"Prepares the data set {name} as TFRecord shards under DATA_DIR/<name>/<version>.\n"
        "A run that was stopped goes on where it was; what is there already is checked and kept.",
        epilog=teaching,
    )
    parser.add_argument("--data_dir", type=Path, help="folder for the result (default: $SPOUT_DATA_DIR, data)")
    parser.add_argument("--limit", type=int, help=f"{limit} (default: all)")
    parser.add_argument("--shards", type=int, help=f"number of files (default: {shards})")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there, once the new one is whole")
    return parser


def _parser(name: str, options: Sequence[Option], can_download: bool, teaching: str) -> CommandParser:
    parser = parser_of(
        name, teaching, "write so many images only (and of what is held out), spread at random", "one for every 46,080"
    )
    parser.add_argument(
        "--raw_dir",
        type=Path,
        help="folder with the published files, or one such file (default: $SPOUT_RAW_DIR, data/raw)",
    )
    parser.add_argument("--source", default="auto", help=f"one of: {', '.join(sources(name))} (default: auto)")
    for option in options:
        parser.add_argument(f"--{option.name}", type=option.type, help=option.help)
    if can_download:
        parser.add_argument("--download", action="store_true", help="fetch the published files into --raw_dir first")
    return parser
