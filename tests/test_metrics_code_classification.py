"""The error of a categorical code as a classifier: hand-worked confusions, held-out images, degenerate codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import metrics
from common.errors import UserError
from data_gen import mnist
from data_gen.dataset import ArrayDataset
from data_gen.factors import Factor
from metrics.code_classification import code_error

# Three categories and three classes; rows of counts: 5 2 0 / 4 3 1 / 0 0 6.
COUNTS = np.array([[5, 2, 0], [4, 3, 1], [0, 0, 6]])


def spread(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes and labels with these counts: category by class."""
    categories, classes = (np.repeat(side.ravel(), counts.ravel()) for side in np.indices(counts.shape))
    return np.eye(len(counts))[categories] * 0.7, classes


def test_majority_lets_two_categories_stand_for_one_class_and_the_one_to_one_matching_does_not() -> None:
    codes, labels = spread(COUNTS)
    test_codes, test_labels = spread(np.array([[3, 1, 0], [1, 4, 0], [0, 1, 2]]))
    majority = code_error(codes, labels, test_codes, test_labels)
    assert majority.mapping.tolist() == [0, 0, 2]
    assert majority.training_error == pytest.approx(1 - (5 + 4 + 6) / 21)
    assert majority.score == pytest.approx(1 - (3 + 1 + 2) / 12)
    assert majority.accuracy == pytest.approx(6 / 12)
    assert majority.degenerate == ("no category stands for 1 of 3 classes (1)",)
    assert majority.confusion.tolist() == [[3, 1, 0], [1, 4, 0], [0, 1, 2]]
    assert majority.training_confusion.tolist() == COUNTS.tolist()
    one_to_one = code_error(codes, labels, test_codes, test_labels, "hungarian")
    assert one_to_one.mapping.tolist() == [0, 1, 2]
    assert one_to_one.training_error == pytest.approx(1 - (5 + 3 + 6) / 21)
    assert one_to_one.score == pytest.approx(1 - (3 + 4 + 2) / 12)
    assert one_to_one.degenerate == ()


def test_categories_may_come_in_any_order_and_labels_be_any_numbers() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice([3, 7, 11, 20], 200)
    order = {3: 2, 7: 0, 11: 3, 20: 1}
    codes = np.eye(4)[[order[label] for label in labels]] + rng.random((200, 4)) * 0.5
    for matching in ("majority", "hungarian"):
        result = code_error(codes[:150], labels[:150], codes[150:], labels[150:], matching)  # type: ignore[arg-type]
        assert result.score == result.training_error == 0
        assert result.classes[result.mapping].tolist() == [7, 20, 3, 11]


def test_the_matching_is_decided_on_training_images_and_the_error_counted_on_the_others() -> None:
    labels = np.repeat([0, 1], 50)
    codes = np.eye(2)[labels]
    swapped = code_error(codes, labels, codes[:, ::-1], labels)
    assert (swapped.training_error, swapped.score) == (0.0, 1.0)
    blind = code_error(codes, np.tile([0, 0, 0, 1], 25), codes, labels)
    assert blind.mapping.tolist() == [0, 0]
    assert (blind.training_error, blind.score) == (0.25, 0.5)


def test_empty_categories_stand_for_nothing_by_majority_and_their_images_are_wrong() -> None:
    codes, labels = spread(np.array([[4, 0], [0, 4], [0, 0]]))
    test_codes, test_labels = spread(np.array([[1, 0], [0, 1], [1, 1]]))
    result = code_error(codes, labels, test_codes, test_labels)
    assert result.mapping.tolist() == [0, 1, -1]
    assert result.score == pytest.approx(0.5)
    assert result.degenerate == ("1 of 3 categories have no image to decide on (2)",)


def test_more_categories_than_classes_leave_some_without_a_class() -> None:
    codes, labels = spread(np.array([[4, 1], [1, 4], [2, 0]]))
    result = code_error(codes, labels, codes, labels, "hungarian")
    assert result.mapping.tolist() == [0, 1, -1]
    assert result.score == pytest.approx(4 / 12)
    assert result.degenerate == ("no class is left for 1 of 3 categories (2)",)
    majority = code_error(codes, labels, codes, labels)
    assert majority.mapping.tolist() == [0, 1, 0]
    assert majority.score == pytest.approx(2 / 12)


def test_chosen_columns_are_the_categories() -> None:
    codes, labels = spread(COUNTS)
    wide = np.concatenate([np.full((21, 1), 5.0), codes, np.full((21, 2), 9.0)], axis=1)
    expected = code_error(codes, labels, codes, labels)
    result = code_error(wide, labels, wide, labels, columns=np.array([1, 2, 3]))
    assert result.to_json() == expected.to_json()
    assert code_error(wide, labels, wide, labels).score > expected.score


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"matching": "best"}, "matching is 'best'; allowed: majority, hungarian"),
        ({"columns": np.array([0, 7])}, "columns are 0, 7; codes has the columns 0 to 2"),
        ({"columns": np.array([1, 1])}, "each once"),
        ({"columns": np.array([0.5])}, "list of column numbers"),
        ({"columns": np.array([1])}, "one column of categories"),
        ({"test_codes": np.eye(4)}, "3 categories and test_codes 4"),
        ({"labels": np.zeros(5, int)}, "labels"),
        ({"codes": np.full((21, 3), np.nan)}, "NaN or infinite"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], words: str) -> None:
    codes, labels = spread(COUNTS)
    tests = {"test_codes": np.eye(4)[:, : 4 if "test_codes" in changes else 3], "test_labels": np.arange(4) % 3}
    with pytest.raises(ValueError, match=words):
        code_error(**{"codes": codes, "labels": labels, **tests, **changes})


