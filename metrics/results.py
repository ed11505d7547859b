"""What a metric hands back: a score, its parts, and what was degenerate."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from common.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MetricResult:
    """The base of all results. A metric with more to say adds its own fields.

    Args:
        score: the number that the metric's id stands for. It may be NaN only if `degenerate` says why.
        degenerate: what the score had to leave out or replace, one sentence each (dead codes, missing labels).
        notes: how the samples differ from the published protocol, and what was assumed, one sentence each.
        factor_names: names of the factors, in the order of all parts that have one entry for each factor.

    Raises:
        ValueError: if the score is not finite and `degenerate` is empty.
    """

    score: float
    degenerate: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    factor_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not math.isfinite(self.score) and not self.degenerate:
            raise ValueError(f"a score of {self.score} needs a reason in `degenerate`")

    def to_json(self) -> dict[str, Any]:
        """All fields as plain JSON values; numbers that are not finite become `None`."""
        return {field.name: plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    def with_notes(self, notes: tuple[str, ...]) -> MetricResult:
        """The same result with these notes after its own."""
        return dataclasses.replace(self, notes=self.notes + tuple(note for note in notes if note not in self.notes))


def refusable(name: str, measure: Callable[[], MetricResult]) -> MetricResult:
    """Calls a metric; what it says of wrong arrays becomes a `UserError` that begins with its id."""
    try:
        return measure()
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {error}") from error


def plain(value: Any) -> Any:
    """Turns numpy values, tuples and mappings into what `json.dumps(..., allow_nan=False)` takes.

    Args:
        value: numbers, strings, `None`, arrays, and sequences, mappings or dataclasses of these.

    Raises:
        TypeError: for a value of another type.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"a value of type {type(value).__name__} has no plain JSON form")
