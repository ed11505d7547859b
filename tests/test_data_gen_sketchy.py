"""The features of Sketchy: the authors' layout, class-balanced batches, and everything that can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import data_gen
from common.errors import UserError
from data_gen import sketchy
from data_gen.features import FeatureDataset, plan_of_features
from data_gen.tfrecord import write_dataset

CLASSES = {"train": ["ape", "bee", "cow"], "test": ["dog", "elk"]}
SIZE = 5


def write(root: Path, split: int = 1, classes: dict[str, list[str]] | None = None) -> Path:
    """Files as the authors have them, in no order of classes; a vector's first number is its place in its file."""
    folder = root / "SketchyVGG" / f"split{split}"
    folder.mkdir(parents=True)
    for part, names in (classes or CLASSES).items():
        for domain, per_class in (("sketch", 4), ("image", 3)):
            rng = np.random.default_rng(per_class)
            paths = [f"Sketchy/{domain}/{name}/{n}.png" for n in range(per_class) for name in reversed(names)]
            vectors = rng.normal(size=(len(paths), SIZE)).astype(np.float32)
            vectors[:, 0] = np.arange(len(paths))
            np.save(folder / f"{part}_{domain}_features.npy", vectors)
            np.save(folder / f"{part}_{domain}_paths.npy", np.array(paths))
    return folder


def load(raw_dir: Path, **options: Any) -> FeatureDataset:
    dataset: Any = data_gen.load("sketchy", raw_dir=raw_dir, **options)
    assert isinstance(dataset, FeatureDataset)
    return dataset


def test_the_authors_files_are_read(tmp_path: Path) -> None:
    write(tmp_path / "deep")
    dataset = load(tmp_path)
    assert (dataset.name, dataset.source, dataset.class_names) == (
        "sketchy_custom_split1",
        "custom",
        ("ape", "bee", "cow"),
    )
    assert (dataset.x_shape, dataset.num_classes, dataset.num_examples) == ((SIZE,), 3, 12 + 9)
    assert dataset.x.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert dataset.x.vectors[:, 0].tolist() == [2, 5, 8, 11, 1, 4, 7, 10, 0, 3, 6, 9]
    assert dataset.y.names[0] == "Sketchy/image/ape/0.png"
    test = dataset.held_out
    assert test is not None
    assert (test.name, test.class_names, test.held_out) == ("sketchy_custom_split1_test", ("dog", "elk"), None)
    assert load(tmp_path, split="test").fingerprint() == test.fingerprint() != dataset.fingerprint()
    with pytest.raises(UserError, match="have the source 'custom', not 'published'"):
        load(tmp_path, source="published")


@pytest.mark.parametrize("split", [1, 2])
def test_published_divisions_are_known_by_their_classes(split: int, tmp_path: Path) -> None:
    train = [f"class_{number:03d}" for number in range({1: 100, 2: 104}[split])]
    write(tmp_path, split, {"train": train, "test": sketchy.TEST_CLASSES[split]})
    dataset = load(tmp_path, zero_shot_split=split)
    assert (dataset.name, dataset.source) == (f"sketchy_split{split}", "published")
    assert dataset.held_out is not None
    assert len(dataset.class_names) + len(dataset.held_out.class_names) == 125
    with pytest.raises(UserError, match=f"no features of Sketchy for split {3 - split} in"):
        load(tmp_path, zero_shot_split=3 - split)


