"""Scores of pairs of models on disk, so that a comparison that was stopped goes on and a model may join."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_text
from training.selection_images import Protocol

Pair = tuple[str, str]
_MEASURED = ("groups_per_code", "group_size", "spread_images", "seed")


class KeptScores(MutableMapping[Pair, float]):
    """The FactorVAE score of each (encoder, generator), by the runs' names, in a file.

    In the file a pair is known by what the score depends on: both models' weights and representations, and the numbers
    of the protocol. A run that was trained on is measured anew, a run that was renamed is not.

    Args:
        path: the file; the whole of it is written anew with every score.
        identities: name of a run to what identifies its weights and representation.
        protocol: of the comparison.

    Raises:
        UserError: the file is damaged.
    """

    def __init__(self, path: Path, identities: Mapping[str, str], protocol: Protocol) -> None:
        numbers = dataclasses.asdict(protocol)
        self._path, self._identities = path, identities
        self._protocol = ",".join(f"{name}={numbers[name]}" for name in _MEASURED)
        self._kept = _read(path)
        self.remarks: dict[Pair, Sequence[str]] = {pair: self._kept[self._key(pair)]["remarks"] for pair in self}

    def _key(self, pair: Pair) -> str:
        encoder, generator = (self._identities[name] for name in pair)
        return f"{encoder} {generator} {self._protocol}"

    def __getitem__(self, pair: Pair) -> float:
        return float(self._kept[self._key(pair)]["score"])

    def __setitem__(self, pair: Pair, score: float) -> None:
        names = {"encoder": pair[0], "generator": pair[1]}
        self._kept[self._key(pair)] = {**names, "score": score, "remarks": list(self.remarks.get(pair, ()))}
        write_text(self._path, json.dumps(self._kept, indent=1) + "\n")

    def __delitem__(self, pair: Pair) -> None:
        del self._kept[self._key(pair)]

    def __iter__(self) -> Iterator[Pair]:
        names = list(self._identities)
        pairs = ((encoder, generator) for encoder in names for generator in names)
        return (pair for pair in pairs if self._key(pair) in self._kept)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, pair: object) -> bool:
        return isinstance(pair, tuple) and self._key((pair[0], pair[1])) in self._kept


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        for entry in kept.values():
            entry["score"], entry["remarks"]
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        raise UserError(f"{path} is damaged; remove it to measure all pairs anew") from None
    return kept
