"""Protocols that look at factors: InfoGAN-CR's and disentanglement_lib's, on grids, stored images and stored groups."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import metrics
from common.errors import UserError
from data_gen.dataset import ArrayDataset
from data_gen.factors import Factor, FactorSpace
from data_gen.groups import ImageGroups
from metrics.encoding import images_of
from metrics.factor_protocols import (
    DlibFactorProtocol,
    DlibGroupProtocol,
    InfoganCrFactorProtocol,
    InfoganCrRandomProtocol,
)
from metrics.protocols import FactorVaeProtocol, IbganFactorVaeProtocol

SIZES = (1, 3, 6, 5, 8)
KINDS = ("discrete", "discrete", "continuous", "periodic", "continuous")
ON_FACTORS = ["sap", "mig", "modularity", "explicitness", "dlib_sap", "dlib_sap_continuous", "dlib_mig"]


def grid(sizes: tuple[int, ...] = SIZES) -> ArrayDataset:
    """A data set whose pixels are the levels of its factors; their values are other numbers."""
    factors = tuple(
        Factor(f"factor{column}", size, kind) for column, (size, kind) in enumerate(zip(sizes, KINDS, strict=False))
    )
    space = FactorSpace(factors)
    levels = space.classes_of(np.arange(space.size))
    return ArrayDataset(
        levels[:, None, :, None].astype(np.uint8),
        values=(levels**2 / 7).astype(np.float32),
        name="grid",
        source="synthetic",
        factor_space=space,
    )


def pots(images: int = 400, groups: int = 30, size: int = 20, seed: int = 0) -> ArrayDataset:
    """Images that show three real values, and groups of which one value is shared: what 3D Teapot is like."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, 6, size=(images + groups * size, 3))
    labels = np.arange(groups) % 3
    inside = values[images:].reshape(groups, size, 3)
    inside[np.arange(groups), :, labels] = inside[np.arange(groups), 0, labels][:, None]
    pixels = np.round(values * 40).astype(np.uint8)[:, None, :, None]
    data = ArrayDataset(
        pixels[:images],
        values=values[:images],
        name="pots",
        source="synthetic",
        factors=[Factor(name, None, "continuous", (0.0, 6.0)) for name in ("azimuth", "elevation", "red")],
    )
    data.metric_groups = ImageGroups(pixels[images:].reshape(groups, size, 1, 3, 1), labels)
    return data


def encode(images: np.ndarray) -> np.ndarray:
    """Reads the pixels."""
    return np.round(images[:, 0, :, 0] * 255)


def test_infogan_cr_draws_a_tenth_of_all_combinations_with_replacement() -> None:
    data = grid((1, 3, 40, 10, 8))
    samples = InfoganCrFactorProtocol().draw(data, 0)
    indices = samples.images["codes"]
    assert indices.shape == (960,)
    assert len(np.unique(indices)) < 960
    levels = data.factors_at(indices)[:, 1:]
    assert np.array_equal(samples.arrays["factor_levels"], levels)
    np.testing.assert_allclose(samples.arrays["factors"], levels**2 / 7, rtol=1e-6)
    assert samples.arrays["factor_names"].tolist() == ["factor1", "factor2", "factor3", "factor4"]
    assert samples.arrays["discrete"].tolist() == [True, False, False, False]
    assert samples.arrays["periodic"].tolist() == [False, False, True, False]
    assert samples.notes == ()
    limited = InfoganCrFactorProtocol(limit=100).draw(data, 0)
    assert limited.images["codes"].shape == (100,)
    assert limited.notes == ("100 images, where the published protocol has 960",)
    assert InfoganCrFactorProtocol(limit=2000).draw(data, 0).notes == ()
    again, other = (InfoganCrFactorProtocol().draw(data, seed).images["codes"] for seed in (0, 1))
    assert np.array_equal(indices, again)
    assert not np.array_equal(indices, other)


def test_random_images_are_distinct() -> None:
    samples = InfoganCrRandomProtocol(50).draw(grid(), 0)
    assert len(np.unique(samples.images["codes"])) == 50
    assert InfoganCrRandomProtocol().draw(grid(), 0).images["codes"].shape == (720,)
    few = metrics.evaluate(grid(), encode, ["dhsic"])["dhsic"].notes
    assert few == ("all 720 images, where the published protocol has 5,000",)


