"""CelebA from miniatures in the publisher's own files: presets to the pixel, attributes as the text says, splits."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import data_gen
from common.errors import UserError
from data_gen import celeba
from data_gen.celeba_files import (
    ATTRIBUTES,
    ATTRIBUTES_FILE,
    FOLDER,
    IDENTITY_FILE,
    PARTITION_FILE,
    _read_attributes_at_once,
    drawn_faces,
    read_table,
    write_miniature,
)
from data_gen.image_miniatures import write_zip

COUNT = 40


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_miniature(folder, COUNT)
    write_miniature(folder / "unpacked", COUNT, unpacked=True)
    return folder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def faces(raw: Path) -> list[Image.Image]:
    """The published images as a straightforward reader has them."""
    folder = raw / "unpacked" / FOLDER
    return [Image.open(folder / f"{number:06d}.jpg").convert("RGB") for number in range(1, COUNT + 1)]


def by_torchvision(image: Image.Image, size: int) -> np.ndarray:
    """Shorter side to the size, then the middle."""
    scaled = np.asarray(image.resize((size, int(size * 218 / 178)), Image.Resampling.BILINEAR))
    top = round((len(scaled) - size) / 2)
    return scaled[top : top + size]


def expected(image: Image.Image, preset: str | None, size: int | None) -> np.ndarray:
    if preset == "infogan_cr":
        window = np.asarray(image)[45:173, 25:153].astype(int)
        blocks = window.reshape(32, 4, 32, 4, 3)[:, 1:3, :, 1:3]
        return (blocks.sum(axis=(1, 3)) + 2) // 4
    if preset in ("infogan", "vgan"):
        return by_torchvision(image, 32 if preset == "infogan" else 128)
    if preset == "vdb":
        return np.asarray(image.resize((128, 128), Image.Resampling.BILINEAR))
    if size is not None:
        return np.asarray(image.crop((0, 20, 178, 198)).resize((size, size), Image.Resampling.BILINEAR))
    return np.asarray(image.crop((15, 35, 163, 183)).resize((64, 64), Image.Resampling.BILINEAR))


@pytest.mark.parametrize(("preset", "size"), [*((name, None) for name in (None, *celeba.PRESETS)), (None, 48)])
def test_presets_are_those_of_the_papers(raw: Path, data_dir: Path, preset: str | None, size: int | None) -> None:
    dataset = data_gen.load("celeba", raw_dir=raw, data_dir=data_dir, preset=preset, size=size)
    assert (dataset.images_at(np.arange(COUNT)) == [expected(face, preset, size) for face in faces(raw)]).all()
    assert dataset.name == "celeba" + (f"_{preset}" if preset else "") + (f"_{size}" if size else "")
    assert dataset.source == "real subset (40)"
    miniature = data_gen.load("celeba", source="synthetic", preset=preset, size=size, num_examples=2)
    assert dataset.image_shape == miniature.image_shape


def test_a_preset_may_have_another_size(raw: Path, data_dir: Path) -> None:
    dataset = data_gen.load("celeba", raw_dir=raw, data_dir=data_dir, preset="ibgan", size=32)
    first = faces(raw)[0].crop((15, 35, 163, 183)).resize((32, 32), Image.Resampling.BILINEAR)
    assert dataset.name == "celeba_ibgan_32"
    assert (dataset.images_at([0])[0] == np.asarray(first)).all()
    with pytest.raises(UserError, match="this preset cuts 148 pixels out"):
        data_gen.load("celeba", raw_dir=raw, data_dir=data_dir, preset="ibgan", size=160)


def test_attributes_are_those_of_the_text_file(raw: Path, data_dir: Path) -> None:
    dataset = data_gen.load("celeba", raw_dir=raw, data_dir=data_dir, identity=True)
    lines = (raw / ATTRIBUTES_FILE).read_text().splitlines()
    assert dataset.factor_names == (*lines[1].split(), "identity")
    assert all(factor.kind == "discrete" for factor in dataset.factors)
    assert {factor.size for factor in dataset.factors[:40]} == {2}
    for number, line in enumerate(lines[2:]):
        values = [int(field) for field in line.split()[1:]]
        assert dataset.values_at([number])[0, :40].tolist() == values
        assert dataset.factors_at([number])[0, :40].tolist() == [(value + 1) // 2 for value in values]
    persons = [int(line.split()[1]) for line in (raw / IDENTITY_FILE).read_text().splitlines()]
    assert dataset.factors_at(np.arange(COUNT))[:, 40].tolist() == persons
    with pytest.raises(UserError, match="is no full grid of factors"):
        dataset.sample(np.random.default_rng(0), 3)


def test_both_ways_to_read_the_attributes_agree(raw: Path) -> None:
    text = (raw / ATTRIBUTES_FILE).read_text()
    slow = read_table(text, "x", lambda row: True, 40)
    for same in (text, text.replace("\n", "\r\n"), text.replace("  1", " 1"), text.rstrip(), text.partition("\n")[2]):
        quick = _read_attributes_at_once(same)
        assert quick is not None
        assert quick.rows == slow.rows
        assert (quick.values == slow.values).all()
    lines = text.splitlines()
    for other in (
        text.replace(" -1", " -2", 1),
        text.replace(" -1", " -11", 1),
        text.replace(" -1", "", 1),
        text.replace("000003.jpg", "00003.jpg"),
        text.replace("000003.jpg", "000003.gif"),
        text.replace("000003.jpg", "000004.jpg"),
        text.replace("40\n", "41\n", 1),
        text.replace("Young", "Old"),
        text.replace(f"{lines[4]}\n", lines[4] + " "),
        text.replace(" -1", "\n -1", 1),
        "",
        "40\n",
    ):
        assert _read_attributes_at_once(other) is None


def test_splits_are_those_of_the_text_file(raw: Path, data_dir: Path) -> None:
    part = [int(line.split()[1]) for line in (raw / PARTITION_FILE).read_text().splitlines()]
    whole = data_gen.load("celeba", raw_dir=raw, data_dir=data_dir)
    for number, name in enumerate(("train", "validation", "test")):
        dataset = data_gen.load("celeba", raw_dir=raw, data_dir=data_dir, split=name)
        numbers = np.flatnonzero(np.array(part) == number)
        assert dataset.name == f"celeba_{name}"
        assert (dataset.images_at(np.arange(len(numbers))) == whole.images_at(numbers)).all()
        assert (dataset.factors_at(np.arange(len(numbers))) == whole.factors_at(numbers)).all()
        limited = data_gen.load("celeba", raw_dir=raw, data_dir=data_dir, split=name, limit=3)
        cold = data_gen.load("celeba", raw_dir=raw, data_dir=data_dir / "cold", split=name, limit=3)
        assert limited.name == cold.name == f"celeba_{name}_limit3"
        assert limited.fingerprint() == cold.fingerprint()
        assert limited.images_at([0])[0].tobytes() in {image.tobytes() for image in whole.images_at(numbers)}
    train = data_gen.load("celeba", raw_dir=raw, data_dir=data_dir, split="train")
    assert train.held_out is not None
    assert train.held_out.num_examples == 4
    assert whole.held_out is None


@pytest.mark.parametrize("where", ["the zip", "the folder", "a folder above", "the images themselves"])
def test_whatever_is_given_is_understood(raw: Path, tmp_path: Path, where: str) -> None:
    given = {
        "the zip": raw / "img_align_celeba.zip",
        "the folder": raw / "unpacked" / FOLDER,
        "a folder above": raw / "unpacked",
        "the images themselves": tmp_path / "other_name",
    }[where]
    if where == "the images themselves":
        shutil.copytree(raw / "unpacked" / FOLDER, given)
    dataset = data_gen.load("celeba", raw_dir=given, data_dir=tmp_path / "data")
    assert dataset.num_examples == COUNT
    assert bool(dataset.factors) == (where != "the images themselves")


def test_one_archive_of_everything_and_spreadsheets_serve_too(raw: Path, tmp_path: Path) -> None:
    images = [
        (f"celeba/images/{path.name}", path.read_bytes()) for path in sorted((raw / "unpacked" / FOLDER).iterdir())
    ]
    table = (raw / ATTRIBUTES_FILE).read_text()
    (tmp_path / "one").mkdir()
    write_zip(tmp_path / "one" / "celeba.zip", [*images, (f"celeba/{ATTRIBUTES_FILE}", table.encode())])
    whole = data_gen.load("celeba", raw_dir=raw, data_dir=tmp_path / "data")
    one = data_gen.load("celeba", raw_dir=tmp_path / "one", data_dir=tmp_path / "data one")
    assert one.fingerprint() == whole.fingerprint()
    lines = table.splitlines()
    (tmp_path / "two").mkdir()
    commas = [",".join(["image_id", *lines[1].split()]), *(",".join(line.split()) for line in lines[2:])]
    (tmp_path / "two" / "list_attr_celeba.csv").write_text("\r\n".join(commas))
    (tmp_path / "two" / "list_eval_partition.csv").write_text(
        "image_id,partition\n" + (raw / PARTITION_FILE).read_text().replace(" ", ",")
    )
    shutil.copytree(raw / "unpacked" / FOLDER, tmp_path / "two" / FOLDER / FOLDER)
    two = data_gen.load("celeba", raw_dir=tmp_path / "two", data_dir=tmp_path / "data two", split="train")
    assert two.subset(np.arange(9), "x").fingerprint() == whole.subset(np.arange(9), "x").fingerprint()


def _changed(name: str, change: Any, raw: Path, tmp_path: Path) -> Path:
    for file in (ATTRIBUTES_FILE, PARTITION_FILE, IDENTITY_FILE, "img_align_celeba.zip"):
        shutil.copy(raw / file, tmp_path / file)
    text = (tmp_path / name).read_text()
    (tmp_path / name).write_text(change(text))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (ATTRIBUTES_FILE, lambda text: text[:3000], "is no image with 40 values|are announced; it is cut off"),
        (ATTRIBUTES_FILE, lambda text: "\n".join(text.splitlines()[:20]), "40 lines are announced; it is cut off"),
        (ATTRIBUTES_FILE, lambda text: text.replace(" -1", " 0", 1), "line 3: .* is no image with 40 values"),
        (ATTRIBUTES_FILE, lambda text: text.replace("Young", "Old"), "not those of CelebA"),
        (ATTRIBUTES_FILE, lambda text: text + text.splitlines()[5] + "\n", "000004.jpg is there twice"),
        (ATTRIBUTES_FILE, lambda text: "<!DOCTYPE html><html>", "is a web page and no table"),
        (ATTRIBUTES_FILE, lambda text: "", "has lines for 0 images"),
        (ATTRIBUTES_FILE, lambda text: text + "hello there\n", "line 43: 'hello there' does not begin with an image"),
        (
            ATTRIBUTES_FILE,
            lambda text: text.replace("40\n", "39\n", 1).replace(text.splitlines()[-1], ""),
            "has no line for 1 of 40 images, such as .*000040.jpg",
        ),
        (PARTITION_FILE, lambda text: text.replace(" 0\n", " 3\n", 1), "line 1: .* is no image with 1 values"),
        (PARTITION_FILE, lambda text: text.replace(" 0\n", " zero\n", 1), "line 1"),
    ],
)
def test_damaged_text_files_are_told(name: str, change: Any, message: str, raw: Path, tmp_path: Path) -> None:
    folder = _changed(name, change, raw, tmp_path)
    with pytest.raises(UserError, match=message):
        data_gen.load("celeba", raw_dir=folder, data_dir=tmp_path / "data")


def test_what_is_missing_is_told_with_where_to_get_it(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no img_align_celeba.zip .*mmlab.*Google Drive by hand.*put it into .*empty"):
        data_gen.load("celeba", raw_dir=tmp_path / "empty")
    (tmp_path / "alone").mkdir()
    shutil.copy(raw / "img_align_celeba.zip", tmp_path / "alone")
    dataset = data_gen.load("celeba", raw_dir=tmp_path / "alone", data_dir=tmp_path / "data")
    assert dataset.factors == ()
    for options, name in (({"split": "test"}, PARTITION_FILE), ({"identity": True}, IDENTITY_FILE)):
        with pytest.raises(UserError, match=f"no {name} in .*, which .* needs: download it"):
            data_gen.load("celeba", raw_dir=tmp_path / "alone", data_dir=tmp_path / "data", **options)
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "img_align_celeba.zip").write_bytes(b"<!DOCTYPE html><html>Quota exceeded")
    with pytest.raises(UserError, match="is a web page and no archive"):
        data_gen.load("celeba", raw_dir=tmp_path / "page", data_dir=tmp_path / "data")


def test_other_images_are_not_taken_for_faces(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    shutil.copytree(raw / "unpacked" / FOLDER, folder)
    Image.new("RGB", (178, 219)).save(folder / "000007.jpg")
    with pytest.raises(UserError, match=r"1 other size: 000007\.jpg"):
        data_gen.load("celeba", raw_dir=folder, data_dir=tmp_path / "data")
    dataset = data_gen.load("celeba", raw_dir=folder, data_dir=tmp_path / "data", tolerance=0.05)
    whole = data_gen.load("celeba", raw_dir=raw, data_dir=tmp_path / "data two")
    assert (dataset.images_at(np.arange(39)) == whole.images_at(np.delete(np.arange(40), 6))).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "vbd"}, "unknown preset 'vbd'; did you mean 'vdb'"),
        ({"split": "val"}, "unknown split 'val' of celeba"),
        ({"size": 0}, "size is 0"),
        ({"num_examples": 0}, "give at least 1"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        data_gen.load("celeba", source="synthetic", **options)


def test_the_command_writes_splits_that_tfds_opens(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tensorflow_datasets as tfds

    arguments = ["x", "--raw_dir", str(raw), "--data_dir", str(tmp_path), "--preset", "infogan_cr", "--identity", "yes"]
    monkeypatch.setattr("sys.argv", arguments)
    for _ in range(2):
        celeba.main()
        assert "40 images read" in capsys.readouterr().out
    builder = tfds.builder_from_directory(str(tmp_path / "celeba_infogan_cr" / "1.0.0"))
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        "train": 32,
        "validation": 4,
        "test": 4,
    }
    dataset = data_gen.load("celeba", raw_dir=raw, data_dir=tmp_path, preset="infogan_cr", identity=True)
    read: list[Any] = []
    for split in ("train", "validation", "test"):
        read += tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False))
    assert [example["id"].decode() for example in read] == [f"{number:06d}" for number in range(COUNT)]
    for number, example in enumerate(read):
        assert (example["image"] == dataset.images_at([number])[0]).all()
        assert [example[f"label_{name}"] for name in dataset.factor_names] == dataset.factors_at([number])[0].tolist()
        assert [example[f"value_{name}"] for name in ATTRIBUTES] == dataset.values_at([number])[0, :40].tolist()


def test_the_command_writes_one_split_and_what_it_holds_out(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow_datasets as tfds

    arguments = ["x", "--raw_dir", str(raw), "--data_dir", str(tmp_path), "--size", "16", "--split", "train"]
    monkeypatch.setattr("sys.argv", arguments)
    celeba.main()
    builder = tfds.builder_from_directory(str(tmp_path / "celeba_16_train" / "1.0.0"))
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 32, "test": 4}
    train = data_gen.load("celeba", raw_dir=raw, data_dir=tmp_path, size=16, split="train")
    assert train.held_out is not None
    for number, example in enumerate(tfds.as_numpy(builder.as_dataset(split="test", shuffle_files=False))):
        assert (example["image"] == train.held_out.images_at([number])[0]).all()


def test_the_miniature_knows_its_attributes() -> None:
    dataset = data_gen.load("celeba", source="synthetic", num_examples=60)
    assert dataset.factor_names == ATTRIBUTES
    pixels, attributes = drawn_faces(60, 0)
    assert (dataset.images_at(np.arange(60)) == pixels).all()
    assert (dataset.values_at(np.arange(60)) == attributes).all()
    blond = attributes[:, ATTRIBUTES.index("Blond_Hair")] == 1
    dark = attributes[:, ATTRIBUTES.index("Black_Hair")] == 1
    top = pixels[:, 10:16, 28:36].mean(axis=(1, 2, 3))
    assert blond.any()
    assert dark.any()
    assert top[blond].mean() > top[dark].mean()
    assert data_gen.load("celeba", source="synthetic", preset="vdb").image_shape == (128, 128, 3)


def test_a_jpeg_with_a_comment_is_read_alike(raw: Path) -> None:
    """Both ways into the decoder, the quick and the careful one, give the same pixels."""
    face = faces(raw)[0]
    quick, careful = io.BytesIO(), io.BytesIO()
    face.save(quick, "JPEG", quality=80)
    face.save(careful, "JPEG", quality=80, exif=Image.Exif().tobytes() or b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    picture = celeba.picture_of("ibgan", None)
    assert (picture(quick.getvalue()) == picture(careful.getvalue())).all()


@pytest.mark.parametrize("kept", [False, True])
def test_a_limited_part_holds_images_out_too(raw: Path, tmp_path: Path, kept: bool) -> None:
    whole = data_gen.load(
        "celeba", raw_dir=raw, data_dir=tmp_path if kept else tmp_path / "other", size=16, split="train"
    )
    part = data_gen.load("celeba", raw_dir=raw, data_dir=tmp_path, size=16, split="train", limit=3)
    assert whole.held_out is not None
    assert part.held_out is not None
    assert part.num_examples == part.held_out.num_examples == 3
    tested = whole.held_out.files_at(range(whole.held_out.num_examples))
    assert set(part.held_out.files_at(range(3)) or ()) < set(tested or ())


def test_an_empty_part_is_told_and_is_nothing_to_hold_out(raw: Path, tmp_path: Path) -> None:
    shutil.copytree(raw / "unpacked", tmp_path / "raw")
    file = tmp_path / "raw" / PARTITION_FILE
    file.write_text("".join(f"{line.split()[0]} 0\n" for line in file.read_text().splitlines()))
    for limit, message in ((2, r"none of 40 images belongs to this part"), (None, "none of the images belongs")):
        with pytest.raises(UserError, match=message):
            data_gen.load("celeba", raw_dir=tmp_path / "raw", data_dir=tmp_path, size=16, split="test", limit=limit)
        part = data_gen.load("celeba", raw_dir=tmp_path / "raw", data_dir=tmp_path, size=16, split="train", limit=limit)
        assert part.held_out is None


@pytest.mark.parametrize("first", ["²", "9" * 5000])
def test_a_strange_first_line_is_no_traceback(first: str) -> None:
    with pytest.raises(UserError, match="lines for 0 images"):
        read_table(f"{first}\n", "file.txt", lambda row: True)


def test_a_person_has_a_number_of_a_sensible_size(raw: Path, tmp_path: Path) -> None:
    folder = _changed(IDENTITY_FILE, lambda text: text.replace(text.split()[1], "9" * 20, 1), raw, tmp_path)
    with pytest.raises(UserError, match="is no image with 1 values as they should be"):
        data_gen.load("celeba", raw_dir=folder, data_dir=tmp_path / "data", identity=True)
