"""3D Teapot as files: exact latents for TFDS and numpy, the same bytes however the writing went, honest records."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import teapot_renderer
from common.errors import UserError
from data_gen import teapot_command, teapot_files, teapot_recipe
from data_gen.folders import CHECKSUMS, PROGRESS, damaged_files, working_folder
from data_gen.teapot_latents import VARIANTS, published_stream
from data_gen.teapot_recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["--backend", "fast", "--image_size", "16", "--samples", "1", "--fineness", "3", "--limit", "40"]
TFRECORD = [*SMALL, "--num_groups", "3", "--shards", "4"]
NPZ = [*SMALL, "--num_groups", "3", "--format", "npz"]
NAME = "teapot_uniform_light_utah_16px_limit40"


def write(data_dir: Path, arguments: list[str]) -> Path:
    """Runs the command; returns where the set stands."""
    teapot_command.run([*arguments, "--data_dir", str(data_dir)])
    return data_dir / NAME / ("npz" if "npz" in arguments else "1.0.0")


def contents_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def in_small_steps(patch: pytest.MonkeyPatch) -> None:
    """Draws a few images at a time, and makes blocks of an `.npz` small: the bytes do not depend on either."""
    patch.setattr(teapot_recipe, "_BLOCK_IMAGES", 8)
    patch.setattr(teapot_files, "_DRAWN_PER_BLOCK", 2)


def killed_after(images: int, arguments: list[str], data_dir: Path) -> None:
    """Runs the command in this process until so many images are drawn, and ends the process as `kill -9` does."""
    patch = pytest.MonkeyPatch()
    in_small_steps(patch)
    drawn, render = 0, Recipe.images

    def dying(*given: Any) -> Iterator[np.ndarray]:
        nonlocal drawn
        for block in render(*given):
            if drawn >= images:
                os.kill(os.getpid(), signal.SIGKILL)
            drawn += len(block)
            yield block

    patch.setattr(Recipe, "images", dying)
    write(data_dir, arguments)


def kill(images: int, arguments: list[str], data_dir: Path) -> None:
    """`killed_after` in a process of its own."""
    script = (
        "from pathlib import Path; from tests.test_data_gen_teapot_files import killed_after; "
        f"killed_after({images}, {arguments!r}, Path({str(data_dir)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("shards"), TFRECORD)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("archives"), NPZ)


def test_tfds_reads_exact_latents(shards: Path, archives: Path) -> None:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(shards))
    info = builder.info
    assert info.splits["train"].num_examples == 40
    assert len(info.splits["train"].filepaths) == 4
    assert info.splits["metric"].num_examples == 300
    for said in ("uniform_light", "The mesh is a stand-in", "rendered by the fast back-end, Utah teapot"):
        assert said in info.description
    latents = published_stream(VARIANTS["uniform_light"], 1, 200_000, 3)
    order = tfds.ReadConfig(interleave_cycle_length=1)
    train = list(tfds.as_numpy(builder.as_dataset(split="train", read_config=order)))
    metric = list(tfds.as_numpy(builder.as_dataset(split="metric", read_config=order)))
    for examples, rows in ((train, latents.train[:40]), (metric, latents.groups.reshape(-1, 5))):
        assert [example["latents"].tolist() for example in examples] == rows.tolist()
        for column, name in enumerate(VARIANTS["uniform_light"].factor_names):
            values = np.array([example[f"value_{name}"] for example in examples])
            assert (values == rows[:, column].astype(np.float32)).all()
    assert {(example["group"], example["group_label"]) for example in train} == {(-1, -1)}
    assert [example["group"] for example in metric] == np.repeat([0, 1, 2], 100).tolist()
    assert [example["group_label"] for example in metric] == np.repeat([0, 1, 2], 100).tolist()
    assert train[7]["id"] == b"000007"
    assert metric[203]["id"] == b"group_002_03"
    with np.load(archives / "train_data/data.npz") as file:
        assert (file["imgs"] == [example["image"] for example in train]).all()
    with np.load(archives / "metric_data/data.npz") as file:
        assert (file["imgs"].reshape(300, 16, 16, 3) == [example["image"] for example in metric]).all()


def test_numpy_reads_the_published_layout(archives: Path) -> None:
    latents = published_stream(VARIANTS["uniform_light"], 1, 200_000, 3)
    with np.load(archives / "train_data/data.npz", allow_pickle=False) as train:
        assert (train["imgs"].dtype, train["imgs"].shape) == (np.uint8, (40, 16, 16, 3))
        assert (train["latents"] == latents.train[:40]).all()
    with np.load(archives / "metric_data/data.npz", allow_pickle=False) as metric:
        assert (metric["imgs"].dtype, metric["imgs"].shape) == (np.uint8, (3, 100, 16, 16, 3))
        assert (metric["labels"].dtype, metric["labels"].tolist()) == (np.int32, [0, 1, 2])
        assert (metric["latents"] == latents.groups).all()


def test_fractions_are_those_of_the_published_files(archives: Path, tmp_path: Path) -> None:
    folder = write(tmp_path, [*NPZ, "--npz_dtype", "float64"])
    for name in ("train_data/data.npz", "metric_data/data.npz"):
        with np.load(folder / name) as fractions, np.load(archives / name) as whole:
            assert fractions["imgs"].dtype == np.float64
            assert (fractions["imgs"] == whole["imgs"] / 255.0).all()


def test_the_record_says_who_drew_what(shards: Path, archives: Path) -> None:
    plan = json.loads((shards / CHECKSUMS).read_text())["plan"]
    with np.load(archives / "train_data/data.npz", allow_pickle=False) as file:
        provenance = json.loads(str(file["provenance"]))
    assert provenance == {**plan["contents"], **plan["provenance"]}
    assert provenance["backend"] == teapot_renderer.backend_version("fast")
    assert provenance["mesh"] == "Utah teapot, fineness 3"
    assert provenance["mesh_sha256"] == Recipe(VARIANTS["up_light"], fineness=3).loaded_mesh.fingerprint()
    assert (provenance["seed"], provenance["samples"], provenance["variant"]) == (1, 1, "uniform_light")
    assert provenance["numpy"] == np.__version__
    assert {"python", "numba", "teapot_renderer_sha256"} <= set(provenance)
    assert damaged_files(archives) == damaged_files(shards) == []


def test_the_images_are_those_of_the_renderer(archives: Path) -> None:
    recipe = Recipe(VARIANTS["uniform_light"], image_size=16, samples=1, fineness=3)
    scenes = recipe.variant.scenes(recipe.latents.train[:40])
    expected = teapot_renderer.render(recipe.loaded_mesh, scenes, size=16, backend="fast", samples=1)
    with np.load(archives / "train_data/data.npz") as file:
        assert (file["imgs"] == expected).all()
    assert expected.std() > 10


@pytest.mark.parametrize("arguments", [TFRECORD, NPZ])
def test_the_bytes_depend_neither_on_the_workers_nor_on_the_steps(
    arguments: list[str], shards: Path, archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_small_steps(monkeypatch)
    folder = write(tmp_path, [*arguments, "--workers", "3"])
    assert contents_of(folder) == contents_of(archives if "npz" in arguments else shards)


def test_killed_three_times_an_archive_is_the_same(
    archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / NAME / "npz"
    # Among the training images, after two blocks of 16; among the groups; in a block of the groups.
    for images, part, blocks in ((32, "train", 2), (8 + 128, "metric", 8), (56, "metric", 11)):
        kill(images, NPZ, tmp_path)
        assert not folder.exists()
        record = json.loads((working_folder(folder) / PROGRESS).read_text())
        assert {name: len(sums) for name, sums in record["blocks"].items()} == {f"{part}_data/data.npz": blocks}
    in_small_steps(monkeypatch)
    drawn: list[int] = []
    render = Recipe.images

    def watched(self: Recipe, latents: np.ndarray, *given: Any) -> Iterator[np.ndarray]:
        drawn.append(len(latents))
        return render(self, latents, *given)

    monkeypatch.setattr(Recipe, "images", watched)
    assert write(tmp_path, NPZ) == folder
    assert contents_of(folder) == contents_of(archives)
    # Before, the command has no image drawn, to see whether that can be.
    assert drawn == [0, 300 - 11 * 16]
    assert [path.name for path in folder.parent.iterdir()] == ["npz"]


def test_killed_among_the_groups_shards_are_the_same(shards: Path, tmp_path: Path) -> None:
    folder = tmp_path / NAME / "1.0.0"
    kill(100, TFRECORD, tmp_path)
    assert not folder.exists()
    assert len(json.loads((working_folder(folder) / PROGRESS).read_text())["files"]) == 4
    assert write(tmp_path, TFRECORD) == folder
    assert contents_of(folder) == contents_of(shards)
    assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]


@pytest.mark.parametrize("where", ["put_in_place", "write_record"])
def test_archives_stopped_at_the_end_are_whole_in_the_end(
    where: str, archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*given: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(teapot_files, where, stop)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, NPZ)
    assert not (tmp_path / NAME / "npz").exists()
    assert contents_of(write(tmp_path, NPZ)) == contents_of(archives)


def _half_done(data_dir: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """Leaves an unfinished set whose record says that this back-end has begun it."""

    def stop(*given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(teapot_files, "put_in_place", stop)
        with pytest.raises(KeyboardInterrupt):
            write(data_dir, NPZ)
    progress = working_folder(data_dir / NAME / "npz") / PROGRESS
    progress.write_text(progress.read_text().replace(teapot_renderer.backend_version("fast"), backend))


def test_auto_goes_on_with_the_back_end_that_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _half_done(tmp_path, monkeypatch, teapot_renderer.backend_version("fast"))
    auto = [argument for argument in NPZ if argument not in ("--backend", "fast")]
    capsys.readouterr()
    # Elsewhere, `auto` would be another one.
    monkeypatch.setattr(
        teapot_renderer, "choose_backend", lambda name: ("fast" if name == "fast" else "opendr", "for this test")
    )
    write(tmp_path, auto)
    told = capsys.readouterr().out
    assert "back-end: fast 1, 1 samples in a pixel (it has begun this set)" in told
    assert "going on with the unfinished set" in told
    # And when it is whole, it is that set, whatever `auto` would be.
    write(tmp_path, auto)
    assert "the set that is there was drawn by it" in capsys.readouterr().out


def test_a_set_begun_by_a_missing_back_end_is_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _half_done(tmp_path, monkeypatch, "opendr 0.78")

    def choose(name: str) -> tuple[str, str]:
        if name == "opendr":
            raise UserError("OpenDR cannot be used here")
        return "fast", "for this test"

    monkeypatch.setattr(teapot_renderer, "choose_backend", choose)
    auto = [argument for argument in NPZ if argument not in ("--backend", "fast")]
    with pytest.raises(UserError, match=r"a set that opendr 0.78 has begun, .*OpenDR cannot be used.*--backend fast"):
        write(tmp_path, auto)
    write(tmp_path, NPZ)
    assert "starting anew: the unfinished set" in capsys.readouterr().out
    plan = json.loads((tmp_path / NAME / "npz" / CHECKSUMS).read_text())["plan"]
    assert plan["contents"]["backend"] == teapot_renderer.backend_version("fast")


def test_another_set_in_the_same_place_is_refused_and_replaced_on_demand(archives: Path, tmp_path: Path) -> None:
    data_dir = tmp_path
    write(data_dir, NPZ)
    with pytest.raises(UserError, match=r"another data set \(it differs in samples\); choose another --data_dir"):
        write(data_dir, [*NPZ, "--samples", "4"])
    folder = write(data_dir, [*NPZ, "--samples", "4", "--overwrite"])
    assert contents_of(folder).keys() == contents_of(archives).keys()
    assert contents_of(folder) != contents_of(archives)
    (folder / "metric_data/data.npz").write_bytes(b"")
    with pytest.raises(UserError, match=r"metric_data/data.npz missing or changed since written; --overwrite it"):
        write(data_dir, [*NPZ, "--samples", "4"])


def test_a_limit_is_a_beginning_of_the_whole(archives: Path, tmp_path: Path) -> None:
    # A flag that is given twice counts as given last.
    teapot_command.run([*NPZ, "--limit", "60", "--num_groups", "9", "--data_dir", str(tmp_path)])
    folder = tmp_path / NAME.replace("40", "60") / "npz"
    for name, kept, expected in (("train_data/data.npz", 40, 60), ("metric_data/data.npz", 3, 5)):
        with np.load(folder / name) as large, np.load(archives / name) as small:
            assert len(large["imgs"]) == expected
            assert (large["imgs"][:kept] == small["imgs"]).all()
            assert (large["latents"][:kept] == small["latents"]).all()


def test_other_numbers_of_training_images_make_other_groups(archives: Path, tmp_path: Path) -> None:
    folder = write(tmp_path, [*NPZ, "--num_train", "1000"])
    with np.load(folder / "train_data/data.npz") as other, np.load(archives / "train_data/data.npz") as base:
        assert (other["latents"][:, 0] == base["latents"][:, 0]).all()
        assert (other["latents"][:, 1] != base["latents"][:, 1]).all()
    with np.load(folder / "metric_data/data.npz") as other, np.load(archives / "metric_data/data.npz") as base:
        assert (other["latents"] != base["latents"]).any()


def test_a_set_without_groups(tmp_path: Path) -> None:
    folder = write(tmp_path, [*SMALL, "--num_groups", "0", "--format", "npz"])
    assert sorted(contents_of(folder)) == [CHECKSUMS, "train_data/data.npz"]


def test_memory_stays_flat(tmp_path: Path) -> None:
    """As fractions, the 3,000 images are 300 MB."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc, as Linux has it")
    # Not `ru_maxrss`: that of a new process starts at what its parent has.
    script = (
        "import sys; from pathlib import Path; from data_gen.teapot_command import run; run(sys.argv[1:]); "
        f"print(Path({str(status)!r}).read_text().split('VmHWM:')[1].split()[0])"
    )
    arguments = ["--backend", "fast", "--samples", "1", "--fineness", "3", "--limit", "1500", "--workers", "2"]
    arguments += ["--format", "npz", "--npz_dtype", "float64", "--data_dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    kilobytes = int(done.stdout.split()[-1])
    assert kilobytes < 350_000
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.npz")) > 290_000_000


def test_opendr_draws_the_same_with_any_number_of_workers(tmp_path: Path) -> None:
    try:
        teapot_renderer.choose_backend("opendr")
    except UserError as error:
        pytest.skip(f"needs OpenDR: {error}")
    arguments = ["opendr" if argument == "fast" else argument for argument in NPZ]
    folders = [write(tmp_path / workers, [*arguments, "--workers", workers]) for workers in ("1", "2")]
    assert contents_of(folders[0]) == contents_of(folders[1])
    plan = json.loads((folders[0] / CHECKSUMS).read_text())["plan"]
    assert plan["contents"]["backend"] == "opendr 0.78"
    assert {"opendr", "chumpy"} <= set(plan["provenance"])
