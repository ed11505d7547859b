"""`python -m data_gen list` and `verify`: what is there, and whether it is what was written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data_gen
from common.errors import UserError
from common.files import sha256_of
from data_gen import inventory, pixel_statistics
from data_gen.__main__ import main
from data_gen.folders import CHECKSUMS
from data_gen.png import encode_png
from data_gen.tfrecord import Example, Feature, Plan, Split, write_dataset


def images_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)


def examples(start: int, stop: int) -> Iterator[Example]:
    for number in range(start, stop):
        yield {"id": str(number), "image": encode_png(images_of(number), smooth=True)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data with one set of two splits."""
    data_dir = tmp_path_factory.mktemp("data")
    plan = Plan(
        name="mnist_limit20",
        version="3.0.1",
        features={"id": Feature("text"), "image": Feature("image", shape=(5, 6, 3))},
        splits=(Split("train", 20, examples, 2), Split("test", 7, examples)),
        contents="one",
        description="Noise.",
    )
    write_dataset(plan, data_dir)
    return data_dir


@pytest.fixture
def data_dir(written: Path, tmp_path: Path) -> Path:
    """A copy of it that may be damaged."""
    shutil.copytree(written, tmp_path / "data")
    return tmp_path / "data"


def shard(data_dir: Path, split: str = "train") -> Path:
    return sorted((data_dir / "mnist_limit20" / "3.0.1").glob(f"*-{split}.*"))[0]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    told = capsys.readouterr()
    return code, told.out, told.err


def test_statistics_are_those_of_the_pixels(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("mnist", "mnist_limit20"):
        code, told, errors = run(capsys, "verify", name, "--data_dir", str(data_dir))
        assert (code, errors) == (0, "")
        assert "mnist_limit20 3.0.1: whole; train 20, test 7\n" in told
        pixels = np.stack([images_of(number) for number in range(20)]).reshape(-1, 3)
        means, deviations = (" ".join(f"{value:.3f}" for value in values) for values in (pixels.mean(0), pixels.std(0)))
        assert f"  train image: mean {means}, deviation {deviations}\n" in told
    record = json.loads((data_dir / "mnist_limit20" / "3.0.1" / CHECKSUMS).read_text())
    recorded = record["files"][shard(data_dir, "test").name]["pixels"]["image"]
    pixels = np.stack([images_of(number) for number in range(7)]).reshape(-1, 3).astype(int)
    assert recorded == {"pixels": 210, "sums": pixels.sum(0).tolist(), "square_sums": (pixels**2).sum(0).tolist()}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("flip", "mnist_limit20-train.tfrecord-00000-of-00002 is changed"),
        ("cut", "mnist_limit20-train.tfrecord-00000-of-00002 is changed"),
        ("remove", "mnist_limit20-train.tfrecord-00000-of-00002 is missing"),
        ("no checksums", "checksums.json is missing or unreadable"),
        ("info", "dataset_info.json is changed"),
        ("other examples", "mnist_limit20-train.tfrecord-00000-of-00002: holds 7 examples, recorded were 10"),
        ("other pixels", "mnist_limit20-train.tfrecord-00000-of-00002: its pixels have other sums than recorded"),
        ("no records", "mnist_limit20-train.tfrecord-00000-of-00002: cannot be read"),
        ("other counts", "dataset_info.json tells of"),
    ],
)
def test_damage_is_found_and_named(
    damage: str, message: str, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = shard(data_dir), data_dir / "mnist_limit20" / "3.0.1"
    data = path.read_bytes()
    record = json.loads((folder / CHECKSUMS).read_text())
    if damage == "flip":
        path.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])
    elif damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "remove":
        path.unlink()
    elif damage == "no checksums":
        (folder / CHECKSUMS).unlink()
    elif damage == "info":
        (folder / "dataset_info.json").write_text("{}")
    elif damage == "other counts":
        info = json.loads((folder / "dataset_info.json").read_text())
        info["splits"][0]["shardLengths"] = ["1"]
        (folder / "dataset_info.json").write_text(json.dumps(info))
        record["files"]["dataset_info.json"]["sha256"] = sha256_of(folder / "dataset_info.json")
    else:
        # Whoever writes the checksums anew along with the file is found by what is in it.
        source = {"other examples": "test", "other pixels": "train", "no records": "train"}[damage]
        other = sorted(folder.glob(f"*-{source}.*"))[-1].read_bytes()
        path.write_bytes(b"nothing" * 9 if damage == "no records" else other)
        record["files"][path.name]["sha256"] = sha256_of(path)
    if damage in ("other counts", "other examples", "other pixels", "no records"):
        (folder / CHECKSUMS).write_text(json.dumps(record))
    code, told, errors = run(capsys, "verify", "mnist_limit20", "--data_dir", str(data_dir))
    assert code == 1
    assert message in errors
    assert "mnist_limit20 3.0.1: DAMAGED" in told


