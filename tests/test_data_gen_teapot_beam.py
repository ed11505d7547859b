"""3D Teapot by Apache Beam: the same bytes as without it, nothing half-written, and plain words for what goes wrong."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import data_gen
from common.errors import UserError
from data_gen import teapot_beam, teapot_command
from data_gen.folders import CHECKSUMS, working
from data_gen.teapot_beam import teapot_builder, write_with_beam
from data_gen.teapot_latents import VARIANTS, Latents, published_stream
from data_gen.teapot_recipe import Recipe
from data_gen.tfrecord import Split
from teapot_renderer.opendr_import import INSTALL, opendr_problem

ROOT = Path(__file__).resolve().parents[1]
# 45 images do not divide evenly, and the groups have fewer shards than the training images.
TINY = [
    "--image_size",
    "16",
    "--samples",
    "1",
    "--fineness",
    "3",
    "--limit",
    "45",
    "--num_groups",
    "5",
    "--shards",
    "4",
]
FAST = ["--backend", "fast", *TINY]
NAME = "teapot_uniform_light_utah_16px_limit45"

needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None,
    reason=f"NOT TESTED: Apache Beam is not installed; run: {teapot_beam.INSTALL}",
)


def tiny(**changes: Any) -> Recipe:
    """The recipe of `TINY`."""
    variant = VARIANTS[changes.pop("variant", "uniform_light")]
    return Recipe(variant, **{"image_size": 16, "samples": 1, "fineness": 3, "limit": 45, "num_groups": 5, **changes})


def write(data_dir: Path, arguments: list[str], command: Any = teapot_beam) -> Path:
    """Runs a command; returns the only set that is there then."""
    command.run([*arguments, "--data_dir", str(data_dir)])
    (folder,) = data_dir.glob("*/*")
    return folder


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set of `FAST`, written without Beam."""
    return write(tmp_path_factory.mktemp("expected"), FAST, teapot_command)


