"""3D Teapot drawn by Apache Beam, for sets that are too large for one machine: TFDS's own way to such sets.

`python -m data_gen.teapot_beam` writes the set that `python -m data_gen.teapot` writes, byte for byte.

The latents come from one sequential stream of random numbers. The machine that launches the pipeline draws them all,
40 bytes an image at most, and leaves them in files beside the shards; the pipeline carries numbers of images only. As a
part of the pipeline's description the latents of ten million images would be beyond what runners accept, and drawn
again by every worker they might differ in the last bit, by another mathematical library. A worker reads the latents
that it needs, draws, and hands the examples to TFDS, which brings them in order and writes the shards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import io
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.arguments import CommandParser
from common.errors import UserError, disk_error, near_matches, run_command
from common.files import sha256_of
from common.output import tell
from common.tensorflow_start import import_tensorflow
from data_gen import default_data_dir
from data_gen.folders import (
    CHECKSUMS,
    Files,
    differences,
    is_present,
    put_in_place,
    read_record,
    working,
    write_record,
)
from data_gen.teapot_command import add_recipe_flags, backend_for, introduce, recipe_of
from data_gen.teapot_files import set_folder, tfrecord_plan
from data_gen.teapot_latents import Latents
from data_gen.teapot_recipe import Recipe
from data_gen.tfrecord import Example, Plan, Split, connector, tensorflow_disk_errors, write_info

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

INSTALL = "pip install -r requirements-beam.txt"
"""What to type to have Apache Beam."""

LOCAL_RUNNER = "DirectRunner"

_BLOCK = 1000
_LATENTS = "latents"
_STAGE = "beam"
_FRAME_BYTES = 16
"""What TFRecord adds to an example."""

_TEACHING = """The set is that of python -m data_gen.teapot, byte for byte; its --help says what the latents are.
On one machine that command is the better choice: it is faster, shows how far it is, and goes on
where it was stopped. A Beam run that was stopped begins anew (and leaves nothing that looks whole).
DirectRunner keeps the whole set in memory, some 30 kB an image.

what a cluster needs:
  DATA_DIR reached by all workers under the same name: a shared file system, or an address such as
  gs://bucket/folder. Workers with the Python, the packages (requirements-beam.txt) and the sources of the
  machine that launches, such as a container image of it; a worker that differs says in what.
  The launching machine draws the latents: ten million take 15 seconds and 1.2 GB of memory.

examples:
  python -m data_gen.teapot_beam --limit 1000 --backend fast
  python -m data_gen.teapot_beam --num_train 10000000 --backend fast --data_dir /shared/data \\
      --runner FlinkRunner --beam_pipeline_options "flink_master=host:8081,parallelism=512"
  python -m data_gen.teapot_beam --num_train 10000000 --backend fast --data_dir gs://bucket/data \\
      --runner DataflowRunner --beam_pipeline_options \\
      "project=name,region=europe-west1,temp_location=gs://bucket/temp,sdk_container_image=image"
  (the last needs pip install "apache-beam[gcp]" too)