# The ids of the registry.


def arrays(**changes: np.ndarray) -> dict[str, np.ndarray]:
    codes, labels = spread(COUNTS)
    return {
        "codes": codes,
        "factors": labels[:, None],
        "test_codes": np.eye(3),
        "test_factors": np.arange(3)[:, None],
        **changes,
    }


def test_arrays_of_files() -> None:
    results = metrics.score_arrays(arrays(), ["code_error_majority", "code_error_hungarian"])
    assert results["code_error_majority"].score == pytest.approx(1 / 3)
    assert results["code_error_hungarian"].score == 0
    assert "all 3 codes are taken for categories (`code_columns`)" in results["code_error_majority"].notes
    wide = {name: np.pad(arrays()[name], ((0, 0), (2, 0)), constant_values=9) for name in ("codes", "test_codes")}
    chosen = metrics.score_arrays(arrays(**wide, code_columns=np.array([2, 3, 4])), ["code_error_hungarian"])
    assert chosen["code_error_hungarian"].score == 0
    assert chosen["code_error_hungarian"].notes == ()
    for missing in ("test_codes", "test_factors", "factors"):
        rest = {name: value for name, value in arrays().items() if name != missing}
        with pytest.raises(UserError, match=missing):
            metrics.score_arrays(rest, ["code_error_majority"])


def test_images_without_a_class_are_left_out_and_other_factors_are_refused_unless_the_class_is_clear() -> None:
    holes = arrays()["factors"].astype(float)
    holes[5:7] = np.nan
    result = metrics.score_arrays(arrays(factors=holes), ["code_error_majority"])["code_error_majority"]
    assert np.sum(result.training_confusion) == 19  # type: ignore[attr-defined]
    two: dict[str, Any] = {
        "factors": np.tile(arrays()["factors"], 2),
        "test_factors": np.tile(arrays()["test_factors"], 2),
    }
    with pytest.raises(UserError, match="2 of 2 factors are categories; the class must be the only one"):
        metrics.score_arrays(arrays(**two, discrete=np.array([True, True])), ["code_error_majority"])
    clear = metrics.score_arrays(arrays(**two, discrete=np.array([False, True])), ["code_error_hungarian"])
    assert clear["code_error_hungarian"].score == 0


def digit_encoder(images: np.ndarray) -> np.ndarray:
    """Reads the label, which the set below draws as the brightness of the first pixel, into the columns 1 to 10."""
    labels = np.round(images[:, 0, 0, 0] * 255).astype(int)
    return np.concatenate([np.full((len(images), 1), 2.0), np.eye(10)[(labels + 3) % 10]], axis=1)


def labelled(count: int, name: str, wrong: int = 0) -> ArrayDataset:
    labels = np.arange(count) % 10
    shown = labels.copy()
    shown[:wrong] = (shown[:wrong] + 1) % 10
    images = np.broadcast_to(shown[:, None, None, None], (count, 4, 4, 1)).astype(np.uint8)
    return ArrayDataset(
        images, classes=labels[:, None], factors=(Factor("digit", 10, "discrete"),), name=name, source="synthetic"
    )


def test_a_data_set_with_held_out_images_is_scored_on_these() -> None:
    data = labelled(200, "digits")
    data.held_out = labelled(50, "digits_test", wrong=10)
    columns = {"code_columns": np.arange(1, 11)}
    for name in ("code_error_majority", "code_error_hungarian"):
        result = metrics.evaluate(data, digit_encoder, [name], batch_size=64, more=columns)[name]
        assert result.score == pytest.approx(10 / 50)
        assert result.training_error == 0  # type: ignore[attr-defined]
        assert result.notes == ()
        assert result.factor_names == ("digit",)
        assert np.sum(result.confusion) == 50  # type: ignore[attr-defined]


def test_encoding_of_held_out_images_leaves_the_other_metrics_as_they_are() -> None:
    data = mnist.synthetic(num_examples=60)

    def encode(images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1)[:, 300:310] + np.arange(10)

    alone = metrics.evaluate(data, encode, ["modularity"], batch_size=16)["modularity"].to_json()
    both = metrics.evaluate(data, encode, ["modularity", "code_error_majority"], batch_size=16)
    assert both["modularity"].to_json() == alone
    assert np.sum(both["code_error_majority"].confusion) == 30  # type: ignore[attr-defined]


def test_the_fast_preset_looks_at_fewer_images_and_says_so() -> None:
    data = labelled(12_000, "digits")
    data.held_out = labelled(50, "digits_test")
    result = metrics.evaluate(
        data, digit_encoder, ["code_error_majority"], "fast", more={"code_columns": np.arange(1, 11)}
    )
    assert result["code_error_majority"].notes == ("10,000 of 12,000 images",)
    assert result["code_error_majority"].score == 0


def test_a_data_set_without_held_out_images_is_refused() -> None:
    with pytest.raises(UserError, match="digits holds no images out"):
        metrics.evaluate(labelled(50, "digits"), digit_encoder, ["code_error_majority"])
