"""The latents of 3D Teapot: the published numbers, their distribution, and the scenes they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from data_gen.teapot_latents import ALBEDO, VARIANTS, groups_within, published_stream, variant_named
from teapot_renderer.scene import DirectionalLight

# Of the published generator: training images 0 and 199,999, and the first image of the first group.
VECTORS = {
    "all_color": (
        (2.620227, 0.976475, 0.848281, 0.336372, 0.487743),
        (6.158129, 0.085645, 0.493234, 0.108810, 0.370252),
        (0.868942, 0.843835, 0.948214, 0.514928, 0.169648),
    ),
    "up_light": (
        (2.620227, 0.587050, 1.294143),
        (6.158129, 2.947408, 5.390722),
        (2.734889, 1.272127, 2.831011),
    ),
    "uniform_light": (
        (2.620227, 0.587050, 1.294143, 3.910113, 1.529051),
        (6.158129, 2.947408, 5.390722, 5.641339, 0.764976),
        (5.168263, 0.546809, 3.994165, 3.221128, 2.174502),
    ),
}
NAMES = list(VARIANTS)


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    given: str = request.param
    return given


def test_the_latents_are_the_published_ones(name: str) -> None:
    variant = VARIANTS[name]
    latents = published_stream(variant, 1, 200_000, 7)
    for found, expected in zip((latents.train[0], latents.train[-1], latents.groups[0, 0]), VECTORS[name], strict=True):
        assert np.abs(found - expected).max() < 6e-7
    assert latents.train.shape == (200_000, len(variant.factors))
    assert latents.groups.shape == (7, 100, len(variant.factors))


def test_the_last_bits_are_those_of_the_formulas() -> None:
    """Uniform numbers times their range, and the C library's arc tangents, from the raw stream."""
    latents = published_stream(VARIANTS["uniform_light"], 1, 5, 0).train
    stream = np.random.RandomState(1)
    gamma = stream.random_sample(5) * (2.0 * math.pi)
    directions = [stream.standard_normal((5, 3)) for _ in range(2)]
    for row in range(5):
        expected = [gamma[row]]
        for column, gauss in enumerate(directions):
            x, y, z = (float(value) for value in gauss[row] / math.sqrt(sum(value * value for value in gauss[row])))
            polar = math.atan(math.sqrt(x * x + y * y) / z)
            azimuth = math.atan2(x, y)
            angles = [polar + math.pi if polar < 0 else polar, azimuth + 2 * math.pi if azimuth < 0 else azimuth]
            expected += angles if column == 0 else angles[::-1]
        assert latents[row].tolist() == expected


def test_a_group_keeps_one_latent_and_only_that(name: str) -> None:
    variant = VARIANTS[name]
    latents = published_stream(variant, 1, 50, 12)
    width = len(variant.factors)
    assert latents.labels.tolist() == [number % width for number in range(12)]
    free = np.random.RandomState(1)
    variant.draw(free, 50)
    for group, label in zip(latents.groups, latents.labels, strict=True):
        drawn = variant.draw(free, 100)
        assert (group[:, label] == drawn[0, label]).all()
        others = np.arange(width) != label
        assert (group[:, others] == drawn[:, others]).all()
        assert all(len(set(column)) == 100 for column in group[:, others].T)


def test_the_groups_depend_on_the_number_of_training_images_and_on_nothing_later() -> None:
    variant = VARIANTS["up_light"]
    base = published_stream(variant, 1, 50, 4)
    assert (published_stream(variant, 1, 50, 9).groups[:4] == base.groups).all()
    assert (published_stream(variant, 1, 51, 4).groups[0] != base.groups[0]).any()
    assert (published_stream(variant, 2, 50, 4).train != base.train).all()


def test_latents_fill_their_ranges_evenly(name: str) -> None:
    variant = VARIANTS[name]
    count = 20_000
    for latents in (
        published_stream(variant, 3, count, 0).train,
        variant.sample(np.random.default_rng(3), count),
    ):
        for factor, column in zip(variant.factors, latents.T, strict=True):
            assert factor.limits is not None
            low, high = factor.limits
            assert low <= column.min() < column.max() <= high
            # Of a polar angle the cosine is even, of all others the value itself.
            is_polar = factor.name in ("beta", "light_elevation")
            even = (1.0 - np.cos(column)) / 2.0 if is_polar else (column - low) / (high - low)
            counts, _ = np.histogram(even, 10, (0.0, 1.0))
            assert np.abs(counts - count / 10).max() < 5 * math.sqrt(count / 10)