@needs_beam
def test_the_set_is_that_of_the_other_command(expected: Path, tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    folder = write(tmp_path, FAST)
    assert folder == tmp_path / NAME / "1.0.0"
    assert contents_of(folder) == contents_of(expected)
    builder = tfds.builder_from_directory(str(folder))
    assert builder.info.splits["train"].shard_lengths == [11, 11, 11, 12]
    for split, count in (("train", 45), ("metric", 500)):
        examples = {example["id"]: example for example in tfds.as_numpy(builder.as_dataset(split=split))}
        other = tfds.builder_from_directory(str(expected)).as_dataset(split=split)
        assert len(examples) == count
        for example in tfds.as_numpy(other):
            found = examples.pop(example["id"])
            assert found.keys() == example.keys()
            assert all(np.array_equal(found[key], example[key]) for key in example)
        assert not examples
    dataset = data_gen.load(
        "teapot",
        source="prepared",
        data_dir=tmp_path,
        raw_dir=tmp_path,
        image_size=16,
        samples=1,
        fineness=3,
        limit=45,
        num_groups=5,
    )
    assert dataset.source == "rendered by the fast back-end, Utah teapot, fineness 3"


@needs_beam
def test_opendr_draws_beside_tensorflow(tmp_path: Path) -> None:
    problem = opendr_problem()
    if problem is not None:
        pytest.skip(f"NOT TESTED: OpenDR cannot be used here: {problem}; run: {INSTALL}")
    arguments = ["--backend", "opendr", "--variant", "up_light", *TINY, "--num_groups", "3"]
    by_beam = write(tmp_path / "beam", arguments)
    other = write(tmp_path / "other", [*arguments, "--workers", "1"], teapot_command)
    assert contents_of(by_beam) == contents_of(other)
    assert json.loads((by_beam / CHECKSUMS).read_text())["plan"]["contents"]["backend"] == "opendr 0.78"


@needs_beam
def test_a_builder_alone_writes_the_set(expected: Path, tmp_path: Path) -> None:
    import tensorflow_datasets as tfds
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    builder = teapot_builder(tiny(), "fast 1", tmp_path, shards=4)
    config = tfds.download.DownloadConfig(beam_runner=FnApiRunner(), beam_options=PipelineOptions(flags=[]))
    builder.download_and_prepare(download_dir=tmp_path / "downloads", download_config=config)
    assert contents_of(tmp_path / NAME / "1.0.0") == contents_of(expected)
    assert builder.info.splits["metric"].num_examples == 500
    assert len(list(builder.as_dataset(split="train"))) == 45


@pytest.mark.parametrize(("count", "shards", "most"), [(1, 1, 1), (45, 4, 4), (45, 45, 45), (300, 1, 4), (97, 10, 13)])
def test_keys_lead_to_the_shards_of_the_plan(
    count: int, shards: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorflow_datasets.core.shuffle import get_bucket_number

    def examples(start: int, stop: int) -> Iterator[dict[str, int]]:
        return ({"number": number} for number in range(start, stop))

    split = Split("train", count, examples, shards)
    monkeypatch.setattr(teapot_beam, "_BLOCK", 7)
    monkeypatch.setattr(teapot_beam, "_plan_of", lambda job: type("Plan", (), {"splits": (split,)}))
    draw = teapot_beam._Draw(None, "train", most)  # type: ignore[arg-type]
    keyed = [pair for block in teapot_beam._blocks(split) for pair in draw(block)]
    keys = [key for key, _ in keyed]
    assert [example["number"] for _, example in keyed] == list(range(count))
    assert keys == sorted(set(keys))
    buckets = [get_bucket_number(hkey=key, num_buckets=most, max_hkey=keys[-1]) for key in keys]
    lengths = [buckets.count(bucket) for bucket in sorted(set(buckets))]
    assert lengths == [stop - start for start, stop in map(split.bounds, range(shards))]


@needs_beam
def test_more_images_than_published_travel_light(tmp_path: Path) -> None:
    import apache_beam as beam

    recipe = tiny(variant="all_color", image_size=1, limit=None, num_train=1_200_000, num_groups=1)
    builder = teapot_builder(recipe, "fast 1", tmp_path)
    pipeline = beam.Pipeline(options=teapot_beam._options((), "DirectRunner"))
    splits = builder._split_generators(None)
    for name, draw in splits.items():
        _ = pipeline | name >> draw
    # The latents alone are 48 MB, those of a block 40 kB.
    assert pipeline.to_runner_api().ByteSize() < 300_000

    plan = teapot_beam.tfrecord_plan(recipe, "fast 1")
    job = teapot_beam._job(recipe, "fast 1", None, plan, builder.data_path / "latents")
    data = pickle.dumps(teapot_beam._Draw(job, "train", 120))
    assert len(data) < 100_000
    blocks = list(teapot_beam._blocks(plan.splits[0]))
    assert (len(blocks), blocks[-1]) == (1200, (119, 1_199_000, 1_200_000))
    key, example = list(pickle.loads(data)(blocks[-1]))[-1]  # noqa: S301
    assert (key, example["id"]) == (1_199_999, "1199999")
    latents = published_stream(VARIANTS["all_color"], 1, 1_200_000, 0).train
    assert (example["latents"] == latents[-1]).all()


def killed_after(images: int, data_dir: Path) -> None:
    """Runs the command in this process until so many images are drawn, and ends the process as `kill -9` does."""
    drawn, render = 0, Recipe.images

    def dying(*given: Any, **options: Any) -> Iterator[np.ndarray]:
        nonlocal drawn
        for block in render(*given, **options):
            drawn += len(block)
            if drawn >= images:
                os.kill(os.getpid(), signal.SIGKILL)
            yield block

    Recipe.images = dying  # type: ignore[method-assign, assignment]
    write(data_dir, FAST)


@needs_beam
def test_a_killed_run_leaves_no_set_and_begins_anew(expected: Path, tmp_path: Path) -> None:
    script = f"from tests.test_data_gen_teapot_beam import *; killed_after(520, Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [path.name for path in (tmp_path / NAME).iterdir()] == [".1.0.0.partial"]
    assert not list(tmp_path.rglob("dataset_info.json"))
    # What the other command has left there would be of use to it still.
    unfinished = tmp_path / NAME / ".1.0.0.partial" / "progress.json"
    unfinished.write_text("{}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teapot_beam, "write_info", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write(tmp_path, FAST)
    assert unfinished.is_file()
    assert not list(tmp_path.rglob("dataset_info.json"))
    assert contents_of(write(tmp_path, FAST)) == contents_of(expected)
    assert [path.name for path in (tmp_path / NAME).iterdir()] == ["1.0.0"]


@needs_beam
def test_a_set_that_is_there(
    expected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(expected, tmp_path / NAME / "1.0.0")
    with monkeypatch.context() as patch:
        patch.setattr(teapot_beam._Pipeline, "write", None)
        write(tmp_path, ["--backend", "auto", *TINY])
        assert (
            "back-end: fast 1, 1 samples in a pixel (the set that is there was drawn by it)" in capsys.readouterr().out
        )
        with pytest.raises(UserError, match=r"holds another data set \(it differs in description, samples\)"):
            write(tmp_path, [*FAST, "--samples", "4"])
        with working(tmp_path / NAME / "1.0.0"), pytest.raises(UserError, match="another process is writing"):
            write(tmp_path, [*FAST, "--overwrite"])
    # Several threads draw and write; and a set of other contents is replaced.
    changed = [*FAST, "--num_groups", "0", "--overwrite", "--beam_pipeline_options"]
    write(tmp_path, [*changed, "direct_num_workers=2,direct_running_mode=multi_threading"])
    train = f"{NAME}-train.tfrecord-00002-of-00004"
    assert (tmp_path / NAME / "1.0.0" / train).read_bytes() == (expected / train).read_bytes()
    assert not list(tmp_path.rglob("*metric*"))


@needs_beam
def test_a_set_at_an_address(expected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert teapot_beam._is_address("gs://bucket/data")
    assert not teapot_beam._is_address("data")
    # As if the folder were one: nothing is locked, moved by us, or mapped into memory.
    monkeypatch.setattr(teapot_beam, "_is_address", lambda path: True)
    monkeypatch.setattr(teapot_beam, "working", None)
    for _ in range(2):
        assert write_with_beam(tiny(), "fast 1", tmp_path, shards=4) == str(tmp_path / NAME / "1.0.0")
    folder = tmp_path / NAME / "1.0.0"
    assert contents_of(folder) == contents_of(expected)
    assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]
    for recipe, overwrite in ((tiny(), True), (tiny(samples=4), False)):
        with pytest.raises(UserError, match="is there; remove it, or choose another --data_dir"):
            write_with_beam(recipe, "fast 1", tmp_path, shards=4, overwrite=overwrite)
    (folder / CHECKSUMS).unlink()
    with pytest.raises(UserError, match="is there; remove it"):
        write_with_beam(tiny(), "fast 1", tmp_path, shards=4)


def test_a_worker_with_other_versions_draws_nothing(tmp_path: Path) -> None:
    recipe = tiny()
    plan = teapot_beam.tfrecord_plan(recipe, "fast 1", shards=4)
    job = teapot_beam._job(recipe, "fast 1", 4, plan, tmp_path / "latents")
    assert teapot_beam._plan_of(job).record() == plan.record()
    record = json.loads(job.record)
    record["provenance"]["numba"] = "0.1"
    record["contents"]["mesh_sha256"] = "0"
    other = dataclasses.replace(job, record=json.dumps(record))
    with pytest.raises(
        UserError, match="a worker differs from the machine that launched it in mesh_sha256, numba; give"
    ):
        teapot_beam._plan_of(other)


@needs_beam
@pytest.mark.parametrize("mode", ["in_memory", "multi_threading"])
def test_what_workers_complain_about_is_one_line(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(job: Any) -> None:
        raise UserError("a worker differs: what?")

    monkeypatch.setattr(teapot_beam, "_plan_of", refuse)
    options = [f"direct_running_mode={mode}", "direct_num_workers=2"]
    with pytest.raises(UserError, match=r"^a worker differs: what\?$"):
        write_with_beam(tiny(), "fast 1", tmp_path, options=options)
    assert not list(tmp_path.rglob("*.tfrecord*"))


@needs_beam
def test_an_interruption_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(job: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(teapot_beam, "_plan_of", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_with_beam(tiny(), "fast 1", tmp_path)
    assert not list(tmp_path.rglob("*.tfrecord*"))


def test_complaints_are_found_in_traces() -> None:
    def found(error: Exception) -> str | None:
        return teapot_beam._complaint(error)

    assert found(
        RuntimeError("Traceback:\n  File x\ncommon.errors.UserError: no [x] here [while running 'a']\nmore")
    ) == ("no [x] here")
    assert found(RuntimeError("a.OpendrMissing: OpenDR cannot be used: no library\n")) == (
        "OpenDR cannot be used: no library"
    )
    lost = found(RuntimeError("ModuleNotFoundError: No module named 'data_gen'\n"))
    assert lost is not None
    assert "PYTHONPATH" in lost
    assert found(RuntimeError("ModuleNotFoundError: No module named 'data_generator'")) is None
    assert found(ValueError("Pipeline has validations errors: \nMissing: region.")) is not None
    assert found(RuntimeError("something else")) is None


@needs_beam
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runner", "FlinkRuner"], "unknown runner 'FlinkRuner'; did you mean 'FlinkRunner'"),
        (["--runner", "no.such.Runner"], "the runner no.such.Runner cannot be used here: No module named 'no'"),
        (
            ["--beam_pipeline_options", "direct_num_worker=2"],
            "unknown option 'direct_num_worker'; did you mean 'direct",
        ),
        (["--beam_pipeline_options", "direct_num_workers=two"], "--direct_num_workers: invalid int value: 'two'"),
        (["--beam_pipeline_options", "a=1,runner=FlinkRunner"], "give the runner as --runner"),
        (["--shards", "46"], "46 shards for 45 images; give a number from 1 to 45"),
        (["--backend", "fats"], "unknown back-end 'fats'; did you mean 'fast'"),
        (["--image_size", "0"], "image_size is 0; give a number from 1 to 1024"),
        (["--mesh", "none.obj"], "none.obj"),
        (["--workers", "2"], "unrecognized arguments: --workers"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises((UserError, FileNotFoundError), match=message):
        write(tmp_path, [*FAST, *arguments])
    assert list(tmp_path.iterdir()) == []


@needs_beam
def test_options_of_a_cluster_are_passed_on() -> None:
    from apache_beam.options.pipeline_options import WorkerOptions

    options = teapot_beam._options(["num_workers=7", "only_the_cluster_knows=1"], "FlinkRunner")
    assert options.view_as(WorkerOptions).num_workers == 7
    assert options.get_all_options(retain_unknown_options=True)["only_the_cluster_knows"] == "1"
    assert type(teapot_beam._runner("FlinkRunner")).__name__ == "FlinkRunner"
    # The one that Beam gives by this name fetches a program first.
    assert type(teapot_beam._runner("directrunner")).__name__ == "FnApiRunner"


def command(code: str) -> subprocess.CompletedProcess[str]:
    script = f"import sys; sys.argv = ['x', *{code}"
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_loads_nothing_heavy() -> None:
    done = command(
        "['--help']]\nfrom data_gen import teapot_beam\ntry: teapot_beam.main()\n"
        "except SystemExit: print(sorted({'tensorflow', 'apache_beam', 'numba'} & sys.modules.keys()))"
    )
    assert done.stdout.endswith("[]\n"), done
    assert "A Beam run that was stopped begins anew" in done.stdout


def test_without_beam_the_command_says_what_to_install(tmp_path: Path) -> None:
    done = command(
        f"['--data_dir', {str(tmp_path)!r}]]\nimport importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'apache_beam' else find(name, *more)\n"
        "from common.errors import run_command\nfrom data_gen import teapot_beam\nrun_command(teapot_beam.main)"
    )
    assert done.returncode == 2
    assert done.stderr == "error: Apache Beam is not installed; run: pip install -r requirements-beam.txt\n"
    assert list(tmp_path.iterdir()) == []


def test_the_latents_of_a_worker_are_those_of_the_recipe(tmp_path: Path) -> None:
    recipe = tiny()
    plan = teapot_beam.tfrecord_plan(recipe, "fast 1")
    job = teapot_beam._job(recipe, "fast 1", None, plan, tmp_path / "latents")
    for field in dataclasses.fields(Latents):
        found = teapot_beam._array(job.folder, field.name)
        assert isinstance(found, np.memmap)
        assert np.array_equal(found, getattr(recipe.latents, field.name))