def test_dlib_draws_images_to_fit_to_and_to_test_with() -> None:
    data = grid()
    samples = DlibFactorProtocol().draw(data, 0)
    assert samples.images["codes"].shape == (10_000,)
    assert samples.images["test_codes"].shape == (5_000,)
    assert samples.notes == ()
    for prefix in ("", "test_"):
        levels = data.factors_at(samples.images[f"{prefix}codes"])[:, 1:]
        assert np.array_equal(samples.arrays[f"{prefix}factor_levels"], levels)
        assert len(samples.arrays[f"{prefix}factors"]) == len(levels)
    small = DlibFactorProtocol(num_train=20, num_test=10).draw(data, 0)
    assert small.notes == ("20 images to fit to and 10 held out, where the published protocol has 10,000 and 5,000",)


@pytest.mark.parametrize("pairs", [True, False])
def test_dlib_groups(pairs: bool) -> None:
    data = grid()
    protocol = DlibGroupProtocol(pairs=pairs, group_size=16, num_train=300, num_test=100, num_std_images=50)
    samples = protocol.draw(data, 0)
    assert samples.images["group_codes"].shape == (300, 16)
    assert samples.images["test_group_codes"].shape == (100, 16)
    assert samples.images["codes"].shape == (50,)
    assert samples.notes == (
        f"groups of 16 images, where the published protocol has {128 if pairs else 64}",
        "300 groups to fit to and 100 held out, where the published protocol has 10,000 and 5,000",
    )
    labels = samples.arrays["group_labels"]
    # Which factor is fixed is drawn, not taken in turns.
    assert set(labels) == {1, 2, 3, 4}
    assert not np.array_equal(labels[:4], labels[4:8]) or not np.array_equal(labels[8:12], labels[12:16])
    levels = data.factors_at(samples.images["group_codes"].ravel()).reshape(300, 16, 5)
    for group, label in zip(levels, labels, strict=True):
        fixed = group[:, label].reshape(8, 2)
        assert (fixed[:, 0] == fixed[:, 1]).all()
        other = 4 if label != 4 else 2
        assert len(np.unique(group[:, other])) > 1
    whole = [len(np.unique(group[:, label])) == 1 for group, label in zip(levels, labels, strict=True)]
    assert all(whole) if not pairs else np.mean(whole) < 0.1


def test_perfect_codes_of_a_grid_score_one_by_all_ids() -> None:
    data = grid((1, 3, 6, 5, 8))
    results = metrics.evaluate(data, encode, ON_FACTORS, preset="fast", batch_size=128)
    # 72 images leave much to chance, 5,000 do not.
    assert results["dlib_mig"].score > 0.98
    for name in ("mig", "modularity", "dlib_mig"):
        assert results[name].score > 0.8
        assert results[name].factor_names == ("factor1", "factor2", "factor3", "factor4")
    assert results["explicitness"].score > 0.8
    # The flags are the data set's, and the periodic factor is named.
    assert not any("taken for categories" in note for note in results["sap"].notes)
    assert "periodic factors are used as ordinary numbers, as published: factor3" in results["sap"].notes
    # The values are squares, with which the codes are correlated, but not perfectly; MIG sees levels only.
    assert results["dlib_sap_continuous"].to_json()["per_factor"][1] < 0.97


def test_groups_of_disentanglement_lib_score_perfect_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = ["dlib_factor_vae", "dlib_beta_vae", "beta_vae", "factor_vae"]
    results = metrics.evaluate(grid(), encode, ids, preset="fast", batch_size=512)
    assert results["dlib_factor_vae"].score == 1.0
    assert results["factor_vae"].score == 1.0
    assert results["beta_vae"].score > 0.95
    assert results["dlib_beta_vae"].score > 0.95
    assert "800 groups to fit to and 400 held out" in results["dlib_beta_vae"].notes[0]


def test_numbers_beyond_the_images_are_those_of_stored_groups() -> None:
    data = pots(images=50, groups=4, size=5)
    assert data.metric_groups is not None
    groups = data.metric_groups.images_at(np.arange(4)).reshape(20, 1, 3, 1)
    whole = np.concatenate([data.images_at(np.arange(50)), groups])
    for numbers in ([0, 49], [50], [69, 3, 50, 62, 62], list(range(70))):
        assert np.array_equal(images_of(data, np.array(numbers)), whole[numbers])
    with pytest.raises(ValueError, match="no groups; there is no 720"):
        images_of(grid(), np.array([720]))


