"""Any folder or archive of images: read once, on all cores, kept whole or not at all, with an account of bad files."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import data_gen
from common.errors import UserError
from data_gen import image_folder, image_set
from data_gen.archives import BadFileError
from data_gen.crops import Picture
from data_gen.image_command import plan_of_images
from data_gen.image_folder import name_of
from data_gen.image_miniatures import drawn_scenes, jpeg, png, write_folder, write_tar, write_zip
from data_gen.image_set import REASONS, Reading, in_order, read_images

ROOT = Path(__file__).resolve().parents[1]
SCENES, KINDS = drawn_scenes(40, 0)


def files(count: int = 40, bad: dict[int, bytes] | None = None) -> list[tuple[str, bytes]]:
    """Scenes as PNG files in a folder for each kind, some of them replaced."""
    named = [(f"kind_{KINDS[number]}/{number}.png", png(SCENES[number])) for number in range(count)]
    for number, data in (bad or {}).items():
        named[number] = (named[number][0], data)
    return named


def loaded(path: Path, tmp_path: Path, **options: Any) -> Any:
    return data_gen.load("image_folder", path=path, data_dir=tmp_path / "data", **options)


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(image_set, "open_container", refuse)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz"])
def test_the_same_set_from_any_container(kind: str, tmp_path: Path) -> None:
    write = {"folder": write_folder, "zip": write_zip}.get(kind, write_tar)
    path = write(tmp_path / ("My Set" if kind == "folder" else f"My Set.{kind}"), files())
    dataset = loaded(path, tmp_path, labels_from_folders=True)
    assert (dataset.name, dataset.source, dataset.image_shape) == ("my_set", "files", (64, 64, 3))
    # In the order of the names: folder by folder.
    order = sorted(range(40), key=lambda number: (KINDS[number], number))
    assert (dataset.images_at(np.arange(40)) == SCENES[order]).all()
    assert dataset.factor_names == ("label",)
    assert dataset.factors_at(np.arange(40))[:, 0].tolist() == KINDS[order].tolist()
    assert dataset.is_mapped
    assert "0 kind_0, 1 kind_1, 2 kind_2" in dataset.description
    assert dataset.class_names == dataset.limited(9).class_names == ("kind_0", "kind_1", "kind_2")
    assert loaded(path, tmp_path).factors == ()


def test_what_was_read_is_kept(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = write_zip(tmp_path / "a.zip", files())
    first = loaded(path, tmp_path)
    limited_cold = loaded(path, tmp_path / "other", limit=7)
    request.getfixturevalue("no_reading")
    again = loaded(path, tmp_path)
    assert again.fingerprint() == first.fingerprint()
    limited = loaded(path, tmp_path, limit=7)
    assert limited.name == limited_cold.name == "a_limit7"
    assert limited.fingerprint() == limited_cold.fingerprint()
    assert loaded(path, tmp_path, limit=50).name == "a"
    with pytest.raises(AssertionError, match="read again"):
        loaded(path, tmp_path, size=32)


def test_changed_files_are_read_again(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", files())
    first = loaded(folder, tmp_path).fingerprint()
    (folder / "kind_0" / "0.png").write_bytes(png(SCENES[1]))
    assert loaded(folder, tmp_path).fingerprint() != first


def test_only_so_many_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    original = image_set.read_batch

    def counting(container: Any, picture: Any, members: Any) -> Any:
        decoded.extend(members)
        return original(container, picture, members)

    monkeypatch.setattr(image_set, "read_batch", counting)
    dataset = loaded(write_zip(tmp_path / "a.zip", files()), tmp_path, limit=5)
    assert (len(decoded), dataset.num_examples) == (5, 5)
    for _ in range(2):
        assert loaded(tmp_path / "a.zip", tmp_path, limit=41).name == "a"


BAD = {3: b"", 10: b"<html>", 20: jpeg(SCENES[0])[:-300]}


def test_unusable_files_are_left_out_and_told(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", [*files(bad=BAD), ("notes.txt", b"x")])
    for _ in range(2):
        dataset = loaded(path, tmp_path, tolerance=0.1, labels_from_folders=True)
        assert dataset.num_examples == 37
        account = dataset.account
        assert account.skipped == {
            "empty file": ["kind_0/3.png"],
            "no image": ["kind_1/10.png"],
            "truncated": ["kind_2/20.png"],
        }
        assert account.summary().startswith("37 images read; 3 files left out (1 empty file: kind_0/3.png; 1 no image")
        assert account.summary().endswith("1 files that are no images passed over")
        assert "Left out: 1 empty file: kind_0/3.png" in dataset.description
        order = [n for n in sorted(range(40), key=lambda number: (KINDS[number], number)) if n not in BAD]
        assert (dataset.images_at(np.arange(37)) == SCENES[order]).all()
        assert dataset.factors_at(np.arange(37))[:, 0].tolist() == KINDS[order].tolist()
    batch = next(iter(dataset.training_pipeline(37, 0))).numpy()
    assert (np.sort(batch.sum(axis=(1, 2, 3))) > 0).all()
    with pytest.raises(UserError, match=r"3 of 40 images cannot be used, more than the 1.00% that may be: 1 empty"):
        loaded(path, tmp_path)
    with pytest.raises(UserError, match="tolerance is 2"):
        loaded(path, tmp_path, tolerance=2)


def test_names_that_are_no_text_are_told_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "set", files(6))
    for name in (b"\xff\xfe.jpg", b"a\nb.jpg"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"x")
    for _ in range(2):
        dataset = loaded(folder, tmp_path, tolerance=0.5)
        assert dataset.account.num_skipped == 2
        plan = plan_of_images(dataset, "1.0.0")
        assert "\n" not in plan.description.encode().decode()
        assert len(capsys.readouterr().out.splitlines()) == 1


def test_too_many_unusable_files_stop_early_and_leave_nothing(tmp_path: Path) -> None:
    bad = dict.fromkeys(range(40), b"x")
    path = write_folder(tmp_path / "set", [*files(bad=bad), *(("z/" + n, d) for n, d in files())])
    with pytest.raises(UserError, match=r"of 80 images cannot be used \(of the first 32\)"):
        loaded(path, tmp_path)
    assert not (tmp_path / "data").exists()
    with pytest.raises(UserError, match="40 of 40 images cannot be used"):
        loaded(write_folder(tmp_path / "bad", files(bad=bad)), tmp_path, tolerance=1.0)


def test_every_reason_of_the_readers_is_known() -> None:
    sources = "".join((ROOT / "data_gen" / name).read_text() for name in ("archives.py", "image_files.py", "crops.py"))
    told = {part.split('"')[0] for part in sources.split('BadFileError("')[1:]}
    told |= {part.split('"')[0] for part in sources.split('problem="')[1:]} | {"link", "no plain file", "encrypted"}
    assert told - {""} <= set(REASONS)
    assert len(set(REASONS)) == len(REASONS) < 256


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "it holds no files at all"),
        (["a.txt", "b.csv"], "it holds 2 files, such as a.txt, b.csv"),
        (["images.zip"], "but an archive; give that itself: .*/images.zip"),
    ],
)
def test_no_image_is_an_error(names: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_folder(tmp_path / "set", [(name, b"x") for name in names])
    with pytest.raises(UserError, match=message):
        loaded(tmp_path / "set", tmp_path)


def _script(tmp_path: Path, name: str, arrange: str) -> subprocess.CompletedProcess[bytes]:
    """Runs the command with a function that ends the process after some calls, as by `kill -9`."""
    code = (
        "import os, signal, sys\nfrom data_gen import image_folder, image_set, packed, tfrecord\n"
        "def after(count, function):\n    calls = []\n    def counted(*given, **named):\n        calls.append(1)\n"
        "        if len(calls) > count: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return function(*given, **named)\n"
        f"    return counted\n{arrange}\n"
        f"sys.argv = ['x', '--path', {str(tmp_path / name)!r}, '--data_dir', {str(tmp_path / 'data')!r}, '--shards', "
        "'4']\nimage_folder.main()\n"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)


def test_killed_at_any_stage_it_is_never_taken_for_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "set", [(f"{copy}/{name}", data) for copy in range(4) for name, data in files()])
    folder = tmp_path / "data" / "set"
    killed = _script(tmp_path, "set", "image_set.read_batch = after(2, image_set.read_batch)")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = [each.name for each in folder.iterdir()]
    assert not any(name.endswith((".npy", ".json")) for name in left)
    killed = _script(tmp_path, "set", "packed.write_text = after(0, packed.write_text)")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    # The array is there, but nothing vouches for it.
    assert [each.suffix for each in folder.iterdir() if each.suffix in (".npy", ".json")] == [".npy"]
    killed = _script(tmp_path, "set", "tfrecord._serialized = after(90, tfrecord._serialized)")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (folder / "1.0.0").exists()
    shards = {path: path.stat().st_mtime_ns for path in (folder / ".1.0.0.partial").glob("set-*")}
    assert len(shards) == 2
    arguments = ["x", "--path", str(tmp_path / "set"), "--data_dir", str(tmp_path / "data"), "--shards", "4"]
    monkeypatch.setattr("sys.argv", arguments)
    image_folder.main()
    assert {folder / "1.0.0" / path.name: when for path, when in shards.items()} == {
        path: path.stat().st_mtime_ns for path in (folder / "1.0.0" / path.name for path in shards)
    }
    assert sorted(each.name for each in folder.iterdir() if each.suffix not in (".npy", ".json")) == ["1.0.0"]
    dataset = loaded(tmp_path / "set", tmp_path)
    assert dataset.num_examples == 160
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(folder / "1.0.0"))
    # TFDS reads several shards in turns.
    read = list(tfds.as_numpy(builder.as_dataset(split="train", shuffle_files=False)))
    read.sort(key=lambda example: int(example["id"]))
    assert (np.stack([example["image"] for example in read]) == dataset.images_at(np.arange(160))).all()
    assert [example["file"].decode() for example in read] == dataset.files_at(np.arange(160))


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_folder(tmp_path / "set", files())

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "write_array_header_1_0", full)
        with pytest.raises(UserError, match="the disk is full"):
            loaded(path, tmp_path)
    assert not (tmp_path / "data").exists()
    assert loaded(path, tmp_path).num_examples == 40


@pytest.mark.parametrize("preset", image_folder.PRESETS)
def test_presets(preset: str, tmp_path: Path) -> None:
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 40:] = 255
    path = write_folder(tmp_path / "set", [("a.png", png(wide)), ("b.png", png(wide[:, ::-1].copy()))])
    dataset = loaded(path, tmp_path, preset=preset, size=20)
    image = Image.fromarray(wide)
    if preset == "vdb":
        expected = np.asarray(image.resize((20, 20), Image.Resampling.BILINEAR))
    else:
        expected = np.asarray(image.resize((40, 20), Image.Resampling.BILINEAR))[:, 10:30]
    assert (dataset.images_at([0])[0] == expected).all()
    assert loaded(path, tmp_path, preset=preset).image_shape[0] == image_folder.PRESETS[preset].size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "ibgna"}, "unknown preset 'ibgna'"),
        ({"preset": "vdb", "crop": "none"}, "leave crop, filter and background out"),
        ({"size": -3}, "size is -3"),
        ({"channels": 4}, "channels is 4"),
        ({"crop": "centre"}, "crop is 'centre'"),
        ({"called": "a b"}, "letters, digits and underscores"),
        ({"path": "/no/such"}, "/no/such: no such file or folder; give the folder or archive"),
        ({"labels_from_folders": True}, "all images lie in one folder"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", [("a.png", png(SCENES[0])), ("b.png", png(SCENES[1]))])
    with pytest.raises(UserError, match=message):
        data_gen.load("image_folder", data_dir=tmp_path / "data", **{"path": path, **options})


def test_options_change_the_images(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", files(6))
    gray = loaded(path, tmp_path, channels=1, size=16, called="grays")
    assert (gray.name, gray.image_shape) == ("grays", (16, 16, 1))
    first = np.asarray(Image.fromarray(SCENES[0]).convert("L").resize((16, 16), 2))
    assert (gray.images_at([0])[0, :, :, 0] == first).all()
    assert loaded(path, tmp_path, crop=40).images_at([0]).std() > 0


@pytest.mark.parametrize(
    ("path", "name"),
    [("My Cats!", "my_cats"), ("a/b.tar.gz", "b"), ("2019 faces.zip", "images_2019_faces"), ("äö", "images")],
)
def test_names(path: str, name: str) -> None:
    assert name_of(Path(path)) == name


def test_the_miniature_has_labels_if_asked() -> None:
    dataset = image_folder.synthetic(labels=True, size=32, channels=1)
    assert dataset.image_shape == (32, 32, 1)
    assert dataset.factors_at([0, 1, 2])[:, 0].tolist() == [0, 1, 2]


def test_work_is_done_in_order_and_errors_come_through() -> None:
    assert list(in_order(lambda number: number * 2, range(100), workers=3)) == list(range(0, 200, 2))

    def fails(number: int) -> int:
        if number == 5:
            raise BadFileError("x")
        return number

    with pytest.raises(BadFileError):
        list(in_order(fails, range(100), workers=2))


def test_a_kept_array_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", files(4))
    reading = Reading(path, Picture((8, 8)))
    cache = tmp_path / "data" / "a.npy"
    read_images(reading, cache)
    with open(cache, "r+b") as handle:
        handle.seek(-192, os.SEEK_END)
        handle.write(b"\xff")
    with pytest.raises(UserError, match="made by a later version"):
        read_images(reading, cache)


def test_images_know_their_files_also_where_some_are_broken_or_left_out(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", files(bad={7: b"", 11: b"no image"}))
    dataset = loaded(path, tmp_path, tolerance=0.1, size=SCENES.shape[1])
    expected = sorted(f"kind_{KINDS[number]}/{number}.png" for number in range(40) if number not in (7, 11))
    named = dataset.files_at(np.arange(dataset.num_examples))
    assert sorted(named) == expected
    for number, name in enumerate(named):
        scene = SCENES[int(name.rpartition("/")[2].removesuffix(".png"))]
        assert (dataset.images_at([number])[0] == scene).all()
    chosen = dataset.subset(np.array([5, 2]), "two")
    assert chosen.files_at([0, 1]) == [named[5], named[2]]