"""


@dataclasses.dataclass(frozen=True)
class _Job:
    """What a worker is told.

    Args:
        recipe: what is drawn; with its mesh, without its latents.
        backend: the label of a back-end.
        shards: files of the training images.
        record: the plan's record on the machine that launches, as JSON.
        folder: where the latents are.
    """

    recipe: Recipe
    backend: str
    shards: int | None
    record: str
    folder: str


def teapot_builder(
    recipe: Recipe, backend: str, data_dir: str | os.PathLike[str], shards: int | None = None
) -> tfds.core.GeneratorBasedBuilder:
    """A TFDS builder whose examples are drawn by a Beam pipeline.

    Args:
        recipe: what is drawn.
        backend: the label of a back-end.
        data_dir: the folder of all data sets; workers must reach it under this name.
        shards: files of the training images. Default: one for every 10,000.

    Returns:
        a builder, whose `download_and_prepare` takes Beam's runner and options in a `tfds.download.DownloadConfig`.
    """
    import tensorflow_datasets as tfds

    plan = tfrecord_plan(recipe, backend, shards=shards)
    # TFDS takes one number for all splits.
    most_shards = max(split.num_shards() for split in plan.splits)

    class Info(tfds.core.DatasetInfo):
        """What makes a folder a set in the eyes of TFDS; `_describe` writes it once all shards are in their place."""

        def write_to_directory(self, dataset_info_dir: Any, all_metadata: bool = True) -> None:
            """Writes nothing yet."""

    class TeapotBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        """One 3D Teapot set."""

        name = plan.name
        VERSION = tfds.core.Version(plan.version)
        # Nothing is downloaded. TFDS would look here for checksums, with a package that it does not require.
        code_path = None

        def _info(self) -> Info:
            features = {key: connector(feature) for key, feature in plan.features.items()}
            return Info(
                builder=self,
                description=plan.description,
                homepage=plan.homepage,
                features=tfds.features.FeaturesDict(features),
                # In the order of the latents, which are at random, not in that of hashes.
                disable_shuffling=True,
            )

        def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
            super()._download_and_prepare(dl_manager, download_config.replace(num_shards=most_shards))

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            job = _job(recipe, backend, shards, plan, self.data_path / _LATENTS)
            return {split.name: self._generate_examples(job, split) for split in plan.splits}

        def _generate_examples(self, job: _Job, split: Split) -> Any:
            import apache_beam as beam

            draw = _Draw(job, split.name, most_shards)
            return beam.Create(list(_blocks(split))) | "draw" >> beam.FlatMap(draw)

        def _process_pipeline_result(self, pipeline_result: Any) -> None:
            (self.data_path / _LATENTS).rmtree()

        def _post_download_and_prepare_hook(self) -> None:
            _describe(plan, self)

        def _example_writer(self) -> Any:
            return _ExampleWriter()

    return TeapotBuilder(data_dir=data_dir)


def _job(recipe: Recipe, backend: str, shards: int | None, plan: Plan, folder: Any) -> _Job:
    """What workers are told; their latents are left in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for field in dataclasses.fields(Latents):
        # Not into the file itself: numpy does not say why it could not write.
        buffer = io.BytesIO()
        np.save(buffer, getattr(recipe.latents, field.name))
        (folder / f"{field.name}.npy").write_bytes(buffer.getvalue())
    # A copy is without what the recipe keeps. Its mesh goes along, because workers may not have the file.
    bare = dataclasses.replace(recipe)
    vars(bare)["loaded_mesh"] = recipe.loaded_mesh
    return _Job(bare, backend, shards, json.dumps(plan.record()), os.fspath(folder))


def _blocks(split: Split) -> Iterator[tuple[int, int, int]]:
    """What a worker draws at a time: of a shard, from an example up to before another one."""
    for shard in range(split.num_shards()):
        start, stop = split.bounds(shard)
        for first in range(start, stop, _BLOCK):
            yield shard, first, min(first + _BLOCK, stop)


