"""Checks for the options of models: frozen dataclasses whose ranges are validated when they are made."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, get_args

if TYPE_CHECKING:
    from models.base import DisentanglementModel

_Options = TypeVar("_Options", bound="ModelOptions")
_T = TypeVar("_T")


@dataclass(frozen=True)
class ModelOptions(abc.ABC):
    """Base class of the options of a model; a subclass lists them as fields and checks them when made."""

    takes_pairs: ClassVar[bool] = False
    """Whether the model learns from pairs of two domains, see `models.pairs`."""

    @property
    def batch_parts(self) -> int:
        """Into how many equal parts a step cuts its batch: that of each device must be a multiple of it."""
        return 1

    @abc.abstractmethod
    def build(self, image_shape: Sequence[int], seed: int) -> DisentanglementModel:
        """The model with these options.

        Args:
            image_shape: height, width, channels; of a model of pairs the shape of one image of either domain.
            seed: the run's seed.
        """

    @classmethod
    def of(cls: type[_Options], given: _Options | Mapping[str, Any] | None) -> _Options:
        """Options as a model's constructor may get them: made, as a mapping, as `.keras` files have them, or none.

        Raises:
            TypeError: they are something else, such as the options of another model.
        """
        if given is None or isinstance(given, Mapping):
            return cls(**(given or {}))
        if not isinstance(given, cls):
            raise TypeError(f"options are of type {type(given).__name__}; allowed: {cls.__name__}, a mapping, or None")
        return given

    def as_dict(self) -> dict[str, Any]:
        """The options by name."""
        return dataclasses.asdict(self)

    def _follow(self, **chosen: Any) -> None:
        """Gives those of these options that are None the value that follows from another one, such as the variant."""
        for name, value in chosen.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)


def given(value: _T | None) -> _T:
    """An option that may be None when options are made, and is not once they are.

    Raises:
        ValueError: it still is.
    """
    if value is None:
        raise ValueError("an option has no value; make the options by their class, which fills them in")
    return value


def check_choice(option: str, value: Any, allowed: Any) -> None:
    """Raises `ValueError` unless `value` is one of the values of the `Literal` type `allowed`."""
    if value not in get_args(allowed):
        raise ValueError(f"{option} is {value!r}; allowed: {', '.join(map(repr, get_args(allowed)))}")


def check_range(option: str, value: float, least: float = 0.0, most: float = float("inf")) -> None:
    """Raises `ValueError` unless `least <= value <= most` and `value` is finite."""
    if not (least <= value <= most and value < float("inf")):
        # Whole numbers as they are: 2e+09 is no answer to which seeds there are.
        low, high = (f"{limit:g}" if isinstance(limit, float) else str(limit) for limit in (least, most))
        allowed = f"{low} or more" if most == float("inf") else f"{low} to {high}"
        raise ValueError(f"{option} is {value}; allowed: {allowed}")
