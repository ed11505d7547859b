"""Cars from miniatures in the publisher's own files: pairs, presets of both codes, broken MAT files."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

import data_gen
from common.errors import UserError
from data_gen import cars
from data_gen.archives import BadFileError
from data_gen.cars import read_car, write_miniature
from data_gen.pairs import PairedDataset

NUMBERS = (1, 2, 10, 191, 192, 199, *range(20, 30))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    files = write_miniature(folder / "unpacked", NUMBERS, unpacked=True)
    shutil.make_archive(str(folder / "nips2015-analogy-data"), "gztar", folder / "unpacked", "data")
    assert files.name == "cars"
    return folder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def loaded(raw: Path, data_dir: Path, **options: Any) -> PairedDataset:
    dataset = data_gen.load("cars", raw_dir=raw, data_dir=data_dir, **{"size": 128, **options})
    assert isinstance(dataset, PairedDataset)
    return dataset


def views(raw: Path, number: int) -> np.ndarray:
    """The published array of a car: height, width, color, azimuth, elevation."""
    return scipy.io.loadmat(raw / "unpacked" / "data" / "cars" / f"car_{number:03d}_mesh.mat")["im"]


def test_pairs_in_color_are_those_of_the_authors(raw: Path, data_dir: Path) -> None:
    dataset = loaded(raw, data_dir)
    assert (dataset.name, dataset.source) == ("cars_128", "real subset (16 cars)")
    train = sorted(number for number in NUMBERS if number < 192)
    assert dataset.num_examples == len(train) * 92
    test = dataset.held_out
    assert isinstance(test, PairedDataset)
    assert test.num_examples == 2 * 92
    for pairs, numbers in ((dataset, train), (test, [192, 199])):
        for pair in (0, 1, 22, 23, 91, 92, pairs.num_examples - 1):
            car, elevation, azimuth = pairs.factors_at([pair])[0]
            assert pair == (car * 4 + elevation) * 23 + azimuth - 1
            published = views(raw, numbers[car])
            assert (pairs.x_images_at([pair])[0] == published[:, :, :, 0, elevation]).all()
            assert (pairs.y_images_at([pair])[0] == published[:, :, :, azimuth, elevation]).all()
            assert pairs.values_at([pair])[0].tolist() == [car, elevation, azimuth * 15]
    assert dataset.factor_names == ("car", "elevation", "azimuth")


def test_enlarging_repeats_pixels(raw: Path, tmp_path: Path) -> None:
    one = tmp_path / "cars"
    one.mkdir()
    shutil.copy(raw / "unpacked" / "data" / "cars" / "car_001_mesh.mat", one)
    dataset = loaded(one, tmp_path / "data", size=256)
    published = views(raw, 1)[:, :, :, 5, 0]
    assert (dataset.y_images_at([4])[0] == published.repeat(2, 0).repeat(2, 1)).all()
    assert dataset.held_out is None


def test_pairs_in_gray_are_those_of_the_community(raw: Path, data_dir: Path) -> None:
    dataset = loaded(raw, data_dir, preset="iiae_community")
    assert (dataset.name, dataset.num_examples) == ("cars_community_128", 2 * 23)
    assert dataset.held_out is not None
    assert dataset.held_out.num_examples == 14 * 23
    published = views(raw, 2)[:, :, :, 7, 3].astype(float)
    for options, weights in (({}, (0.299, 0.587, 0.114)), ({"swapped_gray": True}, (0.114, 0.587, 0.299))):
        gray = np.rint(published @ weights)
        pairs = loaded(raw, data_dir, preset="iiae_community", **options)
        assert (pairs.y_images_at([23 + 6])[0] == gray[:, :, None]).all()
    copied = loaded(raw, data_dir, preset="iiae_community", jpeg_copies=True).y_images_at([23 + 6])[0]
    file = io.BytesIO()
    Image.fromarray(np.rint(published @ (0.299, 0.587, 0.114)).astype(np.uint8)[:, :, None].repeat(3, 2)).save(
        file, "JPEG", quality=75
    )
    assert (copied == np.asarray(Image.open(file))).all()


def test_folder_and_archive_give_the_same(raw: Path, data_dir: Path, tmp_path: Path) -> None:
    whole = loaded(raw / "nips2015-analogy-data.tar.gz", data_dir)
    other = loaded(raw / "unpacked" / "data" / "cars", tmp_path)
    assert other.subset(np.arange(20), "x").fingerprint() == whole.subset(np.arange(20), "x").fingerprint()
    limited = loaded(raw, data_dir, limit=10)
    assert (limited.num_examples, limited.name) == (10, "cars_128_limit10")
    assert limited.factors_at(np.arange(10)).shape == (10, 3)


def _mat(**arrays: Any) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, arrays)
    return file.getvalue()


GOOD = _mat(im=np.zeros((128, 128, 3, 24, 4), np.uint8))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html>" * 100, "damaged"),
        (GOOD[: len(GOOD) // 2], "damaged"),
        (GOOD[:100], "damaged"),
        (_mat(im=np.zeros((64, 64, 3, 24, 4), np.uint8)), "other size"),
        (_mat(im=np.zeros((128, 128, 3, 24, 4), np.float32)), "other size"),
        (_mat(other=np.zeros(3)), "damaged"),
        (b"MATLAB 7.3 MAT-file" + bytes(109) + b"\0\2IM" + bytes(200), "damaged"),
    ],
)
def test_broken_files_have_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadFileError, match=reason):
        read_car(data)
    assert read_car(GOOD).shape == (128, 128, 3, 24, 4)


def test_a_broken_car_is_left_out(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cars"
    shutil.copytree(raw / "unpacked" / "data" / "cars", folder)
    (folder / "car_002_mesh.mat").write_bytes(b"x" * 500)
    with pytest.raises(UserError, match=r"1 damaged: car_002_mesh\.mat"):
        loaded(folder, tmp_path / "data")
    dataset = loaded(folder, tmp_path / "data", tolerance=0.1)
    assert dataset.num_examples == 13 * 92
    assert (dataset.x_images_at([92])[0] == views(raw, 10)[:, :, :, 0, 0]).all()
    assert "car_002_mesh.mat" in dataset.description


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "iiea"}, "did you mean 'iiae'"),
        ({"split": "val"}, "unknown split 'val'"),
        ({"swapped_gray": True}, "is in color, leave it out"),
        ({"source": "synthetic", "num_examples": 1}, "give at least 2 cars"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str, raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        loaded(raw, tmp_path, **options)


def test_what_is_missing_is_told(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no nips2015-analogy-data.tar.gz nor folder cars in .*--download does that"):
        loaded(tmp_path, tmp_path)
    folder = tmp_path / "cars"
    folder.mkdir()
    shutil.copy(raw / "unpacked" / "data" / "cars" / "car_192_mesh.mat", folder)
    with pytest.raises(UserError, match="no cars for the split 'train': of 1 cars 1 are to test on"):
        loaded(folder, tmp_path / "data")


def test_the_miniature_turns() -> None:
    dataset = data_gen.load("cars", source="synthetic", size=64, num_examples=4)
    assert isinstance(dataset, PairedDataset)
    assert (dataset.num_examples, dataset.x_shape) == (3 * 92, (64, 64, 3))
    assert (dataset.x_images_at([0]) == dataset.x_images_at([22])).all()
    assert (dataset.y_images_at([0]) != dataset.y_images_at([22])).any()
    assert dataset.held_out is not None
    assert dataset.held_out.num_examples == 92


def test_the_command_writes_pairs_that_tfds_opens(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow_datasets as tfds

    arguments = ["x", "--raw_dir", str(raw), "--data_dir", str(tmp_path), "--size", "32", "--preset", "iiae_community"]
    monkeypatch.setattr("sys.argv", arguments)
    cars.main()
    builder = tfds.builder_from_directory(str(tmp_path / "cars_community_32" / "1.0.0"))
    dataset = loaded(raw, tmp_path, size=32, preset="iiae_community")
    read = list(tfds.as_numpy(builder.as_dataset(split="train", shuffle_files=False)))
    for number in (0, 10, 45):
        assert (read[number]["image_y"] == dataset.y_images_at([number])[0]).all()
        assert read[number]["label_azimuth"] == dataset.factors_at([number])[0, 2]
