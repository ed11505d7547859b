"""ModelCentrality: the ranking of a matrix of scores, and the driver that fills it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from metrics.arrays import population_std
from metrics.factor_vae import factor_vae
from metrics.model_centrality import CentralityModel, Generated, centrality, fixed_code_images, model_centrality


def test_ranking_worked_by_hand() -> None:
    result = centrality([[1.0, 0.8, 0.2], [0.6, 1.0, 0.4], [0.4, 0.4, 0.9]], names=["a", "b", "c"])
    assert result.similarity[0].tolist() == pytest.approx([1.0, 0.7, 0.3])
    assert result.centralities.tolist() == pytest.approx([0.5, 0.55, 0.35])
    assert result.ranking.tolist() == [1, 0, 2]
    assert result.score == pytest.approx(0.55)
    assert result.names == ("a", "b", "c")
    assert centrality(np.ones((3, 3))).ranking.tolist() == [0, 1, 2]
    # Two models are equally central, whatever the rounding.
    assert centrality([[0.0, 1 / 40], [1 / 40, 2 / 40]]).ranking.tolist() == [0, 1]
    # How well a model encodes its own images counts nothing.
    own = centrality([[0.0, 0.8, 0.2], [0.6, 0.1, 0.4], [0.4, 0.4, 0.9]])
    assert own.centralities.tolist() == pytest.approx(result.centralities.tolist())


@pytest.mark.parametrize("scores", [[[1.0]], [[1.0, 0.5]], [[1.0, np.nan], [0.5, 1.0]]])
def test_matrices_that_rank_nothing_are_refused(scores: Any) -> None:
    with pytest.raises(ValueError, match=r"square matrix|NaN"):
        centrality(scores)


def test_names_must_fit() -> None:
    with pytest.raises(ValueError, match="1 names for 2 models"):
        centrality(np.eye(2), names=["a"])


class Toy:
    """A model whose images are its latents; its encoder mixes them, perhaps beyond recognition."""

    def __init__(self, name: str, mixing: float, roughness: float = 0.01, codes: int = 3, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.name, self.codes, self.roughness = name, codes, roughness
        self.matrix = np.eye(4) + mixing * rng.normal(size=(4, 4))
        self.generated = self.encoded = 0
        self.largest = 0

    def generate(self) -> Iterable[Generated]:
        """Images in the protocol of the paper, in small."""
        self.generated += 1
        yield from fixed_code_images(
            lambda latents: latents,
            lambda rng, count: rng.uniform(-1, 1, size=(count, 4)),
            self.codes,
            num_groups=30,
            group_size=20,
            num_spread_images=50,
            seed=len(self.name),
        )

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Codes of some images."""
        self.encoded += len(images)
        self.largest = max(self.largest, len(images))
        return np.sin(self.roughness * images @ self.matrix)

    def model(self) -> CentralityModel:
        """What takes part."""
        return CentralityModel(self.name, self.generate, self.encode)


def toys() -> list[Toy]:
    """Three models that agree and one that mixes."""
    return [
        Toy("good", 0.0),
        Toy("fair", 0.1, seed=1),
        Toy("strange", 3.0, roughness=20.0, seed=2),
        Toy("also good", 0.02, seed=3),
    ]


def test_each_encoder_sees_each_image_once() -> None:
    pool = toys()
    result = model_centrality([toy.model() for toy in pool])
    assert [toy.generated for toy in pool] == [1] * 4
    # 30 groups of 20 and 50 others, of each of four generators, never more than one group at a time.
    assert [toy.encoded for toy in pool] == [4 * 650] * 4
    assert [toy.largest for toy in pool] == [20] * 4
    assert result.ranking[-1] == 2
    assert result.scores.shape == (4, 4)
    np.testing.assert_allclose(result.centralities, centrality(result.scores).centralities)


def test_scores_are_those_of_the_factor_vae_metric() -> None:
    pool = toys()
    result = model_centrality([toy.model() for toy in pool])
    parts = list(pool[1].generate())
    groups = np.concatenate([part.images for part in parts if part.labels is not None])
    labels = np.concatenate([part.labels for part in parts if part.labels is not None])
    others = np.concatenate([part.images for part in parts if part.labels is None])
    assert groups.shape == (30, 20, 4)
    assert labels.tolist() == [0, 1, 2] * 10
    expected = factor_vae(pool[2].encode(groups), labels, population_std(pool[2].encode(others)))
    assert result.scores[2, 1] == expected.score


def test_known_scores_are_not_computed_again() -> None:
    known: dict[tuple[str, str], float] = {}
    pool = toys()
    first = model_centrality([toy.model() for toy in pool[:3]], known=known)
    assert len(known) == 9
    seen: list[tuple[int, int]] = []
    later = toys()
    whole = model_centrality([toy.model() for toy in later], known=known, progress=lambda *done: seen.append(done))
    # The old encoders see the new generator's images only; the new one sees everybody's.
    assert [toy.encoded for toy in later] == [650, 650, 650, 4 * 650]
    np.testing.assert_array_equal(whole.scores[:3, :3], first.scores)
    fresh = model_centrality([toy.model() for toy in toys()])
    np.testing.assert_array_equal(whole.scores, fresh.scores)
    assert seen[-1] == (16, 16)
    assert [toy.generated for toy in later] == [1] * 4
    model_centrality([toy.model() for toy in later], known=known)
    assert [toy.generated for toy in later] == [1] * 4


