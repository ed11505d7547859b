"""Data sets: from published files or miniatures to factors, images and input pipelines.

This package imports nothing heavy: `data_gen.load` imports the module of the data set that is asked for, and
TensorFlow only where a graph is built.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_type_hints

from common.errors import UserError, near_matches
from common.typing_checks import convert

if TYPE_CHECKING:
    from data_gen.dataset import Dataset


@dataclasses.dataclass(frozen=True)
class Summary:
    """What `python -m data_gen` says about a data set.

    Args:
        what: what it shows.
        images: how many, and of which size.
        factors: what is known of them, and in how many levels.
        files: the published files, and where they are.
        license: under which terms it may be used, as its publisher says.
        raw_names: patterns of the published files' names, by which `python -m data_gen list` finds them.
    """

    what: str
    images: str
    factors: str
    files: str
    license: str = "not stated here; see the publisher's page"
    raw_names: tuple[str, ...] = ()


MODULES = {
    "dsprites": "data_gen.dsprites",
    "color_dsprites": "data_gen.color_dsprites",
    "celeba": "data_gen.celeba",
    "chairs3d": "data_gen.chairs3d",
    "teapot": "data_gen.teapot",
    "mnist": "data_gen.mnist",
    "circular_dsprites": "data_gen.circular_dsprites",
    "image_folder": "data_gen.image_folder",
    "cars": "data_gen.cars",
    "maps": "data_gen.maps",
    "facades": "data_gen.facades",
    "afhq": "data_gen.afhq",
    "mnist_cdcb": "data_gen.mnist_cdcb",
    "cifar10": "data_gen.cifar10",
    "svhn": "data_gen.svhn",
    "sketchy": "data_gen.sketchy",
}
"""Which module makes which data set; each has `load(...)`, `synthetic(...)`, `SOURCES` and `SUMMARY`."""

_COMMON = ("data_dir", "raw_dir", "source", "limit")


def names() -> list[str]:
    """The names that `load` knows."""
    return list(MODULES)


def sources(name: str) -> tuple[str, ...]:
    """The sources that `load` knows for a data set."""
    known: tuple[str, ...] = _module(name).SOURCES
    return known


def check_source(name: str, source: str) -> None:
    """Refuses an unknown data set, or a source that it does not have; `UserError` names those it has."""
    known = _module(name).SOURCES
    if source not in known:
        raise UserError(f"unknown source {source!r} of {name}{near_matches(source, known)}")


def _checked_options(name: str, module: ModuleType, options: dict[str, Any]) -> dict[str, Any]:
    """Options of the annotated types, numbers of numpy as those of Python; `UserError` for other values."""
    hints = get_type_hints(module.load)
    try:
        checked = {
            option: convert(value.tolist() if hasattr(value, "tolist") else value, hints[option], option)
            for option, value in options.items()
        }
    except TypeError as error:
        raise UserError(f"{name}: {error}") from None
    if (seed := checked.get("seed", 0)) < 0:
        raise UserError(f"{name}: seed is {seed}; give a whole number of at least 0")
    return checked


def summary(name: str) -> Summary:
    """What a data set is."""
    about: Summary = _module(name).SUMMARY
    return about


def _module(name: str) -> ModuleType:
    if name not in MODULES:
        raise UserError(f"unknown data set {name!r}{near_matches(name, names())}")
    return importlib.import_module(MODULES[name])


def default_data_dir() -> Path:
    """Where prepared data sets are kept: `$SPOUT_DATA_DIR`, or `data` in the current folder."""
    return Path(os.environ.get("SPOUT_DATA_DIR") or "data")


def default_raw_dir() -> Path:
    """Where published files are looked for: `$SPOUT_RAW_DIR`, or `data/raw` in the current folder."""
    return Path(os.environ.get("SPOUT_RAW_DIR") or Path("data") / "raw")


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    raw_dir: str | os.PathLike[str] | None = None,
    source: str = "auto",
    limit: int | None = None,
    **options: Any,
) -> Dataset:
    """Loads a data set, and prepares it first where that needs no network.

    Args:
        name: one of `names()`.
        data_dir: where prepared data are kept. Default: `$SPOUT_DATA_DIR`, or `data`.
        raw_dir: where the published files lie (searched a few levels deep), or one such file.
            Default: `$SPOUT_RAW_DIR`, or `data/raw`.
        source: which version of the data; `auto` takes the best that is there, `synthetic` is a miniature that
            needs no files. The data set's module lists the others in `SOURCES`.
        limit: keep so many images only, chosen evenly at random but always the same ones (of `teapot`, whose images
            are at random already, the first ones). Default: all.
        **options: further arguments of the data set's own `load`.

    Returns:
        the data set; its `name` and `source` say what it really is.

    Raises:
        UserError: for an unknown name, source or option, a missing or damaged file, or a limit below one.
    """
    module = _module(name)
    check_source(name, source)
    known = [key for key in inspect.signature(module.load).parameters if key not in _COMMON]
    for option in options:
        if option not in known:
            raise UserError(
                f"unknown option {option!r} of {name}" + (near_matches(option, known) if known else "; it has none")
            )
    options = _checked_options(name, module, options)
    if raw_dir is not None and not Path(raw_dir).exists():
        raise UserError(f"{raw_dir}: no such file or folder; give the folder with the published files, or leave it out")
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}; give a number of images of at least 1, or leave it out for all")
    dataset: Dataset = module.load(
        data_dir=Path(data_dir) if data_dir is not None else default_data_dir(),
        raw_dir=Path(raw_dir) if raw_dir is not None else default_raw_dir(),
        source=source,
        limit=limit,
        **options,
    )
    return dataset
