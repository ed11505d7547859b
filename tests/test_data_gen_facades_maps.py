"""Facades and Maps from miniatures in the publisher's own files: which side is x, the scaling, what is held out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import data_gen
from common.errors import UserError
from data_gen import facades, maps
from data_gen.facades import FACADES, MAPS, write_miniature
from data_gen.pairs import PairedDataset

SETS = {"facades": FACADES, "maps": MAPS}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for about in SETS.values():
        write_miniature(folder, 3, about=about)
        write_miniature(folder / "unpacked", 3, about=about, unpacked=True)
    return folder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def loaded(name: str, raw: Path, data_dir: Path, **options: Any) -> PairedDataset:
    dataset = data_gen.load(name, raw_dir=raw, data_dir=data_dir, **{"size": 64, **options})
    assert isinstance(dataset, PairedDataset)
    return dataset


@pytest.mark.parametrize("name", SETS)
def test_the_left_side_is_x(name: str, raw: Path, data_dir: Path) -> None:
    import tensorflow as tf

    dataset = loaded(name, raw, data_dir)
    assert (dataset.name, dataset.source, dataset.is_paired) == (f"{name}_64", "real subset (3)", True)
    for split, pairs in (("train", dataset), (SETS[name].held_out, dataset.held_out)):
        assert isinstance(pairs, PairedDataset)
        for number in range(3):
            path = raw / "unpacked" / name / split / f"{number + 1}.jpg"
            whole = np.asarray(Image.open(path)).astype(np.float32)
            half = whole.shape[1] // 2
            for side, images in (
                (whole[:, :half], pairs.x_images_at([number])),
                (whole[:, half:], pairs.y_images_at([number])),
            ):
                area = tf.compat.v1.image.resize_images(side[None], (64, 64), method=3).numpy()
                assert np.abs(images - area).max() <= 0.51


def test_parts(raw: Path, data_dir: Path) -> None:
    train = loaded("facades", raw, data_dir)
    whole = loaded("facades", raw, data_dir, split="all")
    assert (train.num_examples, whole.num_examples, whole.name) == (3, 9, "facades_64_all")
    assert loaded("facades", raw, data_dir, split="val").name == "facades_64_val"
    assert loaded("maps", raw, data_dir, split="val").held_out is None
    swapped = loaded("facades", raw, data_dir, swap=True)
    assert (swapped.x_images_at([1]) == train.y_images_at([1])).all()
    assert swapped.name == "facades_64_swapped"
    limited = loaded("facades", raw, data_dir, limit=2)
    assert (limited.num_examples, limited.name) == (2, "facades_64_limit2")
    assert limited.held_out is not None
    again = loaded("facades", raw / "unpacked" / "facades", data_dir / "again")
    assert again.fingerprint() == train.fingerprint()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("maps", {"split": "test"}, "unknown split 'test' of maps"),
        ("facades", {"size": 0}, "size is 0"),
        ("facades", {"tolerance": -1}, "tolerance is -1"),
    ],
)
def test_impossible_options_are_refused(
    name: str, options: dict[str, Any], message: str, raw: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        loaded(name, raw, tmp_path, **options)
    if "tolerance" not in options:
        with pytest.raises(UserError, match=message):
            data_gen.load(name, source="synthetic", **options)


def test_what_is_missing_or_of_another_kind_is_told(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no maps.tar.gz nor folder maps in .*efrosgans.*--download does that"):
        loaded("maps", tmp_path, tmp_path)
    folder = tmp_path / "facades"
    shutil.copytree(raw / "unpacked" / "facades", folder)
    Image.new("RGB", (511, 256)).save(folder / "train" / "2.jpg")
    with pytest.raises(UserError, match=r"1 other size: train/2\.jpg"):
        loaded("facades", tmp_path, tmp_path / "data")
    dataset = loaded("facades", tmp_path, tmp_path / "data", tolerance=0.2)
    whole = loaded("facades", raw, tmp_path / "data two")
    assert (dataset.images_at([0, 1]) == whole.images_at([0, 2])).all()
    assert "1 other size: train/2.jpg" in dataset.description
    shutil.rmtree(folder / "train")
    with pytest.raises(UserError, match="no images of the split 'train'; there are test, val"):
        loaded("facades", tmp_path, tmp_path / "data")


@pytest.mark.parametrize(("name", "module"), [("facades", facades), ("maps", maps)])
def test_the_command_writes_pairs_that_tfds_opens(
    name: str, module: Any, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow_datasets as tfds

    monkeypatch.setattr("sys.argv", ["x", "--raw_dir", str(raw), "--data_dir", str(tmp_path), "--size", "32"])
    module.main()
    builder = tfds.builder_from_directory(str(tmp_path / f"{name}_32" / "1.0.0"))
    assert {key: split.num_examples for key, split in builder.info.splits.items()} == {"train": 3, "test": 3}
    dataset = loaded(name, raw, tmp_path, size=32)
    for number, example in enumerate(tfds.as_numpy(builder.as_dataset(split="train", shuffle_files=False))):
        assert (example["image_x"] == dataset.x_images_at([number])[0]).all()
        assert (example["image_y"] == dataset.y_images_at([number])[0]).all()
        assert example["file"].decode().endswith(f"train/{number + 1}.jpg")


@pytest.mark.parametrize("name", SETS)
def test_miniatures_are_paired(name: str) -> None:
    dataset = data_gen.load(name, source="synthetic", size=32, num_examples=4)
    assert isinstance(dataset, PairedDataset)
    assert (dataset.x_images_at([2]) == 255 - dataset.y_images_at([2])[..., ::-1]).all()
    assert dataset.held_out is not None
    with pytest.raises(UserError, match="give at least 2"):
        data_gen.load(name, source="synthetic", num_examples=1)