def test_orientations_are_uniform_over_all_rotations() -> None:
    """By the Haar measure, every entry of the matrix has mean 0 and variance 1/3, and the squared trace has mean 1."""
    variant = VARIANTS["up_light"]
    rotations = variant.scenes(published_stream(variant, 1, 20_000, 0).train).rotations
    assert np.abs(rotations.mean(axis=0)).max() < 0.02
    assert np.abs((rotations**2).mean(axis=0) - 1 / 3).max() < 0.015
    assert np.trace(rotations, axis1=1, axis2=2).mean() == pytest.approx(0.0, abs=0.04)
    assert (np.trace(rotations, axis1=1, axis2=2) ** 2).mean() == pytest.approx(1.0, abs=0.05)


def test_scenes_show_what_the_latents_say() -> None:
    row = np.array([[0.3, 0.5, 0.9, 0.2, 0.1]])
    color = VARIANTS["all_color"].scenes(row)
    c, s = math.cos(0.3), math.sin(0.3)
    np.testing.assert_allclose(color.rotations[0], np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]), atol=1e-15)
    assert color.elevations.tolist() == [0.5]
    assert color.albedos.tolist() == [[0.9, 0.2, 0.1]]
    up, lit = VARIANTS["up_light"].scenes(row[:, :3]), VARIANTS["uniform_light"].scenes(row)
    # The object's up axis stands at (-sin alpha sin beta, -cos alpha sin beta, cos beta).
    axis = [-math.sin(0.9) * math.sin(0.5), -math.cos(0.9) * math.sin(0.5), math.cos(0.5)]
    for scenes in (up, lit):
        np.testing.assert_allclose(scenes.rotations[0, 2], axis, atol=1e-15)
        assert scenes.albedos.tolist() == [list(ALBEDO)]
        assert scenes.elevations.tolist() == [0.0]
    direction: list[float] = [math.sin(0.2) * math.sin(0.1), -math.cos(0.2) * math.sin(0.1), math.cos(0.1)]
    for scenes, expected in ((color, [0.0, 0.0, 1.0]), (up, [0.0, 0.0, 1.0]), (lit, direction)):
        assert isinstance(scenes.light, DirectionalLight)
        np.testing.assert_allclose(scenes.light.directions[0], np.array(expected), atol=1e-15)


def test_fixed_factors_leave_the_others_alone(name: str) -> None:
    variant = VARIANTS[name]
    free = variant.sample(np.random.default_rng(5), 40)
    for column, factor in enumerate(variant.factor_names):
        fixed = variant.sample(np.random.default_rng(5), 40, {factor: 0.25})
        assert (fixed[:, column] == 0.25).all()
        others = np.arange(free.shape[1]) != column
        assert (fixed[:, others] == free[:, others]).all()
    assert variant.sample(np.random.default_rng(5), 0).shape == (0, free.shape[1])


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({"delta": 0.0}, "unknown factor 'delta'; allowed: gamma, beta, alpha"),
        ({"beta": 3.2}, "beta is 3.2; allowed: 0 to 3.14159"),
        ({"gamma": -0.1}, "gamma is -0.1; allowed: 0 to 6.28319"),
        ({"gamma": math.nan}, "gamma is nan"),
    ],
)
def test_wrong_fixed_factors_are_named(fixed: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VARIANTS["up_light"].sample(np.random.default_rng(0), 3, fixed)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: variant_named("uniform_lihgt"), "unknown variant 'uniform_lihgt'; did you mean 'uniform_light'"),
        (lambda: variant_named(""), "allowed: all_color"),
    ],
)
def test_unknown_variants_are_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()


def test_variants_have_two_names() -> None:
    assert variant_named("all_color_incomplete_rotation_up_light") is variant_named("all_color")
    assert variant_named("fixed_color_complete_rotation_up_light") is variant_named("up_light")
    assert variant_named("fixed_color_complete_rotation_uniform_light") is variant_named("uniform_light")


@pytest.mark.parametrize(
    ("limit", "groups", "expected"), [(1, 500, 5), (499, 500, 5), (700, 500, 7), (99_999, 500, 500), (5, 2, 2)]
)
def test_limits_keep_whole_groups_and_one_for_each_factor(limit: int, groups: int, expected: int) -> None:
    assert groups_within(limit, VARIANTS["uniform_light"], groups) == expected