def test_batches_have_every_class_alike(tmp_path: Path) -> None:
    write(tmp_path)
    dataset = load(tmp_path)
    source = dataset.batch_source(6, seed=2)
    seen: dict[str, set[int]] = {"x": set(), "y": set()}
    class_of = {
        "x": dict(zip(dataset.x.vectors[:, 0].astype(int).tolist(), dataset.x.labels.tolist(), strict=True)),
        "y": dict(zip(dataset.y.vectors[:, 0].astype(int).tolist(), dataset.y.labels.tolist(), strict=True)),
    }
    pipeline = iter(dataset.training_pipeline(6, seed=2, start_step=0))
    for step in range(40):
        batch = source(step)
        for side, vectors, streamed in zip("xy", batch, next(pipeline), strict=True):
            assert np.array_equal(vectors, streamed)
            numbers = vectors.numpy()[:, 0].astype(int).tolist()
            assert [class_of[side][number] for number in numbers] == [0, 1, 2, 0, 1, 2]
            seen[side] |= set(numbers)
    assert (len(seen["x"]), len(seen["y"])) == (12, 9)
    assert np.array_equal(tf.function(source)(tf.constant(7))[0], source(7)[0])
    assert not np.array_equal(dataset.batch_source(6, seed=3)(7)[0], source(7)[0])
    parts = [source(7, replica, 2)[1] for replica in range(2)]
    assert np.array_equal(np.concatenate(parts), source(7)[1])
    with pytest.raises(UserError, match="a multiple of 3"):
        dataset.batch_source(7, seed=2)
    with pytest.raises(UserError, match="cannot be divided evenly among 4 replicas"):
        source(0, 0, 4)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train_sketch_features.npy", np.zeros((11, SIZE), np.float32), "11 vectors, but there are 12 paths"),
        ("train_sketch_features.npy", np.zeros(12, np.float32), "expected floats of"),
        ("train_sketch_features.npy", np.zeros((12, SIZE), int), "expected floats of"),
        ("train_sketch_features.npy", np.full((12, SIZE), np.nan, np.float32), "no finite numbers"),
        ("train_sketch_features.npy", np.zeros((12, 4), np.float32), "have different sizes"),
        ("test_image_paths.npy", np.array(["a"] * 6), "'a' is no path with a class in it"),
        ("test_image_paths.npy", np.zeros(6), "expected a list of paths"),
        ("test_image_paths.npy", np.array(["x/dog/1.png"] * 6), "test: elk have either sketches or photos only"),
        ("test_image_paths.npy", np.array(["x/dog/1.png"] * 6, object), "pickled objects where numbers"),
        ("test_image_paths.npy", b"<html></html>", "is a web page"),
        ("test_image_paths.npy", b"\x93NUMPY\1\0", "damaged or truncated"),
        ("test_image_paths.npy", None, "is missing"),
    ],
)
def test_files_that_do_not_fit_are_refused(file: str, content: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path) / file
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(UserError, match=message):
        load(tmp_path)


def test_truncated_arrays_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path) / "train_image_features.npy"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match=r"train_image_features.npy: damaged or truncated"):
        load(tmp_path)


def test_classes_to_test_on_are_none_to_train_on(tmp_path: Path) -> None:
    write(tmp_path, classes={"train": ["ape", "bee"], "test": ["bee", "cow"]})
    with pytest.raises(UserError, match="bee are classes both to train on and to test on"):
        load(tmp_path)


def test_options_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="zero_shot_split is 3; allowed: 1, 2"):
        load(tmp_path, source="synthetic", zero_shot_split=3)
    with pytest.raises(UserError, match="unknown split 'all' of sketchy"):
        load(tmp_path, source="synthetic", split="all")


def test_the_miniature_and_its_files(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    first, again, other = sketchy.synthetic(), sketchy.synthetic(), sketchy.synthetic(seed=1)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    dataset = load(tmp_path, source="synthetic", limit=60)
    assert (dataset.num_examples, dataset.num_classes) == (40, 20)
    builder = tfds.builder_from_directory(str(write_dataset(plan_of_features(dataset, "1.0.0"), tmp_path)))
    counts = {name: split.num_examples for name, split in builder.info.splits.items()}
    assert counts == {"train_sketch": 20, "train_photo": 20, "test_sketch": 125, "test_photo": 125}
    for number, example in enumerate(tfds.as_numpy(builder.as_dataset(split="train_photo", shuffle_files=False))):
        assert (example["features"] == dataset.y.vectors[number]).all()
        assert example["class_name"].decode() == dataset.class_names[dataset.y.labels[number]]
