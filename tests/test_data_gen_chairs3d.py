"""3D Chairs from miniatures in the publisher's own file: factors by name, pixels as the papers' code has them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import data_gen
from common.errors import UserError
from data_gen import chairs3d, image_command
from data_gen.archives import order_of
from data_gen.chairs3d import AZIMUTHS, FOLDER, views_of, write_miniature

VIEWS = 62


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_miniature(folder, models=2, side=100)
    write_miniature(folder / "unpacked", models=2, side=100, unpacked=True)
    return folder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def test_names_carry_the_factors(raw: Path, data_dir: Path) -> None:
    dataset = data_gen.load("chairs3d", raw_dir=raw, data_dir=data_dir)
    assert (dataset.name, dataset.source, dataset.image_shape) == ("chairs3d", "real subset (124)", (64, 64, 1))
    assert dataset.factor_names == ("model", "elevation", "azimuth")
    assert dataset.grid.sizes == (2, 2, 31)
    assert [factor.kind for factor in dataset.factors] == ["discrete", "continuous", "periodic"]
    values = dataset.values_at([0, 1, 30, 31, 62, 123]).tolist()
    assert values == [[0, 20, 0], [0, 20, 11], [0, 20, 348], [0, 30, 0], [1, 20, 0], [1, 30, 348]]
    assert len(AZIMUTHS) == 31
    images, levels = dataset.sample(np.random.default_rng(0), 5, fixed={"model": 1})
    assert (levels[:, 0] == 1).all()
    assert (images == dataset.images_at(dataset.grid.index_of(levels))).all()


def test_pixels_are_those_of_the_papers_code(raw: Path, data_dir: Path) -> None:
    dataset = data_gen.load("chairs3d", raw_dir=raw, data_dir=data_dir)
    for path in (raw / "unpacked" / FOLDER).rglob("*.png"):
        found = views_of([path.as_posix()])[1][0]
        number = np.flatnonzero((dataset.values_at(np.arange(124))[:, 1:] == found[1:]).all(axis=1))
        gray = Image.open(path).convert("L").resize((64, 64), Image.Resampling.BILINEAR)
        assert any((dataset.images_at([each])[0, :, :, 0] == np.asarray(gray)).all() for each in number.tolist())
    color = data_gen.load("chairs3d", raw_dir=raw, data_dir=data_dir, channels=3, size=32)
    assert (color.name, color.image_shape) == ("chairs3d_color_32", (32, 32, 3))


@pytest.mark.parametrize("where", [".", "rendered_chairs.tar", f"unpacked/{FOLDER}"])
def test_whatever_is_given_is_understood(raw: Path, data_dir: Path, tmp_path: Path, where: str) -> None:
    whole = data_gen.load("chairs3d", raw_dir=raw, data_dir=data_dir)
    assert data_gen.load("chairs3d", raw_dir=raw / where, data_dir=tmp_path).fingerprint() == whole.fingerprint()


def test_missing_and_broken_views_leave_no_grid(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    shutil.copytree(raw / "unpacked" / FOLDER, folder)
    first = sorted(folder.rglob("*.png"), key=lambda path: order_of(path.as_posix()))
    first[0].unlink()
    first[5].write_bytes(first[5].read_bytes()[:200])
    with pytest.raises(UserError, match="1 of 123 images cannot be used"):
        data_gen.load("chairs3d", raw_dir=folder, data_dir=tmp_path / "data", tolerance=0.005)
    dataset = data_gen.load("chairs3d", raw_dir=folder, data_dir=tmp_path / "data")
    assert dataset.factor_space is None
    assert dataset.num_examples == 122
    assert dataset.values_at([0, 3, 4])[:, 2].tolist() == [11, 46, 69]
    with pytest.raises(UserError, match="no full grid"):
        dataset.sample(np.random.default_rng(0), 1)


def test_a_limit_takes_some(raw: Path, tmp_path: Path) -> None:
    dataset = data_gen.load("chairs3d", raw_dir=raw, data_dir=tmp_path, limit=9)
    assert (dataset.name, dataset.num_examples, dataset.factor_space) == ("chairs3d_limit9", 9, None)
    assert dataset.factor_names == ("model", "elevation", "azimuth")


def test_what_is_missing_is_told_with_where_to_get_it(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match=r"rendered_chairs.tar nor folder|no such file or folder"):
            data_gen.load("chairs3d", raw_dir=folder)
    with pytest.raises(UserError, match="--download does that"):
        data_gen.load("chairs3d", raw_dir=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "ibgam"}, "did you mean 'ibgan'"),
        ({"channels": 2}, "channels is 2"),
        ({"size": 0}, "size is 0"),
        ({"num_examples": 0}, "give at least 1"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        data_gen.load("chairs3d", source="synthetic", **options)


def test_the_miniature_is_a_grid_that_follows_its_factors() -> None:
    dataset = data_gen.load("chairs3d", source="synthetic")
    assert dataset.grid.sizes == (8, 2, 31)
    images = dataset.images_at(np.arange(VIEWS)).reshape(VIEWS, 8, 8, 8, 8).mean(axis=(2, 4))
    around = [np.abs(images[:31] - np.roll(images[:31], step, axis=0)).sum() for step in (1, 8)]
    assert around[0] < around[1]
    assert 0 < np.abs(images[:31] - images[31:]).sum() < around[1]
    assert data_gen.load("chairs3d", source="synthetic", num_examples=70).factor_space is None
    assert data_gen.load("chairs3d", source="synthetic", channels=3, size=40).image_shape == (40, 40, 3)


def test_the_command_fetches_writes_and_records(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tensorflow_datasets as tfds

    def no_network(file: Any, folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        return Path(shutil.copy(raw / file.name, folder / file.name))

    monkeypatch.setattr(image_command, "fetch", no_network)
    arguments = ["x", "--download", "--raw_dir", str(tmp_path / "raw"), "--data_dir", str(tmp_path), "--size", "16"]
    (tmp_path / "raw").mkdir()
    monkeypatch.setattr("sys.argv", arguments)
    for _ in range(2):
        chairs3d.main()
        assert "SHA-256" in capsys.readouterr().out
    builder = tfds.builder_from_directory(str(tmp_path / "chairs3d_16" / "1.0.0"))
    read = list(tfds.as_numpy(builder.as_dataset(split="train", shuffle_files=False)))
    dataset = data_gen.load("chairs3d", raw_dir=tmp_path / "raw", data_dir=tmp_path, size=16)
    for number, example in enumerate(read):
        assert (example["image"] == dataset.images_at([number])[0]).all()
        assert [example[f"value_{name}"] for name in dataset.factor_names] == dataset.values_at([number])[0].tolist()
        assert example["file"].decode().startswith("rendered_chairs/")
    (tmp_path / "raw" / "rendered_chairs.tar.sha256").write_text("0  rendered_chairs.tar\n")
    with pytest.raises(UserError, match=r"is not what was fetched, as rendered_chairs.tar.sha256 says"):
        chairs3d.main()
    (raw / "page").mkdir()
    (raw / "page" / "rendered_chairs.tar").write_bytes(b"<!DOCTYPE html><html>moved")
    for file in (tmp_path / "raw").iterdir():
        file.unlink()
    monkeypatch.setattr(
        image_command, "fetch", lambda file, folder: Path(shutil.copy(raw / "page" / file.name, folder / file.name))
    )
    with pytest.raises(UserError, match="is a web page and no archive"):
        chairs3d.main()
    assert list((tmp_path / "raw").iterdir()) == []
    # One that the user has put there is refused as well, but stays.
    shutil.copy(raw / "page" / "rendered_chairs.tar", tmp_path / "raw")
    with pytest.raises(UserError, match="is a web page and no archive"):
        chairs3d.main()
    assert (tmp_path / "raw" / "rendered_chairs.tar").is_file()