def test_an_interrupted_comparison_goes_on() -> None:
    known: dict[tuple[str, str], float] = {}
    pool = toys()

    def fail() -> Iterable[Generated]:
        raise KeyboardInterrupt

    broken = [toy.model() for toy in pool[:3]] + [CentralityModel("also good", fail, pool[3].encode)]
    with pytest.raises(KeyboardInterrupt):
        model_centrality(broken, known=known)
    assert len(known) == 12
    result = model_centrality([toy.model() for toy in pool], known=known)
    assert [toy.generated for toy in pool] == [1] * 4
    np.testing.assert_array_equal(result.scores, model_centrality([toy.model() for toy in toys()]).scores)


def test_dead_codes_are_told_of_and_strict_scores_differ() -> None:
    pool = toys()[:2]
    pool[1].matrix[:, 3] = 0
    result = model_centrality([toy.model() for toy in pool])
    assert any("encoder of fair on images of good: 1 of 4 codes never change" in text for text in result.degenerate)
    strict = model_centrality([toy.model() for toy in pool], strict_reference=True)
    assert strict.scores[1, 0] == pytest.approx(1 / 3)
    assert result.scores[1, 0] > 0.9
    assert strict.scores[0, 1] == result.scores[0, 1]


def test_groups_keep_one_code_at_a_draw_of_the_prior() -> None:
    drawn: list[np.ndarray] = []

    def decode(latents: np.ndarray) -> np.ndarray:
        drawn.append(latents)
        return np.zeros((len(latents), 8, 8, 1), np.float32)

    def draw(rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.normal(size=(count, 6))

    parts = list(fixed_code_images(decode, draw, 2, num_groups=4, group_size=5, num_spread_images=12, seed=1))
    assert [part.images.shape for part in parts] == [(1, 5, 8, 8, 1)] * 4 + [(5, 8, 8, 1)] * 2 + [(2, 8, 8, 1)]
    for group, latents in enumerate(drawn[:4]):
        equal = (latents == latents[0]).all(axis=0)
        assert np.flatnonzero(equal).tolist() == [group % 2]
    assert len({latents[0, 0] for latents in drawn[:4]}) == 4
    again = list(fixed_code_images(lambda x: x, draw, 2, num_groups=4, group_size=5, num_spread_images=12, seed=1))
    np.testing.assert_array_equal(again[0].images[0], drawn[0])


def test_all_columns_of_a_category_are_fixed_together() -> None:
    """Columns 0 and 5 are noise, 1 to 3 a category in one-hot form, 4 a number."""

    def draw(rng: np.random.Generator, count: int) -> np.ndarray:
        noise = rng.normal(size=(count, 3))
        category = np.eye(3)[rng.integers(3, size=count)]
        return np.concatenate([noise[:, :1], category, noise[:, 1:]], axis=1)

    parts = list(
        fixed_code_images(
            lambda latents: latents,
            draw,
            2,
            code_columns=[[1, 2, 3], [4]],
            num_groups=40,
            group_size=30,
            num_spread_images=50,
            seed=2,
        )
    )
    fixed: list[set[int]] = []
    for number, part in enumerate(parts[:40]):
        assert part.labels is not None
        assert part.labels.tolist() == [number % 2]
        latents = part.images[0]
        fixed.append(set(np.flatnonzero((latents == latents[0]).all(axis=0)).tolist()))
        assert (latents[:, 1:4].sum(axis=1) == 1).all()
    assert fixed == [{1, 2, 3}, {4}] * 20
    assert {int(part.images[0, 0, 1:4].argmax()) for part in parts[:40:2]} == {0, 1, 2}
    for wrong in ([[1]], [[1], []], [[1], [2], [3]]):
        with pytest.raises(ValueError, match="one column or more for each of 2 codes"):
            next(fixed_code_images(lambda latents: latents, draw, 2, code_columns=wrong))


def test_what_was_degenerate_is_told_of_again() -> None:
    known: dict[tuple[str, str], float] = {}
    remarks: dict[tuple[str, str], Sequence[str]] = {}
    pool = toys()[:2]
    pool[1].matrix[:, 3] = 0
    first = model_centrality([toy.model() for toy in pool], known=known, remarks=remarks)
    assert set(remarks) == set(known)
    assert remarks["good", "fair"] == ()
    assert len(first.degenerate) == 2
    assert model_centrality([toy.model() for toy in pool], known=known, remarks=remarks).degenerate == first.degenerate
    assert model_centrality([toy.model() for toy in pool], known=known).degenerate == ()


def test_bad_models_are_refused() -> None:
    pool = toys()
    with pytest.raises(ValueError, match="different names"):
        model_centrality([pool[0].model(), pool[0].model()])
    with pytest.raises(ValueError, match="two or more"):
        model_centrality([pool[0].model()])

    def only_groups() -> Iterable[Generated]:
        return [Generated(np.zeros((1, 3, 4)), np.array([0]))]

    with pytest.raises(ValueError, match="good must generate groups with labels, and other images"):
        model_centrality([CentralityModel("good", only_groups, pool[0].encode), pool[1].model()])

    def half(images: np.ndarray) -> np.ndarray:
        return images[::2]

    with pytest.raises(ValueError, match="good gives 10 codes for 20 images"):
        model_centrality([CentralityModel("good", pool[0].generate, half), pool[1].model()])
    with pytest.raises(ValueError, match="one code and one group or more"):
        list(fixed_code_images(lambda x: x, lambda rng, n: rng.normal(size=(n, 2)), 0))
