"""TFRecord shards: readable by TFDS, whole or not there, the same bytes however often the writing was stopped."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import data_gen
from common.errors import UserError
from common.locks import locked
from data_gen import dsprites, folders, tfrecord
from data_gen.command import plan_of
from data_gen.folders import PROGRESS, damaged_files
from data_gen.png import encode_png
from data_gen.tfrecord import Feature, Plan, Split, write_dataset

ROOT = Path(__file__).resolve().parents[1]


def small_plan(count: int = 20, shards: int | None = 5, contents: str = "one", stop_at: int | None = None) -> Plan:
    """A plan whose examples end the process, as by `kill -9`, when one number is reached."""

    def examples(start: int, stop: int) -> Iterator[tfrecord.Example]:
        for number in range(start, stop):
            if number == stop_at:
                os.kill(os.getpid(), signal.SIGKILL)
            image = np.full((4, 5, 3), number, np.uint8)
            yield {"image": encode_png(image), "label_a": number % 4, "value_a": number / 3, "id": f"number {number}"}

    return Plan(
        name="small",
        version="1.2.3",
        features={
            "image": Feature("image", shape=(4, 5, 3)),
            "label_a": Feature("label", num_classes=4),
            "value_a": Feature("float"),
            "id": Feature("text"),
        },
        splits=(Split("train", count, examples, shards),),
        contents=contents,
        description="Numbers as pictures. Source: test.",
        homepage="https://example.org",
    )


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(small_plan(), tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("shape", [(64, 64, 1), (5, 7, 3), (1, 1, 1)])
def test_png_round_trip(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    decoded = np.asarray(Image.open(io.BytesIO(encode_png(image))))
    assert (decoded.reshape(shape) == image).all()


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 1))])
def test_png_refuses_other_arrays(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        encode_png(image)


def test_tfds_reads_what_was_written(written: Path) -> None:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(written))
    assert builder.info.splits["train"].num_examples == 20
    assert builder.info.splits["train"].shard_lengths == [4] * 5
    assert builder.info.description == "Numbers as pictures. Source: test."
    assert str(builder.version) == "1.2.3"
    examples = list(tfds.as_numpy(builder.as_dataset(split="train", shuffle_files=False)))
    for number, example in enumerate(examples):
        assert (example["image"] == np.full((4, 5, 3), number)).all()
        assert example["label_a"] == number % 4
        assert example["value_a"] == np.float32(number / 3)
        assert example["id"] == f"number {number}".encode()
    assert len(examples) == 20


def test_dsprites_has_the_schema_of_tfds(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    dataset = dsprites.synthetic().limited(40)
    assert isinstance(dataset, dsprites.Dsprites)
    folder = write_dataset(plan_of(dataset, "2.1.0"), tmp_path)
    builder = tfds.builder("dsprites_synthetic_limit40", data_dir=str(tmp_path))
    published = tfds.builder("dsprites:2.1.0", data_dir=str(tmp_path)).info.features
    features = tfds.builder_from_directory(str(folder)).info.features
    assert set(features) == set(published)
    for key, feature in published.items():
        assert (features[key].shape, features[key].dtype) == (feature.shape, feature.dtype)
        if hasattr(feature, "num_classes") and key == "label_shape":
            assert features[key].num_classes == feature.num_classes
    for number, example in enumerate(tfds.as_numpy(builder.as_dataset(split="train", shuffle_files=False))):
        assert (example["image"] == dataset.bits_at([number])[0]).all()
        labels, values = dataset.factors_at([number])[0], dataset.values_at([number])[0]
        assert [example[f"label_{name}"] for name in dataset.factor_names] == labels.tolist()
        assert [example[f"value_{name}"] for name in dataset.factor_names] == values.tolist()
        assert example["id"] == f"{number:06d}".encode()
    assert "Source: synthetic." in builder.info.description


@pytest.mark.parametrize("name", ["color_dsprites", "celeba", "chairs3d"])
def test_other_sets_are_written_too(name: str, tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    dataset = data_gen.load(name, source="synthetic", limit=5)
    builder = tfds.builder_from_directory(str(write_dataset(plan_of(dataset, "1.0.0"), tmp_path)))
    for number, example in enumerate(tfds.as_numpy(builder.as_dataset(split="train", shuffle_files=False))):
        assert (example["image"] == dataset.images_at([number])[0]).all()


def _stopped(
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    data_dir: Path,
    plan: Plan | None = None,
    overwrite: bool = False,
    module: ModuleType = tfrecord,
) -> None:
    """Writes until a function is called, and stops there as by Ctrl-C."""

    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, where, stop)
        with pytest.raises(KeyboardInterrupt):
            write_dataset(plan or small_plan(), data_dir, overwrite)


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "from pathlib import Path; from tests.test_data_gen_tfrecord import small_plan, write_dataset; "
        f"write_dataset(small_plan(stop_at=9), Path({str(tmp_path)!r}))"
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    folder = tmp_path / "small" / "1.2.3"
    assert not folder.exists()
    finished = {path.name: path.stat().st_mtime_ns for path in folder.with_name(".1.2.3.partial").glob("small-*")}
    assert len(finished) == 2
    _stopped(monkeypatch, "_serialized", tmp_path)
    assert write_dataset(small_plan(), tmp_path) == folder
    assert contents_of(folder) == contents_of(written)
    assert {name: (folder / name).stat().st_mtime_ns for name in finished} == finished
    assert [path.name for path in folder.parent.iterdir()] == ["1.2.3"]


@pytest.mark.parametrize(
    "trouble", ["interrupt before the end", "shard changed", "shard lost", "other plan", "torn record"]
)
def test_whatever_a_stopped_run_left_the_result_is_the_same(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    first = small_plan(contents="other") if trouble == "other plan" else small_plan()
    _stopped(monkeypatch, "write_info", tmp_path, first)
    working = tmp_path / "small" / ".1.2.3.partial"
    shard = working / first.file_name(first.splits[0], 2)
    if trouble == "shard changed":
        shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    elif trouble == "shard lost":
        shard.unlink()
    elif trouble == "torn record":
        (working / PROGRESS).write_text('{"plan": {')
    (working / ".small-train.tfrecord.1234.partial").write_bytes(b"half")
    assert contents_of(write_dataset(small_plan(), tmp_path)) == contents_of(written)


def test_a_whole_set_is_checked_and_kept(written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small" / "1.2.3"
    shutil.copytree(written, folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert damaged_files(folder) == []
    write_dataset(small_plan(), tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    with pytest.raises(UserError, match="holds another data set"):
        write_dataset(small_plan(contents="two"), tmp_path)
    shard = folder / small_plan().file_name(small_plan().splits[0], 1)
    shard.write_bytes(b"")
    (folder / "features.json").unlink()
    assert damaged_files(folder) == [shard.name, "features.json"]
    with pytest.raises(UserError, match=r"00001-of-00005, features.json missing or changed since written; --overwrite"):
        write_dataset(small_plan(), tmp_path)
    write_dataset(small_plan(), tmp_path, overwrite=True)
    assert contents_of(folder) == contents_of(written)
    (folder / "checksums.json").unlink()
    assert damaged_files(folder) == ["checksums.json"]


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "small" / "1.2.3"
    folder.mkdir(parents=True)
    (folder / "precious").write_text("keep")
    with pytest.raises(UserError, match="holds another data set"):
        write_dataset(small_plan(), tmp_path)
    assert [path.name for path in folder.iterdir()] == ["precious"]


def test_two_processes_do_not_write_the_same_set(tmp_path: Path) -> None:
    working = tmp_path / "small" / ".1.2.3.partial"
    working.mkdir(parents=True)
    with locked(working, wait=False), pytest.raises(UserError, match="another process is writing"):
        write_dataset(small_plan(), tmp_path)


@pytest.mark.parametrize(
    ("shards", "message"), [(0, "give a number from 1 to 20"), (21, "from 1 to 20"), (-1, "1 to 20")]
)
def test_impossible_numbers_of_shards(shards: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        write_dataset(small_plan(shards=shards), tmp_path)
    assert not list(tmp_path.iterdir())


def test_shards_share_examples_evenly() -> None:
    split = small_plan(count=10, shards=3).splits[0]
    assert [split.bounds(shard) for shard in range(3)] == [(0, 3), (3, 6), (6, 10)]
    assert small_plan(count=46_080, shards=None).splits[0].num_shards() == 1
    assert small_plan(count=737_280, shards=None).splits[0].num_shards() == 16


def test_checksums_say_what_was_written(written: Path) -> None:
    record = json.loads((written / "checksums.json").read_text())
    assert record["plan"]["contents"] == "one"
    assert len(record["files"]) == 7


@pytest.mark.parametrize(("module", "where"), [(tfrecord, "put_in_place"), (folders, "clean")])
def test_an_overwriting_run_stopped_at_its_end_leaves_a_whole_set(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, where: str
) -> None:
    write_dataset(small_plan(contents="old"), tmp_path)
    _stopped(monkeypatch, where, tmp_path, overwrite=True, module=module)
    assert damaged_files(tmp_path / "small" / "1.2.3") == []
    folder = write_dataset(small_plan(), tmp_path, overwrite=where == "put_in_place")
    assert contents_of(folder) == contents_of(written)
    assert [path.name for path in folder.parent.iterdir()] == ["1.2.3"]


def test_a_full_disk_is_an_error_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    def full(*arguments: Any) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tfrecord, "_serialized", full)
    with pytest.raises(OSError, match="no space left") as caught:
        write_dataset(small_plan(), tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / "small" / "1.2.3").exists()


def test_what_another_process_has_finished_meanwhile_is_taken(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "small" / "1.2.3"

    @contextlib.contextmanager
    def while_another_finishes(folder: Path) -> Iterator[Path]:
        with folders.working(folder) as path:
            shutil.copytree(written, place)
            yield path

    monkeypatch.setattr(tfrecord, "working", while_another_finishes)
    assert write_dataset(small_plan(stop_at=0), tmp_path) == place
    assert [path.name for path in place.parent.iterdir()] == ["1.2.3"]
