"""Walks through latent spaces: the paths, and the films of them, opened again."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import tensorflow as tf
import tiny_runs
from PIL import Image

from common.errors import UserError
from models.base import DisentanglementModel
from models.iiae import IIAEOptions
from models.infogan import InfoGANOptions
from models.latents import Categorical, LatentSpace, Normal, Uniform
from models.vgan import VGANOptions
from training import interpolation, modes, pictures
from training.configuration import load
from training.experiment import Experiment
from training.interpolation import between, on_sphere, places, points_of, write_films
from training.options import InterpolationOptions, TraversalOptions
from training.traversal import Painter

MIXED = LatentSpace((Normal("z", 3, is_code=False), Categorical("c1", 4), Uniform("c2", 2), Normal("n", 2)))
SHORT: dict[str, Any] = {"images": 3, "frames_per_second": 10, "gif_frames_per_second": 10, "batch": 7}
LINEAR = InterpolationOptions(**SHORT, seconds=2.4, transition_seconds=0.5, still_seconds=0.3)
SPHERICAL = InterpolationOptions(**SHORT, path="spherical", points=3, substeps=4)


# Paths.


def test_a_sphere_turns_evenly_and_keeps_lengths() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 50, 9))
    second *= np.linalg.norm(first, axis=1, keepdims=True) / np.linalg.norm(second, axis=1, keepdims=True)
    way = np.stack([on_sphere(first, second, share) for share in np.linspace(0, 1, 6)])
    lengths = np.linalg.norm(way, axis=-1)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), rtol=1e-12)
    np.testing.assert_allclose(way[0], first, atol=1e-12)
    np.testing.assert_allclose(way[-1], second, atol=1e-12)
    unit = way / lengths[..., None]
    turns = np.arccos(np.sum(unit[1:] * unit[:-1], axis=-1))
    np.testing.assert_allclose(turns, np.broadcast_to(turns[0], turns.shape), rtol=1e-6)
    # The authors' formula, where both lengths are the same.
    omega = np.arccos(np.sum(unit[0] * unit[-1], axis=-1, keepdims=True))
    theirs = (np.sin(0.4 * omega) * second + np.sin(0.6 * omega) * first) / np.sin(omega)
    np.testing.assert_allclose(way[2], theirs, rtol=1e-9, atol=1e-12)


def test_lengths_that_differ_change_evenly() -> None:
    first, second = np.array([[2.0, 0.0]]), np.array([[0.0, 4.0]])
    np.testing.assert_allclose(on_sphere(first, second, 0.5), 3.0 * math.sqrt(0.5) * np.ones((1, 2)))


def test_opposite_and_equal_points_have_a_way_too() -> None:
    first = np.array([[0.6, 0.8, 0.0], [1.0, 2.0, 3.0]])
    half = on_sphere(first, -first, 0.5)
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), np.linalg.norm(first, axis=1))
    np.testing.assert_allclose(np.sum(half * first, axis=1), 0.0, atol=1e-12)
    np.testing.assert_allclose(on_sphere(first, -first, 1.0), -first, atol=1e-12)
    np.testing.assert_allclose(on_sphere(first, first, 0.3), first, atol=1e-12)


@pytest.mark.parametrize("spherical", [False, True])
def test_every_kind_of_latents_goes_its_own_way(spherical: bool) -> None:
    rng = np.random.default_rng(1)
    first, second = rng.uniform(-1, 1, size=(2, 5, MIXED.size)).astype(np.float32)
    first[:, 3:7], second[:, 3:7] = np.eye(4)[0], np.eye(4)[2]
    normal = np.array([0, 1, 2, 9, 10])
    for share, category in ((0.25, 0), (0.49, 0), (0.5, 2), (0.75, 2)):
        way = between(MIXED, first, second, share, spherical)
        assert way.dtype == np.float32
        assert np.array_equal(way[:, 3:7], np.broadcast_to(np.eye(4)[category], (5, 4)))
        straight = (1 - share) * first + share * second
        np.testing.assert_allclose(way[:, 7:9], straight[:, 7:9], rtol=1e-6)
        expected = on_sphere(first[:, normal], second[:, normal], share) if spherical else straight[:, normal]
        np.testing.assert_allclose(way[:, normal], expected, rtol=1e-5, atol=1e-6)
        assert np.allclose(way[:, normal], straight[:, normal], atol=1e-3) is not spherical
    assert np.array_equal(between(MIXED, first, second, 0.0, spherical), first)
    assert np.array_equal(between(MIXED, first, second, 1.0, spherical), second)


def test_places_of_a_linear_film() -> None:
    count, frames = places(LINEAR)
    assert count == 4
    moving = [(0, 0.0), (0, 0.2), (0, 0.4), (0, 0.6), (0, 0.8)]
    assert frames[:8] == [*((point, pytest.approx(share)) for point, share in moving), (1, 0.0), (1, 0.0), (1, 0.0)]
    assert len(frames) == 3 * (5 + 3)
    assert frames[-1] == (3, 0.0)
    published = InterpolationOptions(images=64, seconds=60.0, frames_per_second=30)
    assert len(places(published)[1]) == 15 * (90 + 30)
    # In binary numbers 0.3 / 0.1 is less than 3.
    assert places(dataclasses.replace(LINEAR, seconds=0.3, transition_seconds=0.1, still_seconds=0.0))[0] == 4


def test_places_of_a_spherical_film_close_the_loop() -> None:
    count, frames = places(InterpolationOptions(path="spherical", points=10, substeps=75))
    assert (count, len(frames), len(set(frames))) == (10, 750, 750)
    assert frames[-1] == (9, pytest.approx(74 / 75))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 3.0}, "seconds is 3.0; allowed: 4 or more"),
        ({"gif_frames_per_second": 51}, "allowed: 0 to 50"),
        ({"path": "cubic"}, "allowed: 'linear', 'spherical'"),
        ({"points": 1}, "points is 1"),
        ({"batch": 513}, "allowed: 1 to 512"),
        ({"transition_seconds": 0.01}, "allowed: 0.05 or more"),
    ],
)
def test_options_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InterpolationOptions(**changes)


# Films.


@pytest.fixture(scope="module")
def model() -> DisentanglementModel:
    """A VGAN whose images change with z."""
    model = VGANOptions(z_dim=6, traversed=2, width=2, max_width=4, average_decay=0.0).build((8, 8, 3), 0)
    rng = np.random.default_rng(0)
    for variable in model.generator.trainable_variables:
        variable.assign(rng.normal(0.0, 0.4, variable.shape))
    return model


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]


def gif_frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as movie:
        found = []
        for number in range(movie.n_frames):  # type: ignore[attr-defined]
            movie.seek(number)
            found.append(np.asarray(movie.convert("RGB")).astype(int))
        return found


def sheet_of(model: DisentanglementModel, latents: np.ndarray) -> np.ndarray:
    images = model.generate(tf.constant(latents)).numpy()
    return pictures.image_grid(pictures.enlarged(images), columns=2).astype(int)


def apart(first: np.ndarray, second: np.ndarray) -> float:
    height, width = second.shape[:2]
    return float(np.abs(first[:height, :width] - second).mean())


def test_a_linear_film_rests_at_its_points(model: DisentanglementModel, tmp_path: Path) -> None:
    painter = Painter(model, TraversalOptions())
    assert write_films(painter, LINEAR, tmp_path) == 24
    expected = [sheet_of(model, latents) for latents in points_of(painter, LINEAR, 0)]
    for number, sheet in enumerate(expected):
        assert np.abs(pictures.read_png(tmp_path / f"linear_0_point{number}.png").astype(int) - sheet).max() <= 1
    assert min(apart(a, b) for a, b in itertools.pairwise(expected)) > 10
    movie, film = gif_frames(tmp_path / "linear_0.gif"), frames_of(tmp_path / "linear_0.mp4")
    assert len(movie) == len(film) == 24
    assert film[0].shape == (*(side + side % 2 for side in expected[0].shape[:2]), 3)
    for number, sheet in enumerate(expected[1:]):
        at = [8 * number + step for step in (5, 6, 7)]
        assert all(np.array_equal(movie[at[0]], movie[i]) for i in at)
        assert max(apart(film[i], sheet) for i in at) < 4
        assert max(apart(movie[i], sheet) for i in at) < 8
        if number < 2:
            # The next transition begins where the still was.
            assert np.array_equal(movie[at[0]], movie[at[2] + 1])
        assert not np.array_equal(movie[at[0]], movie[at[0] - 1])
    steps = [apart(a, b) for a, b in itertools.pairwise(movie[:6])]
    assert max(steps) < apart(movie[0], movie[5])


def test_a_spherical_film_is_a_closed_loop(
    model: DisentanglementModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter = Painter(model, TraversalOptions())
    seen: list[np.ndarray] = []

    def watched(latents: np.ndarray) -> np.ndarray:
        seen.extend(latents)
        return Painter.generate(painter, latents)

    monkeypatch.setattr(painter, "generate", watched)
    options = dataclasses.replace(SPHERICAL, films=2)
    assert write_films(painter, options, tmp_path) == 12
    points = points_of(painter, options, 0)
    lengths = np.linalg.norm(points, axis=-1)
    way = np.array(seen[: len(seen) // 2]).reshape(-1, 3, 6)
    # First the points themselves, then what lies between them.
    assert len(way) == 3 + 3 * 3
    assert np.array_equal(way[:3], points)
    for number in range(3):
        between_lengths = np.linalg.norm(way[3 + 3 * number : 6 + 3 * number], axis=-1)
        ends = np.stack([lengths[number], lengths[(number + 1) % 3]])
        assert np.all(between_lengths <= ends.max(axis=0) + 1e-5)
        assert np.all(between_lengths >= ends.min(axis=0) - 1e-5)
    np.testing.assert_allclose(way[-1], between(model.latent_space, points[2], points[0], 0.75, True), rtol=1e-6)
    movie = gif_frames(tmp_path / "spherical_0.gif")
    assert len(movie) == len(frames_of(tmp_path / "spherical_0.mp4")) == 12
    # After the last frame comes the first: as near as neighbors are, and no repetition of it.
    steps = [apart(movie[i], movie[(i + 1) % 12]) for i in range(12)]
    assert 0 < steps[-1] <= 1.5 * max(steps[:-1])
    for number in range(3):
        assert apart(movie[4 * number], sheet_of(model, points[number])) < 8
    assert (tmp_path / "spherical_1.mp4").read_bytes() != (tmp_path / "spherical_0.mp4").read_bytes()
    assert {path.name for path in tmp_path.glob("*.png")} == {
        f"spherical_{film}_point{point}.png" for film in range(2) for point in range(3)
    }


def test_films_are_the_same_every_time_and_no_gif_is_an_option(model: DisentanglementModel, tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_films(Painter(model, TraversalOptions()), SPHERICAL, tmp_path / name)
    names = {path.name for path in (tmp_path / "first").iterdir()}
    assert {"spherical_0.mp4", "spherical_0.gif"} < names
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    other = dataclasses.replace(SPHERICAL, seed=1, gif_frames_per_second=0)
    write_films(Painter(model, TraversalOptions()), other, tmp_path / "other")
    assert {path.name for path in (tmp_path / "other").iterdir()} == names - {"spherical_0.gif"}
    films = [(tmp_path / name / "spherical_0.mp4").read_bytes() for name in ("first", "other")]
    assert films[0] != films[1]


def test_the_gif_leaves_out_frames_evenly(model: DisentanglementModel, tmp_path: Path) -> None:
    write_films(Painter(model, TraversalOptions()), dataclasses.replace(LINEAR, gif_frames_per_second=4), tmp_path)
    movie = gif_frames(tmp_path / "linear_0.gif")
    # 0, 3, 5, 8, 10, ... of 24: two of five.
    assert len(movie) == 10
    with Image.open(tmp_path / "linear_0.gif") as opened:
        assert opened.info["duration"] == 250


def test_scale_is_of_the_gaussian_numbers_alone() -> None:
    infogan = InfoGANOptions(noise_size=3, noise_distribution="normal").build((28, 28, 1), 0)
    painter = Painter(infogan, TraversalOptions())
    once, twice = (points_of(painter, dataclasses.replace(LINEAR, scale=scale), 0)[1] for scale in (1.0, 2.0))
    np.testing.assert_allclose(twice[:, :3], 2.0 * once[:, :3], rtol=1e-6)
    assert np.array_equal(twice[:, 3:], once[:, 3:])


def test_images_are_normalized_frame_by_frame_if_batches_are(
    model: DisentanglementModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def watched(latents: np.ndarray) -> np.ndarray:
        sizes.append(len(latents))
        return np.zeros((len(latents), 8, 8, 3))

    for mode, expected in (("inference", [6, 6, 3]), ("batch", [3] * 5)):
        painter = Painter(model, TraversalOptions(batch_norm=mode))  # type: ignore[arg-type]
        sizes.clear()
        monkeypatch.setattr(painter, "generate", watched)
        latents = points_of(painter, dataclasses.replace(LINEAR, seconds=3.2), 0)
        interpolation._sheets(painter, dataclasses.replace(LINEAR, batch=6), latents)
        assert sizes == expected


def test_spaces_without_a_sphere_are_refused(tmp_path: Path) -> None:
    uniform = InfoGANOptions(noise_size=3, noise_distribution="uniform").build((28, 28, 1), 0)
    with pytest.raises(UserError, match="only 0 of the numbers that InfoGAN makes images from are Gaussian"):
        write_films(Painter(uniform, TraversalOptions()), SPHERICAL, tmp_path)
    vectors = IIAEOptions(network="mlp", width=4, exclusive_size=2, shared_size=2).build((6,), 0)
    with pytest.raises(UserError, match="makes vectors from these data"):
        write_films(Painter(vectors, TraversalOptions()), LINEAR, tmp_path)
    assert list(tmp_path.iterdir()) == []


# The mode.


def test_the_mode_writes_films_of_a_run(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_runs.copy_of(tiny_runs.finished_run(tmp_path_factory), tmp_path / "run")
    bindings = [f"interpolation.{name} = {getattr(LINEAR, name)!r}" for name in ("images", "seconds", "still_seconds")]
    bindings += ["interpolation.transition_seconds = 0.5", "interpolation.frames_per_second = 10"]
    experiment, run = modes.restored(load([folder / "configuration.gin"], bindings)[0], folder, "last")
    assert modes.interpolate(experiment, run) == 0
    result = tiny_runs.last_json(capsys.readouterr().out)
    names = {"linear_0.mp4", "linear_0.gif", *(f"linear_0_point{number}.png" for number in range(4))}
    assert set(result["files"]) == names == {path.name for path in (folder / "interpolation").iterdir()}
    assert (result["frames"], result["seconds"]) == (24, pytest.approx(2.4))
    assert len(frames_of(folder / "interpolation" / "linear_0.mp4")) == 24
    # Another path takes the folder's place as a whole, and a walk that cannot be leaves it as it was.
    shorter = dataclasses.replace(SPHERICAL, gif_frames_per_second=0)
    configuration = dataclasses.replace(experiment.configuration, interpolation=shorter)
    other = Experiment(configuration, experiment.runtime, experiment.model, experiment.dataset)
    assert modes.interpolate(other, run) == 0
    assert {path.suffix for path in (folder / "interpolation").iterdir()} == {".mp4", ".png"}
