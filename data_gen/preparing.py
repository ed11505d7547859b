"""The commands of data sets with options of their own, or with parts that are held out."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_gen import default_data_dir, default_raw_dir, load, sources
from data_gen.command import parser_of, plan_of, say
from data_gen.dataset import Dataset
from data_gen.tfrecord import Plan, write_dataset


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


def prepare_parts(
    name: str,
    *,
    version: str = "1.0.0",
    homepage: str = "",
    options: Sequence[Option] = (),
    fetch: Fetch | None = None,
    make_plan: MakePlan | None = None,
    teaching: str = "",
    arguments: list[str] | None = None,
) -> None:
    """Runs the command of a data set: loads it as the flags say, and writes it and what it holds out.

    Args:
        name: the data set's name in `data_gen.names()`.
        version: the version of the schema that is written.
        homepage: where the published data are.
        options: which options of the data set are flags.
        fetch: downloads the published files into a folder, given the flags. Default: there is no `--download`.
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
    if dataset.held_out is not None:
        dataset.held_out = dataset.held_out.limited(flags.limit)
    held_out = f", and {dataset.held_out.num_examples:,} held out" if dataset.held_out is not None else ""
    say(f"{dataset.name}: {dataset.num_examples:,} images{held_out}, source {dataset.source}")
    plan = (make_plan or plan_of_parts)(dataset, version, homepage, flags.shards)
    folder = write_dataset(plan, data_dir, flags.overwrite)
    say(f"whole in {folder}; open it with tfds.builder_from_directory({str(folder)!r})")


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


def _parser(name: str, options: Sequence[Option], can_download: bool, teaching: str) -> argparse.ArgumentParser:
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