def test_stored_groups_are_used_whole() -> None:
    data = pots()
    samples = FactorVaeProtocol().draw(data, 0)
    assert samples.images["group_codes"].shape == (30, 20)
    assert np.array_equal(samples.images["group_codes"].ravel(), 400 + np.arange(600))
    assert samples.arrays["group_labels"].tolist() == [group % 3 for group in range(30)]
    assert samples.images["codes"].shape == (40,)
    assert samples.notes == ()
    about = "the 30 groups of 20 images that belong to the data, where the published protocol has"
    assert IbganFactorVaeProtocol().draw(data, 0).notes == (f"{about} 800 of 200",)
    assert DlibGroupProtocol(False, 64).draw(data, 0).notes == (f"{about} 15,000 of 64",)
    assert DlibGroupProtocol(True, 128).draw(data, 0).notes == (f"{about} 15,000 of 128",)


def test_factors_of_real_values_are_drawn_from_the_stored_images() -> None:
    data = pots()
    samples = InfoganCrFactorProtocol().draw(data, 0)
    assert samples.images["codes"].shape == (40,)
    assert len(np.unique(samples.images["codes"])) == 40
    assert np.array_equal(samples.arrays["factors"], data.values_at(samples.images["codes"]))
    assert "factor_levels" not in samples.arrays
    assert samples.notes == ()
    ids = [*ON_FACTORS, "factor_vae", "factor_vae_revised", "beta_vae", "dlib_factor_vae", "dlib_beta_vae"]
    results = metrics.evaluate(pots(images=3000), encode, ids, batch_size=100)
    cut = "real values are cut into 20 bins of equal width: azimuth, elevation, red"
    for name in ("mig", "modularity", "explicitness", "dlib_sap", "dlib_mig"):
        assert cut in results[name].notes
    assert results["factor_vae"].score == results["dlib_factor_vae"].score == 1.0
    assert results["sap"].score > 0.9
    assert results["modularity"].score > 0.8
    assert "fitted to the first 20 groups; the other 10 are held out" in results["dlib_factor_vae"].notes
    assert all(np.isfinite(result.score) for result in results.values())


def test_stored_levels_are_noted() -> None:
    part = grid().subset(np.arange(0, 720, 2), "part")
    samples = InfoganCrFactorProtocol().draw(part, 0)
    assert "stored images, where the published protocol draws every combination of the factors" in samples.notes
    assert samples.images["codes"].max() < 360
    assert metrics.evaluate(part, encode, ["mig"])["mig"].score > 0
    with pytest.raises(UserError, match="do not fill a grid"):
        DlibGroupProtocol(False, 64).draw(part, 0)


def test_possible_metrics_depend_on_the_data() -> None:
    on_grid = metrics.registry.possible_on(grid(), "fast")
    assert {"factor_vae", "mig", "dlib_beta_vae"} <= set(on_grid)
    part = metrics.registry.possible_on(grid().subset(np.arange(300), "part"), "fast")
    assert "mig" in part
    assert "factor_vae" not in part
    unknown = ArrayDataset(np.zeros((50, 2, 2, 1), np.uint8), name="faces", source="synthetic")
    for protocol in (InfoganCrFactorProtocol(), DlibFactorProtocol(), DlibGroupProtocol(False, 4)):
        with pytest.raises(UserError, match="faces has no known factors"):
            protocol.draw(unknown, 0)
    with pytest.raises(UserError, match="no factor with two values"):
        InfoganCrFactorProtocol().draw(grid((1, 1)), 0)


def test_the_batch_and_other_metrics_change_nothing() -> None:
    matrix = np.random.default_rng(0).normal(size=(5, 4))

    def mixed(images: np.ndarray) -> np.ndarray:
        return encode(images) @ matrix

    alone = metrics.evaluate(grid(), mixed, ["dlib_mig"], seed=3, batch_size=32)["dlib_mig"]
    among = metrics.evaluate(grid(), mixed, ["factor_vae", "dlib_sap", "dlib_mig"], seed=3, batch_size=999)["dlib_mig"]
    assert alone.to_json() == among.to_json()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: InfoganCrFactorProtocol(limit=1),
        lambda: InfoganCrRandomProtocol(1),
        lambda: DlibFactorProtocol(num_train=1),
        lambda: DlibGroupProtocol(False, 1),
        lambda: DlibGroupProtocol(True, 5),
        lambda: DlibGroupProtocol(False, 4, num_test=0),
    ],
)
def test_protocols_refuse_numbers_that_make_no_sense(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must be \d or more"):
        wrong()
