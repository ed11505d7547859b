"""The latent space of a generator: named blocks, so that nobody guesses what a column means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from models.noise import Noise


class Block(Protocol):
    """What every block of a latent space has."""

    @property
    def name(self) -> str:
        """The block's name."""
        ...

    @property
    def size(self) -> int:
        """Number of columns."""
        ...

    @property
    def is_code(self) -> bool:
        """Whether the columns are codes and not mere noise."""
        ...

    def sample(self, noise: Noise, batch: int) -> tf.Tensor:
        """Draws `[batch, size]` float32 values from the block's prior."""
        ...

    def traversal_values(self, steps: int, span: tuple[float, float] | None = None) -> np.ndarray:
        """The values `[steps]` that a column of this block takes in a traversal."""
        ...


def _check_size(name: str, size: int, least: int = 1) -> None:
    if size < least:
        raise ValueError(f"latent block {name!r} has size {size}; allowed: {least} or more")


@dataclass(frozen=True)
class Normal:
    """Independent standard normal columns.

    Args:
        name: the block's name.
        size: number of columns.
        is_code: whether the columns are codes (meant to be informative) and not mere noise.
        traversal: lowest and highest value in a traversal, in standard deviations.
    """

    name: str
    size: int
    is_code: bool = True
    traversal: tuple[float, float] = (-3.0, 3.0)

    def __post_init__(self) -> None:
        _check_size(self.name, self.size)

    def sample(self, noise: Noise, batch: int) -> tf.Tensor:
        """See `Block.sample`."""
        return noise.normal(f"latents/{self.name}", [batch, self.size])

    def traversal_values(self, steps: int, span: tuple[float, float] | None = None) -> np.ndarray:
        """See `Block.traversal_values`."""
        low, high = span or self.traversal
        return np.linspace(low, high, steps)


@dataclass(frozen=True)
class Uniform:
    """Independent uniform columns.

    Args:
        name: the block's name.
        size: number of columns.
        low, high: the range of the prior.
        is_code: whether the columns are codes and not mere noise.
        traversal: lowest and highest value in a traversal; None is the prior's range.
    """

    name: str
    size: int
    low: float = -1.0
    high: float = 1.0
    is_code: bool = True
    traversal: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _check_size(self.name, self.size)
        if not self.low < self.high:
            raise ValueError(f"latent block {self.name!r} has range [{self.low}, {self.high}]; low must be below high")

    def sample(self, noise: Noise, batch: int) -> tf.Tensor:
        """See `Block.sample`."""
        return noise.uniform(f"latents/{self.name}", [batch, self.size], self.low, self.high)

    def traversal_values(self, steps: int, span: tuple[float, float] | None = None) -> np.ndarray:
        """See `Block.traversal_values`."""
        low, high = span or self.traversal or (self.low, self.high)
        return np.linspace(low, high, steps)


@dataclass(frozen=True)
class Categorical:
    """One uniform categorical variable, one-hot over `size` columns.

    Args:
        name: the block's name.
        size: number of categories.
        is_code: whether the variable is a code and not mere noise.
    """

    name: str
    size: int
    is_code: bool = True

    def __post_init__(self) -> None:
        _check_size(self.name, self.size, least=2)

    def sample(self, noise: Noise, batch: int) -> tf.Tensor:
        """See `Block.sample`."""
        return tf.one_hot(noise.integers(f"latents/{self.name}", [batch], self.size), self.size)

    def traversal_values(self, steps: int, span: tuple[float, float] | None = None) -> np.ndarray:
        """The categories' numbers, whatever `steps` and `span` say."""
        del steps, span
        return np.arange(self.size)


@dataclass(frozen=True)
class Traversal:
    """One direction in which a picture of the latent space may move.

    Args:
        label: what it is called in pictures, such as `r3`.
        block: the block it belongs to.
        column: the first column of the latent vector that it changes.
    """

    label: str
    block: Block
    column: int

    def apply(self, latents: np.ndarray, value: float) -> np.ndarray:
        """Latents `[batch, size]` with this direction set to `value` (absolute, not an offset)."""
        moved = np.array(latents, copy=True)
        if isinstance(self.block, Categorical):
            moved[:, self.column : self.column + self.block.size] = np.eye(self.block.size)[int(value)]
        else:
            moved[:, self.column] = value
        return moved


@dataclass(frozen=True)
class LatentSpace:
    """An ordered tuple of named blocks; a latent vector is their concatenation.

    Args:
        blocks: the blocks in the order of the columns.
    """

    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        names = [block.name for block in self.blocks]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a latent space needs blocks with distinct names; got {names}")

    @property
    def size(self) -> int:
        """Columns of a latent vector."""
        return sum(block.size for block in self.blocks)

    def sample(self, batch: int, noise: Noise) -> tf.Tensor:
        """Draws latents from the prior.

        Args:
            batch: number of latents (on this replica).
            noise: the stateless source; each block draws from its own stream.

        Returns:
            float32 `[batch, size]`.
        """
        return tf.concat([block.sample(noise, batch) for block in self.blocks], axis=1)

    def split(self, latents: tf.Tensor) -> dict[str, tf.Tensor]:
        """Cuts `[batch, size]` into the blocks, by name."""
        parts = tf.split(latents, [block.size for block in self.blocks], axis=1)
        return dict(zip((block.name for block in self.blocks), parts, strict=True))

    def traversals(self) -> list[Traversal]:
        """The directions of all codes: one per column, one per categorical block."""
        directions: list[Traversal] = []
        column = 0
        for block in self.blocks:
            if block.is_code and isinstance(block, Categorical):
                directions.append(Traversal(block.name, block, column))
            elif block.is_code:
                single = block.size == 1
                directions.extend(
                    Traversal(block.name if single else f"{block.name}{index}", block, column + index)
                    for index in range(block.size)
                )
            column += block.size
        return directions

    def categorical_columns(self) -> list[range]:
        """Of each categorical code its columns among the codes, that is, in the representation of images."""
        codes = [block for block in self.blocks if block.is_code]
        ends = np.cumsum([block.size for block in codes]).tolist()
        return [
            range(end - block.size, end)
            for block, end in zip(codes, ends, strict=True)
            if isinstance(block, Categorical)
        ]

    def describe(self) -> list[Mapping[str, Any]]:
        """The blocks as plain data."""
        return [{"kind": type(block).__name__.lower(), **vars(block)} for block in self.blocks]
