"""The latents of the 3D Teapot: its three variants, the published stream of random numbers, and the scenes they mean.

The published latents come from one stream of NumPy's legacy generator: first those of all training images, then those
of one group after the other. So the same seed gives the same latents here, to the last bit, and another number of
training images gives other groups.

Source: the teapot generator of InfoGAN-CR (Lin, Thekumparampil, Fanti, Oh 2020).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, near_matches
from data_gen.factors import Factor
from teapot_renderer.scene import DirectionalLight, Scenes, light_direction, object_rotation, rotation_about_z

Floats = NDArray[np.float64]
Generator = np.random.RandomState | np.random.Generator

GROUP_SIZE = 100
NUM_TRAIN = 200_000
ALBEDO = (0.3, 0.5, 0.9)
"""Red, green and blue of the teapot where its color is no factor."""

_TURN = 2.0 * math.pi
_OBJECT = (
    Factor("gamma", None, "periodic", (0.0, _TURN)),
    Factor("beta", None, "continuous", (0.0, math.pi)),
    Factor("alpha", None, "periodic", (0.0, _TURN)),
)
_LIGHT = (
    Factor("light_azimuth", None, "periodic", (0.0, _TURN)),
    Factor("light_elevation", None, "continuous", (0.0, math.pi)),
)
_VIEW_AND_COLOR = (
    Factor("azimuth", None, "periodic", (0.0, _TURN)),
    Factor("elevation", None, "continuous", (0.0, math.pi / 2.0)),
    Factor("red", None, "continuous", (0.0, 1.0)),
    Factor("green", None, "continuous", (0.0, 1.0)),
    Factor("blue", None, "continuous", (0.0, 1.0)),
)


@dataclasses.dataclass(frozen=True)
class Variant:
    """A variant of the data set: which latents there are and what they do.

    Args:
        name: short, as in `--variant`.
        published_name: the long one of the published scripts and folders.
        factors: the latents in the order of their columns; angles in radians.
        num_groups: how many groups the published set has.
        meaning: what the factors do, for people.
    """

    name: str
    published_name: str
    factors: tuple[Factor, ...]
    num_groups: int
    meaning: str

    @property
    def factor_names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(factor.name for factor in self.factors)

    def draw(self, rng: Generator, count: int) -> Floats:
        """Draws latents as the published generator does, in its order.

        Args:
            rng: where the randomness comes from; a `RandomState` gives the published numbers.
            count: how many rows.

        Returns:
            float64 of shape (count, number of factors).
        """
        columns = [rng.uniform(size=count) * _TURN]
        if self.name == "all_color":
            columns += [rng.uniform(size=count) * (math.pi / 2.0), *rng.uniform(size=(count, 3)).T]
        else:
            columns += _random_direction(rng, count)
        if self.name == "uniform_light":
            # The polar angle is drawn first, but the columns have the azimuth first.
            columns += reversed(_random_direction(rng, count))
        return np.stack(columns, axis=1)

    def sample(self, rng: np.random.Generator, count: int, fixed: Mapping[str, float] | None = None) -> Floats:
        """Draws latents with the distribution of the published ones, some columns fixed; any generator will do.

        Args:
            rng: where the randomness comes from.
            count: how many rows, at least 0.
            fixed: name of a factor to the value that all rows share. Default: none.

        Returns:
            float64 of shape (count, number of factors).

        Raises:
            ValueError: for an unknown factor, or a value beyond its limits.
        """
        # Every column is drawn whether it is fixed or not: fixing one factor leaves the draws of the others alone.
        latents = self.draw(rng, count)
        for name, value in (fixed or {}).items():
            if name not in self.factor_names:
                raise ValueError(f"unknown factor {name!r}; allowed: {', '.join(self.factor_names)}")
            column = self.factor_names.index(name)
            low, high = self.factors[column].limits or (-math.inf, math.inf)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; allowed: {low:g} to {high:.6g}")
            latents[:, column] = value
        return latents

    def scenes(self, latents: Floats) -> Scenes:
        """The scenes that latents stand for.

        Args:
            latents: float64 of shape (n, number of factors).
        """
        count = len(latents)
        up = np.tile([0.0, 0.0, 1.0], (count, 1))
        if self.name == "all_color":
            azimuth, elevation = latents[:, 0], latents[:, 1]
            return Scenes(rotation_about_z(azimuth), latents[:, 2:5], elevation, DirectionalLight(up))
        rotations = object_rotation(*latents[:, :3].T)
        light = light_direction(latents[:, 3], latents[:, 4]) if self.name == "uniform_light" else up
        return Scenes(rotations, np.tile(ALBEDO, (count, 1)), np.zeros(count), DirectionalLight(light))


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant(
            "all_color",
            "all_color_incomplete_rotation_up_light",
            _VIEW_AND_COLOR,
            500,
            "azimuth of the teapot, elevation of the camera, and color; light from above",
        ),
        Variant(
            "up_light",
            "fixed_color_complete_rotation_up_light",
            _OBJECT,
            300,
            "any orientation of the teapot: turned by gamma, tilted by beta towards alpha; light from above",
        ),
        Variant(
            "uniform_light",
            "fixed_color_complete_rotation_uniform_light",
            _OBJECT + _LIGHT,
            500,
            "any orientation of the teapot: turned by gamma, tilted by beta towards alpha; light from anywhere",
        ),
    )
}


def variant_named(name: str) -> Variant:
    """The variant of a short or published name; `UserError` for another one."""
    for variant in VARIANTS.values():
        if name in (variant.name, variant.published_name):
            return variant
    known = [*VARIANTS, *(variant.published_name for variant in VARIANTS.values())]
    raise UserError(f"unknown variant {name!r}{near_matches(name, known)}")


@dataclasses.dataclass(frozen=True, eq=False)
class Latents:
    """The latents of a whole set.

    Args:
        train: float64 of shape (training images, factors).
        groups: float64 of shape (groups, 100, factors).
        labels: the column that keeps its value in each group, int64 of shape (groups,).
    """

    train: Floats
    groups: Floats
    labels: NDArray[np.int64]


def groups_within(limit: int, variant: Variant, num_groups: int, group_size: int = GROUP_SIZE) -> int:
    """How many groups a limit keeps: whole ones of no more images than that, but one for each factor at least."""
    return min(num_groups, max(len(variant.factors), limit // group_size))


def published_stream(variant: Variant, seed: int, num_train: int, num_groups: int) -> Latents:
    """The latents as the published generator draws them.

    In group `i` the column `i mod F` of F has the value of the group's first image.

    Args:
        variant: what is drawn.
        seed: 0 to 2^32 - 1; the published one is 1.
        num_train: number of training images, 200,000 in the published sets. The groups depend on it.
        num_groups: number of groups.
    """
    stream = np.random.RandomState(seed)
    train = variant.draw(stream, num_train)
    width = len(variant.factors)
    groups = np.empty((num_groups, GROUP_SIZE, width))
    labels = np.arange(num_groups, dtype=np.int64) % width
    for group, label in zip(groups, labels, strict=True):
        group[:] = variant.draw(stream, GROUP_SIZE)
        group[:, label] = group[0, label]
    return Latents(train, groups, labels)


def _random_direction(rng: Generator, count: int) -> tuple[Floats, Floats]:
    """Polar angle in [0, pi] and azimuth in [0, 2 pi) of directions that are uniform on the sphere."""
    x, y, z = rng.normal(size=(count, 3)).T
    length = np.sqrt(x * x + y * y + z * z)
    x, y, z = x / length, y / length, z / length
    with np.errstate(divide="ignore"):
        slope = np.sqrt(x * x + y * y) / z
    # By the C library: numpy's own arc tangents use what the processor offers, and so differ in the last bit.
    polar = np.fromiter(map(math.atan, slope), np.float64, count)
    azimuth = np.fromiter(map(math.atan2, x, y), np.float64, count)
    return np.where(polar < 0.0, polar + math.pi, polar), np.where(azimuth < 0.0, azimuth + _TURN, azimuth)