@dataclasses.dataclass(frozen=True)
class _Draw:
    """Draws examples in a worker.

    Args:
        job: what the worker is told.
        split: the name of the split.
        shards: the number of shards that TFDS is given.
    """

    job: _Job
    split: str
    shards: int

    def __call__(self, block: tuple[int, int, int]) -> Iterator[tuple[int, Example]]:
        """Draws a block of examples, each with the key that gives it its place.

        Of keys up to K, TFDS puts key k into the shard floor(k shards / K), and leaves out shards that get none. If
        every shard has as many keys as the longest one needs, and a split of fewer shards has the last ones, these are
        the shards of the plan.
        """
        shard, start, stop = block
        (split,) = (split for split in _plan_of(self.job).splits if split.name == self.split)
        keys_per_shard = -(-split.num_examples // split.num_shards())
        place = self.shards - split.num_shards() + shard
        yield from enumerate(split.examples(start, stop), place * keys_per_shard + start - split.bounds(shard)[0])


@functools.lru_cache(maxsize=1)
def _plan_of(job: _Job) -> Plan:
    """The plan as a worker makes it, once in a process; `UserError` if it is not that of the launching machine."""
    recipe = dataclasses.replace(job.recipe)
    latents = Latents(**{field.name: _array(job.folder, field.name) for field in dataclasses.fields(Latents)})
    vars(recipe).update(loaded_mesh=job.recipe.loaded_mesh, latents=latents)
    plan = tfrecord_plan(recipe, job.backend, workers=1, shards=job.shards)
    if differ := differences(json.loads(job.record), plan.record()):
        raise UserError(
            f"a worker differs from the machine that launched it in {', '.join(differ)}; give all of them the same "
            "Python, packages and sources"
        )
    return plan


def _array(folder: str, name: str) -> NDArray[Any]:
    """An array that the launching machine has left; of a file only what is used is read, of an object all."""
    from etils import epath

    path = epath.Path(folder) / f"{name}.npy"
    if not _is_address(folder):
        array: NDArray[Any] = np.load(path, mmap_mode="r")
        return array
    return np.asarray(np.load(io.BytesIO(path.read_bytes())))


def _is_address(path: str) -> bool:
    return "://" in path


class _ExampleWriter:
    """Writes shards, like TFDS's own writer, but the fields of an example in order: equal sets are equal bytes."""

    def write(self, path: str | os.PathLike[str], examples: Iterable[tuple[int, bytes]]) -> None:
        """Writes serialized examples, each of which comes with its key, to a file."""
        import tensorflow as tf

        try:
            with tensorflow_disk_errors(Path(path)), tf.io.TFRecordWriter(os.fspath(path)) as writer:
                for _, data in examples:
                    writer.write(tf.train.Example.FromString(data).SerializeToString(deterministic=True))
        except OSError as error:
            # Only its text comes back from a worker.
            raise disk_error(error) or error from None


def write_with_beam(
    recipe: Recipe,
    backend: str,
    data_dir: str | os.PathLike[str],
    runner: str = LOCAL_RUNNER,
    options: Sequence[str] = (),
    shards: int | None = None,
    overwrite: bool = False,
) -> str:
    """Writes a set by a Beam pipeline, or finds that it is there already.

    Args:
        recipe: what is drawn.
        backend: the label of a back-end.
        data_dir: the folder of all data sets; workers must reach it under this name. May be an address, such as
            `gs://bucket/folder`; renaming is not atomic there: a set is whole if it has its `checksums.json`.
        runner: the name of a Beam runner. Default: `DirectRunner`, this machine.
        options: Beam's pipeline options, such as `direct_num_workers=4`. Default: none.
        shards: files of the training images. Default: one for every 10,000.
        overwrite: write it anew even if a set stands there, which is replaced at the end; not at an address. Default:
            refuse if that is another set or a damaged one, and do nothing if it is the same.

    Returns:
        the folder, with shards, `features.json`, `dataset_info.json` and `checksums.json`.

    Raises:
        UserError: if another set stands there, another process is writing it, Beam is not installed, the runner or an
            option is not known, or a worker cannot draw what it is told to.
    """
    load_beam()
    plan = tfrecord_plan(recipe, backend, shards=shards)
    pipeline = _Pipeline(plan, recipe, backend, shards, _runner(runner), _options(options, runner))
    place = os.fspath(data_dir)
    if _is_address(place):
        return _found_at_address(plan, place, overwrite) or pipeline.write(place)
    folder = set_folder(recipe, Path(place), "tfrecord")
    if is_present(plan.record(), folder, overwrite):
        return os.fspath(folder)
    with working(folder) as path:
        # A killed run may have left it; what an unfinished run of the other command has left stays as long as it is
        # of use.
        shutil.rmtree(path / _STAGE, ignore_errors=True)
        put_in_place(Path(pipeline.write(os.fspath((path / _STAGE).resolve()))), folder)
        shutil.rmtree(path, ignore_errors=True)
    return os.fspath(folder)


def _found_at_address(plan: Plan, data_dir: str, overwrite: bool) -> str | None:
    """Where the set stands already; `None` if nothing does, `UserError` if something else."""
    from etils import epath

    path = epath.Path(data_dir) / plan.name / plan.version
    if not path.exists():
        return None
    record = read_record(path / CHECKSUMS)
    # With which versions of libraries a whole set was made does not matter.
    if (
        overwrite
        or record is None
        or differences({**record["plan"], "provenance": None}, {**plan.record(), "provenance": None})
    ):
        raise UserError(f"{path} is there; remove it, or choose another --data_dir (at an address nothing is replaced)")
    return os.fspath(path)


@dataclasses.dataclass(frozen=True)
class _Pipeline:
    """How a set is written.

    Args:
        plan: what is written.
        recipe, backend, shards: what the plan is made of.
        runner, options: Beam's own.
    """

    plan: Plan
    recipe: Recipe
    backend: str
    shards: int | None
    runner: Any
    options: Any

    def write(self, data_dir: str) -> str:
        """Writes the set where nothing stands; returns its folder."""
        import tensorflow_datasets as tfds

        # Finds out whether that can be drawn, before anything is written.
        self.recipe.images(np.empty((0, len(self.recipe.variant.factors))), self.backend, workers=1)
        builder = teapot_builder(self.recipe, self.backend, data_dir, self.shards)
        config = tfds.download.DownloadConfig(
            beam_runner=self.runner,
            beam_options=self.options,
            try_download_gcs=False,
        )
        tfds.disable_progress_bar()
        # What TFDS prints names the folder of an unfinished set.
        with tempfile.TemporaryDirectory() as empty, contextlib.redirect_stdout(io.StringIO()):
            try:
                builder.download_and_prepare(download_dir=empty, download_config=config)
            except Exception as error:
                if str(error).startswith(KeyboardInterrupt.__name__):
                    raise KeyboardInterrupt from None
                complaint = _complaint(error)
                if complaint is None:
                    raise
                raise UserError(complaint) from None
        return os.fspath(builder.data_path)


def _describe(plan: Plan, builder: tfds.core.GeneratorBasedBuilder) -> None:
    """Writes the descriptions of a set, and its checksums, as the other command does."""
    path = builder.data_path
    files: Files = {}
    for split, shard in plan.shards():
        start, stop = split.bounds(shard)
        if builder.info.splits[split.name].shard_lengths[shard] != stop - start:
            raise RuntimeError(f"TFDS did not divide the split {split.name} as planned")
        name = plan.file_name(split, shard)
        size = (path / name).stat().length - (stop - start) * _FRAME_BYTES
        files[name] = {"sha256": sha256_of(path / name), "examples": stop - start, "example_bytes": size}
    write_info(plan, path, files)
    for name in ("dataset_info.json", "features.json"):
        files[name] = {"sha256": sha256_of(path / name)}
    with tempfile.TemporaryDirectory() as folder:
        write_record(Path(folder) / CHECKSUMS, plan.record(), files)
        (path / CHECKSUMS).write_bytes((Path(folder) / CHECKSUMS).read_bytes())


def load_beam() -> None:
    """Imports Beam (a second), without its remarks; `UserError` if it is not installed."""
    if importlib.util.find_spec("apache_beam") is None:
        raise UserError(f"Apache Beam is not installed; run: {INSTALL}")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        importlib.import_module("apache_beam")
    finally:
        logging.disable(before)


def _runner(name: str) -> Any:
    """A runner; `UserError` if there is none of this name, or it cannot be used here."""
    from apache_beam.options.pipeline_options import StandardOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.runners.runner import create_runner

    if _is_local(name):
        # What it comes to anyway; but first it would fetch a program from the network, Prism, and try that.
        return FnApiRunner()
    try:
        return create_runner(name)
    except ValueError:
        raise UserError(f"unknown runner {name!r}{near_matches(name, StandardOptions.KNOWN_RUNNER_NAMES)}") from None
    except (ImportError, AttributeError) as error:
        raise UserError(f"the runner {name} cannot be used here: {error}") from None


def _is_local(runner: str) -> bool:
    return runner.lower() in (LOCAL_RUNNER.lower(), LOCAL_RUNNER.lower().removesuffix("runner"))


def _options(given: Sequence[str], runner: str) -> Any:
    """Beam's options; `UserError` for what Beam does not understand.

    Only of those that this machine itself obeys all are known; others may be for the cluster.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = PipelineOptions(flags=[f"--{option}" for option in given])
            unknown = sorted(
                options.get_all_options(retain_unknown_options=True).keys()
                - PipelineOptions(flags=[]).get_all_options()
            )
    except SystemExit:
        raise UserError(f"--beam_pipeline_options: {said.getvalue().rpartition('error: ')[2].strip()}") from None
    if unknown and _is_local(runner):
        known = list(PipelineOptions(flags=[]).get_all_options())
        raise UserError(f"--beam_pipeline_options: unknown option {unknown[0]!r}{near_matches(unknown[0], known)}")
    return options


def _complaint(error: Exception) -> str | None:
    """What a worker complains about, of which only the text comes back; `None` if it is something else."""
    text = f"{type(error).__name__}: {error}"
    if re.search(r"ModuleNotFoundError: No module named '(common|data_gen|teapot_renderer)\b", text):
        return "a worker does not have the sources of this program; start it in their folder, or put them on PYTHONPATH"
    # Of options that a runner misses.
    if "validations errors" in text:
        return str(error)
    found = re.search(r"\b(?:UserError|OpendrMissing): (.+?)(?: \[while running .*)?$", text, re.MULTILINE)
    return found[1] if found else None


def run(arguments: list[str] | None = None) -> None:
    """Runs the command.

    Args:
        arguments: the command line. Default: that of this process.

    Raises:
        UserError: for bad flags, and for all that `write_with_beam` refuses.
    """
    flags = _parser().parse_args(arguments)
    recipe = recipe_of(flags)
    options = [option for text in flags.beam_pipeline_options for option in text.split(",") if option]
    if any(option.split("=")[0] == "runner" for option in options):
        raise UserError("--beam_pipeline_options: give the runner as --runner")
    load_beam()
    import_tensorflow()
    data_dir = flags.data_dir or os.fspath(default_data_dir())
    folder = set_folder(recipe, Path(data_dir), "tfrecord")
    backend, reason = backend_for(flags.backend, recipe, folder, flags.overwrite)
    introduce(recipe, backend, reason)
    tell(f"runner: {flags.runner}; a run that is stopped begins anew")
    result = write_with_beam(recipe, backend, data_dir, flags.runner, options, flags.shards, flags.overwrite)
    tell(f"whole in {result}; open it with tfds.builder_from_directory({result!r})")


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="python -m data_gen.teapot_beam",
        description="Draws 3D Teapot by an Apache Beam pipeline, as TFRecord shards under DATA_DIR/<name>/<version>.",
        epilog=_TEACHING,
    )
    add = parser.add_argument
    add("--data_dir", help="folder for the result, reached by all workers (default: $SPOUT_DATA_DIR, data)")
    add("--runner", default=LOCAL_RUNNER, help="who runs the pipeline (default: DirectRunner, this machine)")
    add(
        "--beam_pipeline_options",
        default=[],
        action="append",
        metavar="KEY=VALUE,...",
        help="options of Beam and of the runner; may be given more than once",
    )
    add("--limit", type=int, help="keep the first so many training images, and so many groups (default: all)")
    add("--shards", type=int, help="number of files (default: one for every 10,000 images)")
    add("--overwrite", action="store_true", help="replace what is there, once the new one is whole")
    add_recipe_flags(parser)
    return parser


def main() -> None:
    """Draws 3D Teapot by Apache Beam; see `--help`."""
    run()


if __name__ == "__main__":
    # By its name: what workers are sent must not be of `__main__`, which is another program there.
    from data_gen import teapot_beam

    run_command(teapot_beam.main)
