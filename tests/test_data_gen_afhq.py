"""AFHQ from miniatures in the publisher's own files: two domains that are not paired, both versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import data_gen
from common.errors import UserError
from data_gen import afhq
from data_gen.afhq import write_miniature
from data_gen.pairs import PairedDataset


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_miniature(folder / "one", side=90)
    write_miniature(folder / "two", side=90, version="afhq_v2")
    write_miniature(folder / "unpacked", side=90, unpacked=True)
    return folder


def loaded(raw: Path, data_dir: Path, **options: Any) -> PairedDataset:
    dataset = data_gen.load("afhq", raw_dir=raw, data_dir=data_dir, **{"size": 32, **options})
    assert isinstance(dataset, PairedDataset)
    return dataset


def test_domains_are_those_of_the_folders(raw: Path, tmp_path: Path) -> None:
    dataset = loaded(raw / "one", tmp_path)
    assert (dataset.name, dataset.source, dataset.is_paired) == ("afhq_32_cat_dog", "real subset (4 and 5)", False)
    assert (dataset.x.num_examples, dataset.y.num_examples, dataset.x_shape) == (4, 5, (32, 32, 3))
    for split, images in (("train", dataset), ("val", dataset.held_out)):
        assert isinstance(images, PairedDataset)
        for kind, side in (("cat", images.x), ("dog", images.y)):
            files = sorted((raw / "unpacked" / "afhq" / split / kind).iterdir())
            expected = [np.asarray(Image.open(path).resize((32, 32), Image.Resampling.BILINEAR)) for path in files]
            assert (side.images_at(np.arange(len(files))) == expected).all()
    other = loaded(raw / "unpacked" / "afhq", tmp_path / "other")
    assert other.fingerprint() == dataset.fingerprint()
    x, y = next(iter(dataset.pair_pipeline(4, 0)))
    assert x.shape == y.shape == (4, 32, 32, 3)


def test_the_second_version_has_other_files(raw: Path, tmp_path: Path) -> None:
    dataset = loaded(raw / "two", tmp_path, x="wild", y="cat")
    assert dataset.name == "afhq_v2_32_wild_cat"
    assert dataset.held_out is not None
    assert (dataset.x.num_examples, dataset.y.num_examples) == (6, 4)
    assert loaded(raw, tmp_path).name == "afhq_32_cat_dog"
    assert loaded(raw, tmp_path, version="afhq_v2").name == "afhq_v2_32_cat_dog"
    assert loaded(raw, tmp_path, split="test").name == "afhq_32_cat_dog_test"
    assert loaded(raw / "two" / "afhq_v2.zip", tmp_path).name == "afhq_v2_32_cat_dog"
    with pytest.raises(UserError, match=r"version is 'afhq_v2', but .*afhq\.zip is afhq; leave version out"):
        loaded(raw / "one" / "afhq.zip", tmp_path, version="afhq_v2")


def test_a_limit_holds_for_each_domain(raw: Path, tmp_path: Path) -> None:
    dataset = loaded(raw / "one", tmp_path, limit=2)
    assert dataset.name == "afhq_32_cat_dog_limit2"
    assert dataset.x.num_examples == dataset.y.num_examples == 2
    assert dataset.held_out is not None
    assert dataset.held_out.num_examples == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": "cow"}, "x is 'cow'"),
        ({"x": "dog"}, "x and y are both 'dog'"),
        ({"version": "afhq2"}, "did you mean 'afhq"),
        ({"split": "val"}, "unknown split 'val'"),
        ({"size": 0}, "size is 0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str, raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        loaded(raw, tmp_path, **options)


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no afhq.zip nor afhq_v2.zip in .*--download"):
        loaded(tmp_path, tmp_path)


def test_the_command_writes_domains_that_tfds_opens(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tensorflow_datasets as tfds

    monkeypatch.setattr(
        "sys.argv", ["x", "--raw_dir", str(raw / "one"), "--data_dir", str(tmp_path), "--size", "32", "--y", "wild"]
    )
    afhq.main()
    assert "x: 4 images read" in capsys.readouterr().out
    builder = tfds.builder_from_directory(str(tmp_path / "afhq_32_cat_wild" / "1.0.0"))
    dataset = loaded(raw / "one", tmp_path, y="wild")
    assert dataset.held_out is not None
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        "train_x": 4,
        "train_y": 6,
        "test_x": 4,
        "test_y": 6,
    }
    read = list(tfds.as_numpy(builder.as_dataset(split="train_y", shuffle_files=False)))
    assert (np.stack([example["image"] for example in read]) == dataset.y.images_at(np.arange(6))).all()
    assert all("/wild/" in example["file"].decode() for example in read)


def test_the_miniature_is_not_paired() -> None:
    dataset = data_gen.load("afhq", source="synthetic", size=32)
    assert isinstance(dataset, PairedDataset)
    assert not dataset.is_paired
    assert dataset.x_shape == (32, 32, 3)
    assert (dataset.x_images_at([0]) != dataset.y_images_at([0])).any()
