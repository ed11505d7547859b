"""Protocols: the images they draw, each encoded once, and the registry over them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

import metrics
from common.errors import UserError
from data_gen.dataset import ArrayDataset
from data_gen.factors import Factor, FactorSpace
from metrics import registry
from metrics.encoding import encode_images, encode_samples
from metrics.protocols import FactorVaeProtocol, IbganFactorVaeProtocol, draw_groups, generator

SIZES = (1, 3, 6, 5, 8)


def grid(sizes: tuple[int, ...] = SIZES) -> ArrayDataset:
    """A data set whose pixels are the levels of its factors."""
    space = FactorSpace(tuple(Factor(f"factor{column}", size, "continuous") for column, size in enumerate(sizes)))
    levels = space.classes_of(np.arange(space.size))
    return ArrayDataset(levels[:, None, :, None].astype(np.uint8), name="grid", source="synthetic", factor_space=space)


class Encoder:
    """Reads the levels off the pixels, and keeps count."""

    def __init__(self) -> None:
        self.batches: list[np.ndarray] = []

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.batches.append(images)
        return np.round(images[:, 0, :, 0] * 255)


def test_groups_share_the_factor_of_their_label() -> None:
    data = grid()
    indices, labels = draw_groups(data, generator(0, "test"), 401, 40)
    assert indices.shape == (401, 40)
    assert labels.tolist() == [1 + vote % 4 for vote in range(401)]
    assert data.factor_space is not None
    levels = data.factor_space.classes_of(indices.ravel()).reshape(401, 40, 5)
    for group, label in zip(levels, labels, strict=True):
        varying = [column for column in range(5) if len(np.unique(group[:, column])) > 1]
        assert label not in varying
        assert varying == [column for column in (1, 2, 3, 4) if column != label]
    # Fixed values and the others are uniform over all levels.
    assert set(levels[labels == 2, 0, 2]) == set(range(6))
    counts = np.bincount(levels[labels != 4][:, :, 4].ravel())
    assert counts.min() > 0.8 * counts.mean()


def test_images_for_the_spread_are_distinct_and_a_tenth() -> None:
    samples = FactorVaeProtocol(num_votes=8, group_size=4).draw(grid(), 0)
    spread = samples.images["codes"]
    assert spread.shape == (72,)
    assert len(np.unique(spread)) == 72
    assert samples.notes == ()
    limited = FactorVaeProtocol(num_votes=8, group_size=4, std_image_limit=10).draw(grid(), 0)
    assert limited.images["codes"].shape == (10,)
    assert limited.notes == ("spread of the codes over 10 images, where the published protocol has 72",)
    assert FactorVaeProtocol(std_image_limit=100).draw(grid(), 0).notes == ()
    assert FactorVaeProtocol(num_std_images=720).draw(grid(), 0).images["codes"].shape == (720,)
    with pytest.raises(UserError, match="fewer than the 721"):
        FactorVaeProtocol(num_std_images=721).draw(grid(), 0)


def test_ibgan_protocol_draws_groups_only() -> None:
    samples = IbganFactorVaeProtocol().draw(grid(), 0)
    assert list(samples.images) == ["group_codes"]
    assert samples.images["group_codes"].shape == (800, 200)
    assert samples.notes == ()
    assert "groups of 50 images" in IbganFactorVaeProtocol(group_size=50).draw(grid(), 0).notes[0]


def test_the_seed_decides_the_draw() -> None:
    protocol = FactorVaeProtocol(num_votes=20, group_size=10)
    first, again, other = (protocol.draw(grid(), seed).images for seed in (1, 1, 2))
    for name in ("group_codes", "codes"):
        assert np.array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name])
    with pytest.raises(UserError, match="seed is -1"):
        protocol.draw(grid(), -1)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 5000])
def test_every_distinct_image_is_encoded_once_in_whole_batches(batch_size: int) -> None:
    data, encoder = grid(), Encoder()
    samples = [
        FactorVaeProtocol(num_votes=20, group_size=10).draw(data, 0),
        IbganFactorVaeProtocol(num_votes=10, group_size=5).draw(data, 0),
    ]
    steps: list[tuple[int, int]] = []
    arrays = encode_samples(data, encoder, samples, batch_size, lambda done, total: steps.append((done, total)))
    wanted = np.unique(np.concatenate([image.ravel() for sample in samples for image in sample.images.values()]))
    assert all(batch.shape == (batch_size, 1, 5, 1) and batch.dtype == np.float32 for batch in encoder.batches)
    assert len(encoder.batches) == -(-len(wanted) // batch_size)
    seen = np.concatenate(encoder.batches)[: len(wanted)]
    assert len(np.unique(seen, axis=0)) == len(wanted)
    assert steps[-1] == (len(wanted), len(wanted))
    assert len(steps) == len(encoder.batches)
    assert data.factor_space is not None
    for sample, result in zip(samples, arrays, strict=True):
        for name, indices in sample.images.items():
            expected = data.factor_space.classes_of(indices.ravel()).reshape(*indices.shape, 5)
            assert np.array_equal(result[name], expected)
        assert np.array_equal(result["group_labels"], sample.arrays["group_labels"])


def test_the_encoder_sees_images_between_0_and_1() -> None:
    images = np.array([0, 1, 128, 255], np.uint8).reshape(4, 1, 1, 1)
    seen = Encoder()
    encode_images(ArrayDataset(images, name="pixels", source="synthetic"), seen, np.arange(4), batch_size=4)
    assert np.array_equal(seen.batches[0].ravel(), np.array([0, 1, 128, 255], np.float32) / np.float32(255))


def test_evaluate_scores_a_perfect_and_a_blind_encoder() -> None:
    ids = ["factor_vae", "factor_vae_revised", "ibgan_factor_vae"]
    perfect = metrics.evaluate(grid(), Encoder(), ids, batch_size=128)
    assert list(perfect) == ids
    assert all(result.score == 1.0 for result in perfect.values())
    assert "1 of 5 codes never change" in perfect["factor_vae"].degenerate[0]
    assert perfect["factor_vae"].notes == ()
    blind = metrics.evaluate(grid(), lambda images: np.zeros((len(images), 3)), ids)
    assert [result.score for result in blind.values()] == [0.25] * 3


def test_evaluate_is_determined_by_the_seed_and_not_by_the_batch() -> None:
    matrix = np.random.default_rng(0).normal(size=(5, 4))

    def mixed(images: np.ndarray) -> np.ndarray:
        return np.round(images[:, 0, :, 0] * 255) @ matrix

    first = metrics.evaluate(grid(), mixed, ["factor_vae"], seed=3, batch_size=32)["factor_vae"]
    again = metrics.evaluate(grid(), mixed, ["factor_vae"], seed=3, batch_size=999)["factor_vae"]
    other = metrics.evaluate(grid(), mixed, ["factor_vae"], seed=4, batch_size=32)["factor_vae"]
    assert first.to_json() == again.to_json()
    assert first.to_json()["votes"] != other.to_json()["votes"]


def test_metrics_of_one_protocol_share_its_images() -> None:
    both, one = Encoder(), Encoder()
    metrics.evaluate(grid(), both, ["factor_vae", "factor_vae_revised"], batch_size=50)
    metrics.evaluate(grid(), one, ["factor_vae"], batch_size=50)
    assert len(both.batches) == len(one.batches)


def test_the_fast_preset_says_what_it_leaves_out() -> None:
    sizes = (8, 50, 30, 10)
    ids = ["factor_vae", "ibgan_factor_vae"]
    fast = metrics.evaluate(grid(sizes), Encoder(), ids, preset="fast", batch_size=1024)
    assert fast["factor_vae"].notes == (
        "spread of the codes over 10,000 images, where the published protocol has 12,000",
    )
    assert fast["ibgan_factor_vae"].notes == ("groups of 50 images, where the published protocol has 200",)
    # Data of which a tenth is less than the limit are measured as published.
    assert metrics.evaluate(grid(), Encoder(), ["factor_vae"], preset="fast")["factor_vae"].notes == ()


def test_data_that_fill_no_grid_are_refused_by_name() -> None:
    images = np.zeros((10, 2, 2, 1), np.uint8)
    unknown = ArrayDataset(images, name="faces", source="synthetic")
    with pytest.raises(UserError, match="faces has no known factors"):
        metrics.evaluate(unknown, Encoder(), ["factor_vae"])
    with pytest.raises(UserError, match="10 images that do not fill a grid of factors"):
        metrics.evaluate(grid().subset(np.arange(10), "part"), Encoder(), ["factor_vae"])
    with pytest.raises(UserError, match="no factor with two values"):
        metrics.evaluate(grid((1, 1)), Encoder(), ["factor_vae"])


def test_bad_encoders_are_refused() -> None:
    with pytest.raises(UserError, match="diverged"):
        metrics.evaluate(grid(), lambda images: np.full((len(images), 2), np.nan), ["factor_vae"])
    with pytest.raises(ValueError, match=r"must return codes of shape \(256, D\); it returned \(256,\)"):
        metrics.evaluate(grid(), lambda images: images[:, 0, 0, 0], ["factor_vae"])
    with pytest.raises(ValueError, match="batch_size"):
        metrics.evaluate(grid(), Encoder(), ["factor_vae"], batch_size=0)


def test_half_precision_codes_become_single() -> None:
    codes = encode_images(grid(), lambda images: images[:, 0, :, 0].astype(np.float16), np.arange(9))
    assert codes.dtype == np.float32


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: FactorVaeProtocol(num_votes=0),
        lambda: FactorVaeProtocol(group_size=1),
        lambda: FactorVaeProtocol(num_std_images=1),
        lambda: FactorVaeProtocol(std_image_limit=0),
        lambda: IbganFactorVaeProtocol(group_size=0),
    ],
)
def test_protocols_refuse_numbers_that_make_no_sense(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="or more, not"):
        wrong()


def test_unknown_ids_and_presets_are_refused_with_a_hint() -> None:
    with pytest.raises(UserError, match="did you mean 'factor_vae'"):
        metrics.evaluate(grid(), Encoder(), ["factorvae"])
    with pytest.raises(UserError, match=r"no preset 'quick'.*fast, paper"):
        metrics.evaluate(grid(), Encoder(), ["factor_vae"], preset="quick")
    with pytest.raises(UserError, match="no metric was chosen"):
        metrics.evaluate(grid(), Encoder(), [])
    with pytest.raises(TypeError, match="not one string"):
        metrics.evaluate(grid(), Encoder(), "factor_vae")


def test_registration_is_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_METRICS", dict(registry._METRICS))
    entry = registry.get("factor_vae")
    good = {field.name: getattr(entry, field.name) for field in dataclasses.fields(entry)} | {"name": "mine"}

    def register(**changes: object) -> None:
        registry.register(**(good | changes))

    register()
    assert registry.names()[-1] == "mine"
    with pytest.raises(ValueError, match="registered already"):
        register()
    for name in ("", "Mine", "my metric", "a/b", "1st", "mine\n"):
        with pytest.raises(ValueError, match="lower-case letters"):
            register(name=name)
    with pytest.raises(TypeError, match="must be a string, not int"):
        register(name=3)
    with pytest.raises(TypeError, match="must be callable"):
        register(name="other", function=3)
    with pytest.raises(TypeError, match="one string"):
        register(name="other", needs="codes")
    with pytest.raises(ValueError, match="each of fast, paper"):
        register(name="other", protocols={"paper": FactorVaeProtocol()})
    with pytest.raises(TypeError, match="no method `draw`"):
        register(name="other", protocols={"paper": 1, "fast": 2})
    with pytest.raises(ValueError, match="one line of text"):
        register(name="other", paper=" ")


def test_arrays_without_codes_say_where_the_spread_comes_from() -> None:
    groups = np.random.default_rng(0).normal(size=(20, 5, 3))
    arrays = {"group_codes": groups, "group_labels": np.arange(20) % 2}
    result = metrics.score_arrays(arrays, ["factor_vae"])["factor_vae"]
    assert "over the images of the groups" in result.notes[0]
    given = metrics.score_arrays(arrays | {"codes": groups.reshape(-1, 3)}, ["factor_vae"])["factor_vae"]
    assert given.notes == ()
    assert given.to_json()["votes"] == result.to_json()["votes"]
    with pytest.raises(UserError, match="must have the same number of codes"):
        metrics.score_arrays(arrays | {"codes": groups[0, :, :2]}, ["factor_vae"])


def test_revised_id_reports_the_revised_score() -> None:
    groups = np.random.default_rng(0).normal(size=(100, 5, 6))
    arrays = {"group_codes": groups, "group_labels": np.arange(100) % 2}
    results = metrics.score_arrays(arrays, ["factor_vae", "factor_vae_revised"])
    assert results["factor_vae_revised"].score == results["factor_vae"].to_json()["revised"]
    assert results["factor_vae_revised"].score < results["factor_vae"].score
