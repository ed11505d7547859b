"""What every data set can do: images by number, limits, training batches, and the loader in front of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import data_gen
from common.errors import UserError
from data_gen import dataset as dataset_module
from data_gen.dataset import ArrayDataset, PackedDataset, limited_indices
from data_gen.factors import Factor, FactorSpace
from data_gen.groups import ImageGroups
from data_gen.order import indices_at

tf = pytest.importorskip("tensorflow")

SPACE = FactorSpace((Factor("a", 5, "discrete"), Factor("b", 7, "continuous")))
REAL = (Factor("a", None, "continuous", (0.0, 1.0)), Factor("b", None, "periodic", (0.0, 6.28)))


@pytest.fixture(scope="module", params=["bytes", "bits", "values", "color", "faces", "limited"])
def dataset(request: pytest.FixtureRequest) -> dataset_module.Dataset:
    rng = np.random.default_rng(0)
    if request.param == "bytes":
        # 3 x 5 x 1 bytes are no whole number of 8-byte words.
        images = rng.integers(0, 256, (35, 3, 5, 1), dtype=np.uint8)
        return ArrayDataset(images, name="bytes", source="test", factor_space=SPACE)
    if request.param == "bits":
        packed = rng.integers(0, 256, (35, 16), dtype=np.uint8)
        return PackedDataset(packed, image_shape=(8, 16, 1), name="bits", source="test", factor_space=SPACE)
    if request.param == "values":
        images = rng.integers(0, 256, (35, 4, 4, 3), dtype=np.uint8)
        return ArrayDataset(images, name="values", source="test", factors=REAL, values=rng.random((35, 2)))
    if request.param == "color":
        return data_gen.load("color_dsprites", source="synthetic")
    if request.param == "faces":
        return data_gen.load("celeba", source="synthetic", num_examples=40)
    return data_gen.load("color_dsprites", source="synthetic", limit=40)


def test_batches_are_the_images_in_order(dataset: dataset_module.Dataset) -> None:
    source = dataset.batch_source(10, seed=4)
    in_graph = tf.function(lambda step: source(step))
    for step in (0, 1, 2, 3, 1000):
        images = in_graph(tf.constant(step, tf.int64)).numpy()
        assert images.dtype == np.float32
        expected = dataset.images_at(indices_at(step, 10, dataset.num_examples, 4).numpy())
        assert (images == expected.astype(np.float32) * np.float32(1 / 255)).all()


def test_replicas_share_a_batch(dataset: dataset_module.Dataset) -> None:
    source = dataset.batch_source(12, seed=4)
    whole = source(7).numpy()
    part = tf.function(lambda replica: source(7, replica, 3))
    assert (np.concatenate([part(tf.constant(replica)).numpy() for replica in range(3)]) == whole).all()
    with pytest.raises(UserError, match="a batch of 12 images cannot be divided evenly among 5 replicas"):
        source(7, 0, 5)


def test_pipeline_equals_batches_wherever_it_starts(
    dataset: dataset_module.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = dataset.batch_source(10, seed=4)
    expected = [source(step).numpy() for step in range(8)]
    for start in (0, 5):
        batches = list(dataset.training_pipeline(10, 4, start).take(3).as_numpy_iterator())
        assert all((batch == expected[start + step]).all() for step, batch in enumerate(batches))
    pipeline = dataset.training_pipeline(10, 4)
    assert pipeline.element_spec.shape == (10, *dataset.image_shape)
    monkeypatch.setattr(dataset_module, "RESIDENT_LIMIT_BYTES", 0)
    assert dataset.resident_lookup() is None
    with pytest.raises(UserError, match="too large to be kept on the training device"):
        dataset.batch_source(10, 4)
    for step, batch in enumerate(dataset.training_pipeline(10, 4, 5).take(2).as_numpy_iterator()):
        assert (batch == expected[5 + step]).all()


def test_batches_larger_than_the_data_are_refused(dataset: dataset_module.Dataset) -> None:
    too_many = dataset.num_examples + 1
    for call in (dataset.batch_source, dataset.training_pipeline):
        with pytest.raises(UserError, match=f"a batch of {too_many} images does not fit a data set of"):
            call(too_many, 0)


def test_resident_data_are_no_part_of_the_graph() -> None:
    images = np.zeros((300, 64, 64, 3), np.uint8)
    source = ArrayDataset(images, name="large", source="test").batch_source(10, 0)
    graph = tf.function(lambda step: source(step)).get_concrete_function(tf.constant(0, tf.int64)).graph
    assert graph.as_graph_def().ByteSize() < 100_000


def test_images_and_levels_by_number(dataset: dataset_module.Dataset) -> None:
    images = dataset.images_at([3, 0, 3])
    assert images.dtype == np.uint8
    assert images.shape == (3, *dataset.image_shape)
    assert (images[0] == images[2]).all()
    assert dataset.images_at([]).shape == (0, *dataset.image_shape)
    for numbers in ([dataset.num_examples], [-1], [[0]], [0.5]):
        with pytest.raises(ValueError, match="indices"):
            dataset.images_at(np.array(numbers))
    if dataset.has_real_factors:
        with pytest.raises(UserError, match=r"real numbers and have no levels; take their values \(values_at\)"):
            dataset.factors_at([0])
    elif dataset.factors:
        assert dataset.factors_at([3, 0]).shape == (2, len(dataset.factors))
    else:
        with pytest.raises(UserError, match="no known factors"):
            dataset.factors_at([0])


def test_real_values_are_kept_to_the_last_bit_and_cut_into_bins_on_demand() -> None:
    values = np.stack([np.linspace(0.2, 0.8, 35), np.full(35, 1 / 3)], axis=1)
    dataset = ArrayDataset(np.zeros((35, 4, 4, 1), np.uint8), name="v", source="test", factors=REAL, values=values)
    assert dataset.factor_space is None
    assert dataset.values_at([3, 3, 0]).dtype == np.float64
    assert (dataset.values_at([3, 3, 0]) == values[[3, 3, 0]]).all()
    bins = dataset.binned_values_at(np.arange(35), 5)
    assert bins[:, 0].tolist() == [min(4, number * 5 // 34) for number in range(35)]
    assert len(set(bins[:, 1])) == 1
    # The bins span what the images asked for span.
    assert dataset.binned_values_at([0, 1, 2], 2)[:, 0].tolist() == [0, 1, 1]
    changed = ArrayDataset(np.zeros((35, 4, 4, 1), np.uint8), name="v", source="", factors=REAL, values=values + 1e-9)
    assert changed.fingerprint() != dataset.fingerprint()


def test_data_with_levels_have_bins_too(dataset: dataset_module.Dataset) -> None:
    if dataset.factors:
        bins = dataset.binned_values_at(np.arange(30), 3)
        assert bins.shape == (30, len(dataset.factors))
        assert set(bins.ravel()) <= {0, 1, 2}


def test_nothing_is_copied_to_look_up_whole_words(tmp_path: Path) -> None:
    """A set that is mapped from a file may be larger than the memory."""
    np.save(tmp_path / "images.npy", np.arange(40 * 4 * 4 * 3, dtype=np.uint16).astype(np.uint8).reshape(40, 4, 4, 3))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    dataset = ArrayDataset(images, name="mapped", source="test")
    placed: list[np.ndarray] = []

    def place(array: np.ndarray) -> Any:
        placed.append(array)
        return tf.constant(array)

    lookup = dataset._lookup(place)
    assert np.shares_memory(placed[0], images)
    assert (np.rint(lookup(tf.constant([7, 0], tf.int64)).numpy() * 255) == images[[7, 0]]).all()
    assert type(dataset.images_at([1])) is np.ndarray


def test_mapped_images_are_read_from_their_file_unless_there_is_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), dtype=np.uint8))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    mapped = ArrayDataset(images, name="mapped", source="test")
    in_memory = ArrayDataset(np.array(images), name="copied", source="test")

    def refuse(array: np.ndarray) -> None:
        raise AssertionError("copied into memory")

    expected = list(in_memory.training_pipeline(8, 1).take(6).as_numpy_iterator())
    for has_gpu in (False, True):
        monkeypatch.setattr(dataset_module, "_has_gpu", lambda has_gpu=has_gpu: has_gpu)
        assert mapped.fits_device == mapped.limited(20).fits_device == has_gpu
        with monkeypatch.context() as patch:
            patch.setattr(dataset_module, "_on_host", refuse)
            found = list(mapped.training_pipeline(8, 1).take(6).as_numpy_iterator())
        assert all((one == other).all() for one, other in zip(found, expected, strict=True))
    assert (mapped.batch_source(8, 1)(0).numpy() == expected[0]).all()
    monkeypatch.setattr(dataset_module, "_has_gpu", lambda: False)
    with pytest.raises(UserError, match="mapped is mapped from a file and not kept on the training device"):
        mapped.batch_source(8, 1)
    assert in_memory.fits_device


def test_groups_are_found_by_number() -> None:
    images = np.arange(3 * 4 * 2 * 2 * 1, dtype=np.uint8).reshape(3, 4, 2, 2, 1)
    groups = ImageGroups(images, np.array([0, 1, 0]), np.zeros((3, 4, 2)))
    assert (groups.num_groups, groups.group_size) == (3, 4)
    assert (groups.images_at([2, 0]) == images[[2, 0]]).all()
    first = groups.first(2)
    assert first.num_groups == 2
    assert first.values is not None
    assert len(first.labels) == len(first.values) == 2
    with pytest.raises(ValueError, match="allowed: 0 to 2"):
        groups.images_at([3])
    assert ArrayDataset(images[0], name="x", source="test").metric_groups is None


def test_sampling_gives_images_of_the_drawn_levels(dataset: dataset_module.Dataset) -> None:
    if dataset.factor_space is None:
        with pytest.raises(UserError, match="no full grid of factors"):
            dataset.sample(np.random.default_rng(0), 3)
        return
    name = dataset.factor_names[0]
    images, classes = dataset.sample(np.random.default_rng(0), 20, {name: 1})
    numbers = dataset.factor_space.index_of(classes)
    assert (classes[:, 0] == 1).all()
    assert (images == dataset.images_at(numbers)).all()
    assert (dataset.factors_at(numbers) == classes).all()


def test_limits_keep_the_same_images_of_every_kind(dataset: dataset_module.Dataset) -> None:
    limited = dataset.limited(20)
    kept = limited_indices(dataset.num_examples, 20)
    assert limited.num_examples == 20
    assert limited.name == f"{dataset.name}_limit20"
    assert limited.factor_space is None
    assert (limited.images_at(np.arange(20)) == dataset.images_at(kept)).all()
    if dataset.factors:
        assert limited.factors == dataset.factors
        assert (limited.values_at(np.arange(20)) == dataset.values_at(kept)).all()
    if dataset.factors and not dataset.has_real_factors:
        assert (limited.factors_at(np.arange(20)) == dataset.factors_at(kept)).all()
    assert dataset.limited(None) is dataset
    assert dataset.limited(dataset.num_examples) is dataset


def test_limited_indices_are_distinct_ascending_and_spread() -> None:
    kept = limited_indices(377_487_360, 1000)
    assert (np.diff(kept) > 0).all()
    assert kept[-1] > 370_000_000
    assert kept[0] < 7_000_000


def test_fingerprints_tell_contents() -> None:
    images = np.zeros((35, 4, 4, 1), np.uint8)
    base = ArrayDataset(images, name="a", source="test").fingerprint()
    assert ArrayDataset(images, name="other name", source="other").fingerprint() == base
    assert ArrayDataset(images, name="a", source="test", factor_space=SPACE).fingerprint() != base
    images = images.copy()
    images[34, 3, 3] = 1
    assert ArrayDataset(images, name="a", source="test").fingerprint() != base


@pytest.mark.parametrize(
    "make",
    [
        lambda: ImageGroups(np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, np.int64)),
        lambda: ImageGroups(np.zeros((2, 3, 4, 4, 1)), np.zeros(2, np.int64)),  # type: ignore[arg-type]
        lambda: ImageGroups(np.zeros((0, 3, 4, 4, 1), np.uint8), np.zeros(0, np.int64)),
        lambda: ImageGroups(np.zeros((2, 3, 4, 4, 1), np.uint8), np.zeros(3, np.int64)),
        lambda: ImageGroups(np.zeros((2, 3, 4, 4, 1), np.uint8), np.zeros(2, np.int64), np.zeros((2, 4, 5))),
    ],
)
def test_arrays_that_are_no_groups_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"groups are|labels of shape"):
        make()


def test_values_must_fit_the_images() -> None:
    with pytest.raises(ValueError, match=r"values have shape \(3, 2\); expected \(2, 2\)"):
        ArrayDataset(np.zeros((2, 4, 4, 1), np.uint8), name="x", source="test", factors=REAL, values=np.zeros((3, 2)))


# The features of sketchy are no images.
@pytest.mark.parametrize("name", [name for name in data_gen.names() if name != "sketchy"])
def test_every_set_has_a_miniature_that_looks_like_something(name: str) -> None:
    dataset = data_gen.load(name, source="synthetic")
    assert dataset.source == "synthetic"
    assert dataset.name == f"{name}_synthetic"
    assert min(dataset.image_shape[:2]) >= 28
    images = dataset.images_at(np.arange(0, dataset.num_examples, max(1, dataset.num_examples // 50)))
    assert images.std() > 10
    assert len({image.tobytes() for image in images}) > 0.8 * len(images)
    assert (data_gen.load(name, source="synthetic").images_at([7]) == dataset.images_at([7])).all()


@pytest.mark.parametrize("name", ["celeba", "chairs3d"])
def test_miniatures_follow_their_seed(name: str) -> None:
    def images(seed: int) -> np.ndarray:
        return data_gen.load(name, source="synthetic", num_examples=3, seed=seed).images_at([0, 1, 2])

    assert (images(1) == images(1)).all()
    assert (images(1) != images(2)).any()
    with pytest.raises(UserError, match="give at least 1"):
        data_gen.load(name, source="synthetic", num_examples=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "dsprite"}, "unknown data set 'dsprite'; did you mean 'dsprites'"),
        ({"name": "zzz"}, "allowed: .*celeba, chairs3d, cifar10, circular_dsprites, color_dsprites, dsprites"),
        ({"name": "dsprites", "source": "oficial"}, "unknown source 'oficial' of dsprites; did you mean 'official'"),
        ({"name": "color_dsprites", "source": "random"}, "unknown source 'random'"),
        ({"name": "dsprites", "limit": 0}, "limit is 0; give a number of images of at least 1"),
        ({"name": "dsprites", "source": "synthetic", "level": 3}, "unknown option 'level'.*did you mean 'levels'"),
        ({"name": "dsprites", "levels": (1, 1, 1, 1, 1)}, "levels are an option of the source 'synthetic'"),
        ({"name": "dsprites", "raw_dir": "/no/such/folder"}, "/no/such/folder: no such file or folder"),
        (
            {"name": "celeba", "raw_dir": Path(__file__).parent},
            r"no img_align_celeba.zip .*choose the source 'synthetic'",
        ),
        (
            {"name": "chairs3d", "raw_dir": Path(__file__).parent},
            r"no rendered_chairs.tar .*choose the source 'synthetic'",
        ),
    ],
)
def test_loading_refuses_what_it_does_not_know(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        data_gen.load(**arguments)


def test_environment_names_the_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPOUT_RAW_DIR", str(tmp_path))
    monkeypatch.delenv("SPOUT_DATA_DIR", raising=False)
    assert data_gen.default_raw_dir() == tmp_path
    assert str(data_gen.default_data_dir()) == "data"


@pytest.mark.parametrize(
    "make",
    [
        lambda: ArrayDataset(np.zeros((2, 4, 4), np.uint8), name="x", source="test"),
        lambda: ArrayDataset(np.zeros((2, 4, 4, 1), np.float32), name="x", source="test"),
        lambda: ArrayDataset(np.zeros((0, 4, 4, 1), np.uint8), name="x", source="test"),
        lambda: ArrayDataset(np.zeros((2, 4, 4, 1), np.uint8), name="x", source="test", factor_space=SPACE),
        lambda: ArrayDataset(np.zeros((2, 4, 4, 1), np.uint8), name="x", source="test", factors=REAL),
        lambda: PackedDataset(np.zeros((2, 511), np.uint8), name="x", source="test"),
        lambda: PackedDataset(np.zeros((2, 3), np.uint8), image_shape=(4, 6, 1), name="x", source="test"),
    ],
)
def test_arrays_that_are_no_images_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"x has|images are"):
        make()