def test_sets_without_statistics_and_strange_files_are_remarked(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data_dir / "mnist_limit20" / "3.0.1"
    record = json.loads((folder / CHECKSUMS).read_text())
    for about in record["files"].values():
        about.pop("pixels", None)
    (folder / CHECKSUMS).write_text(json.dumps(record))
    (folder / "notes.txt").write_text("mine")
    code, told, _ = run(capsys, "verify", "mnist", "--data_dir", str(data_dir))
    assert code == 0
    assert "no statistics of its pixels were recorded" in told
    assert "note: notes.txt is not part of the set" in told


def test_a_set_that_is_not_there(data_dir: Path) -> None:
    with pytest.raises(UserError, match=r"no prepared set 'mnist_limit2' .*did you mean 'mnist_limit20'"):
        inventory.chosen_sets("mnist_limit2", data_dir)
    with pytest.raises(UserError, match=r"no prepared set 'svhn' in .*prepare it with python -m data_gen.svhn"):
        inventory.chosen_sets("svhn", data_dir)
    with pytest.raises(UserError, match="there are: none"):
        inventory.chosen_sets("mnist", data_dir / "empty")


def test_the_list_tells_what_is_there(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw" / "deep"
    raw.mkdir(parents=True)
    (raw / "train_32x32.mat").write_bytes(b"x" * 1_500)
    (raw / "cifar-10-batches-py").mkdir()
    (data_dir / "mnist" / ".3.0.1.partial").mkdir(parents=True)
    plan = {"plan": {"splits": {"train": {"num_examples": 60_000}}}, "files": {}}
    (data_dir / "mnist" / ".3.0.1.partial" / "progress.json").write_text(json.dumps(plan))
    code, told, _ = run(capsys, "list", "--data_dir", str(data_dir), "--raw_dir", str(tmp_path / "raw"))
    assert code == 0
    sections = {part.split("\n")[0]: part for part in told.split("\n\n", 1)[1].replace("\n  ", "\r").split("\n")}
    sections = {name.split("\r")[0]: text for name, text in sections.items()}
    assert "prepared  mnist_limit20 3.0.1: train 20, test 7; " in sections["mnist"]
    assert "prepared  mnist 3.0.1: train 60,000; " in sections["mnist"]
    assert "unfinished" in sections["mnist"]
    assert f"file      {raw / 'train_32x32.mat'}: 1.5 KB" in sections["svhn"]
    assert "non-commercial" in sections["svhn"]
    assert f"file      {raw / 'cifar-10-batches-py'} (folder)" in sections["cifar10"]
    assert "nothing of it is there" in sections["sketchy"]
    assert "zenodo" in sections["sketchy"]
    assert set(sections) >= set(data_gen.names())


def test_the_list_tells_of_images_that_nobody_else_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("my_pictures", "teapot_up_light_utah"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "images.npy", np.zeros(3))
    _, said, _ = run(capsys, "list", "--data_dir", str(tmp_path), "--raw_dir", str(tmp_path / "raw"))
    before, _, others = said.partition("other sets\n")
    assert "teapot_up_light_utah/images.npy" in before
    assert others.count("unpacked") == 1
    assert "my_pictures/images.npy" in others


def test_without_an_action_it_tells_what_the_sets_are(capsys: pytest.CaptureFixture[str]) -> None:
    code, told, _ = run(capsys)
    assert code == 0
    for name in data_gen.names():
        assert f"{name}\n  what" in told
    assert told.count("  terms    ") == len(data_gen.names())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verfy", "mnist"], "argument ACTION: invalid choice: 'verfy'"),
        (["verify"], "verify what"),
        (["list", "mnist"], "'mnist' belongs to verify"),
        (["list", "--data_dri", "x"], "did you mean '--data_dir'"),
    ],
)
def test_bad_command_lines(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(arguments)


def test_every_set_says_under_which_terms_it_is() -> None:
    for name in ("dsprites", "color_dsprites", "teapot", "mnist", "circular_dsprites", "mnist_cdcb", "cifar10", "svhn"):
        assert not data_gen.summary(name).license.startswith("not stated here")


@pytest.mark.parametrize("shape", [(7, 5, 1), (4, 9, 3), (64, 64, 1)])
def test_png_files_are_decoded_by_whomever_they_were_written(shape: tuple[int, ...], tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert (pixel_statistics.decode_png(encode_png(image)) == image).all()
    Image.fromarray(image.squeeze(2) if shape[2] == 1 else image).save(tmp_path / "file.png")
    assert (pixel_statistics.decode_png((tmp_path / "file.png").read_bytes()) == image).all()
    for data in (encode_png(image)[:-30], b"", b"\x89PNG", encode_png(image)[:60] + b"\0" * 99):
        with pytest.raises(ValueError, match="no whole PNG"):
            pixel_statistics.decode_png(data)


def test_sums_are_exact_in_parts_and_together() -> None:
    parts = [
        {"image": {"pixels": 2, "sums": [3], "square_sums": [5]}},
        {"image": {"pixels": 1, "sums": [6], "square_sums": [36]}},
    ]
    total = pixel_statistics.added(parts)["image"]
    assert total == {"pixels": 3, "sums": [9], "square_sums": [41]}
    means, deviations = pixel_statistics.means_and_deviations(total)
    assert means == [3.0]
    assert deviations == pytest.approx([np.std([1, 2, 6])])


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (64, 64, 1), (300, 200, 3)])
@pytest.mark.parametrize("brightest", [True, False])
def test_sums_of_large_and_bright_images_are_exact(shape: tuple[int, ...], brightest: bool, tmp_path: Path) -> None:
    import tensorflow as tf

    rng = np.random.default_rng(2)
    images = [np.full(shape, 255, np.uint8) if brightest else rng.integers(0, 256, shape, np.uint8) for _ in range(9)]
    with tf.io.TFRecordWriter(str(tmp_path / "shard")) as writer:
        for image in images:
            example = tf.train.Example()
            example.features.feature["image"].bytes_list.value.append(encode_png(image))
            writer.write(example.SerializeToString())
    pixels = np.stack(images).reshape(-1, shape[2]).astype(np.int64)
    sums = pixel_statistics.sums_of_shard(str(tmp_path / "shard"), {"image": Feature("image", shape=shape)})["image"]
    assert sums["pixels"] == len(pixels)
    assert sums["sums"] == pixels.sum(axis=0).tolist()
    assert sums["square_sums"] == (pixels**2).sum(axis=0).tolist()
