"""Maps: aerial photographs and street maps of the same places, pairs of pix2pix; see `data_gen.facades`."""

from __future__ import annotations

from pathlib import Path

from common.errors import run_command
from data_gen.dataset import Dataset
from data_gen.facades import MAPS, load_published, run, synthetic_of
from data_gen.image_set import TOLERANCE
from data_gen.pairs import PairedDataset

SOURCES = ("auto", "published", "synthetic")
SUMMARY = MAPS.summary()

_SYNTHETIC_PAIRS = 60


def synthetic(
    num_examples: int = _SYNTHETIC_PAIRS, seed: int = 0, size: int = 256, split: str = "train"
) -> PairedDataset:
    """Drawn scenes and the same in other colors; for arguments see `image_pairs.synthetic_pairs`."""
    return synthetic_of(MAPS, num_examples, seed, size, split)


def load(
    *,
    data_dir: Path,
    raw_dir: Path,
    source: str = "auto",
    limit: int | None = None,
    size: int = 256,
    split: str = "train",
    swap: bool = False,
    tolerance: float = TOLERANCE,
    num_examples: int = _SYNTHETIC_PAIRS,
    seed: int = 0,
) -> Dataset:
    """Loads Maps; arguments and errors as those of `data_gen.facades.load`.

    There is no split `test`: `train` holds out `val`.
    """
    if source == "synthetic":
        return synthetic(num_examples, seed, size, split).limited(limit)
    return load_published(MAPS, data_dir, raw_dir, limit, size, split, swap, tolerance)


def main() -> None:
    """Writes Maps as TFRecord shards; see `--help`."""
    run(MAPS)


if __name__ == "__main__":
    run_command(main)
