"""The command `python -m data_gen.teapot`: from flags to a set that is written, or to a preview of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import teapot_renderer
from common.arguments import CommandParser
from common.errors import UserError, near_matches
from common.output import tell
from data_gen import default_data_dir
from data_gen.command import parser_of
from data_gen.folders import CHECKSUMS, PROGRESS, differences, read_record, working_folder
from data_gen.teapot_files import (
    METRIC_NPZ,
    NPZ_DTYPES,
    TRAIN_NPZ,
    npz_plan,
    recorded_backend,
    set_folder,
    tfrecord_plan,
    write_npz_set,
)
from data_gen.teapot_latents import GROUP_SIZE, NUM_TRAIN, VARIANTS, variant_named
from data_gen.teapot_preview import is_picture, write_preview
from data_gen.teapot_recipe import Recipe, backend_of
from data_gen.tfrecord import write_dataset
from teapot_renderer.meshes import UTAH
from teapot_renderer.rendering import BACKENDS

FORMATS = ("tfrecord", "npz")

_TEACHING = f"""variants, and their latents (angles in radians):
  uniform_light  any orientation, light from anywhere: gamma, beta, alpha, light_azimuth, light_elevation
  up_light       any orientation, light from above: gamma, beta, alpha
  all_color      azimuth, elevation of the camera, red, green, blue; light from above
  The published names serve too, such as {VARIANTS["all_color"].published_name}.

what is published, and what this is:
  The latents are those of InfoGAN-CR, number for number. The mesh of its images is not public, so
  the Utah teapot stands in for it, and the set's name says utah; --mesh teapotModel.pkl takes the
  published mesh where one has it. --limit keeps a beginning of the same stream of latents; --seed
  makes another stream, and --num_train makes other groups.

back-ends:
  opendr  the library that the published images were drawn with, some 100 images a second and core
  fast    the same pictures but for single gray levels, more than 10 times faster
  auto    the one that has begun the set; for a new set opendr where it can be imported, else fast

results:
  tfrecord  DATA_DIR/<name>/1.0.0: splits train and metric, for tfds.builder_from_directory
  npz       DATA_DIR/<name>/npz: {TRAIN_NPZ} and {METRIC_NPZ}, as published

examples:
  python -m data_gen.teapot --variant uniform_light --preview sheet.png    what each latent does
  python -m data_gen.teapot --variant uniform_light --limit 1000           a small version
  python -m data_gen.teapot --variant all_color --backend fast --format npz
"""


def run(arguments: list[str] | None = None) -> None:
    """Runs the command.

    Args:
        arguments: the command line. Default: that of this process.

    Raises:
        UserError: for bad flags, a back-end or mesh that is not there, another set in the same place.
    """
    flags = _parser().parse_args(arguments)
    _check(flags)
    recipe = recipe_of(flags)
    data_dir = flags.data_dir or default_data_dir()
    folder = set_folder(recipe, data_dir, flags.format)
    if flags.preview is not None:
        name, reason = teapot_renderer.choose_backend(flags.backend)
        backend = teapot_renderer.backend_version(name)
        introduce(recipe, backend, reason)
        write_preview(recipe, backend, flags.preview)
        tell(f"preview in {flags.preview}; nothing else was written")
        return
    backend, reason = backend_for(flags.backend, recipe, folder, flags.overwrite)
    introduce(recipe, backend, reason)
    plan = tfrecord_plan(recipe, backend, flags.workers, flags.shards)
    record = npz_plan(recipe, backend, flags.npz_dtype) if flags.format == "npz" else plan.record()
    if flags.overwrite or not folder.exists():
        # Finds out whether that can be drawn, before anything is written.
        recipe.images(recipe.latents.train[:0], backend, flags.workers)
        _tell_of_unfinished(working_folder(folder), record)
    if flags.format == "npz":
        write_npz_set(recipe, backend, data_dir, flags.npz_dtype, flags.workers, flags.overwrite)
        tell(f"whole in {folder}; open it with numpy.load({str(folder / TRAIN_NPZ)!r})")
    else:
        write_dataset(plan, data_dir, flags.overwrite)
        tell(f"whole in {folder}; open it with tfds.builder_from_directory({str(folder)!r})")


def _parser() -> CommandParser:
    parser = parser_of(
        "teapot",
        _TEACHING,
        limit="keep the first so many training images, and so many groups; the latents stay those of the whole set",
        shards="one for every 10,000 images",
    )
    add_recipe_flags(parser)
    add = parser.add_argument
    add("--format", default="tfrecord", help="tfrecord, or npz for the layout of the published files")
    add("--npz_dtype", help="uint8, or float64 for values from 0 to 1 as published, 8 times larger (default: uint8)")
    add("--workers", type=int, help="how many cores draw (default: all)")
    add("--preview", type=Path, metavar="PICTURE", help="draw a sheet of images and of what each latent does, only")
    return parser


def add_recipe_flags(parser: CommandParser) -> None:
    """Adds the flags that say what is drawn, all but `--limit`."""
    add = parser.add_argument
    add("--variant", default="uniform_light", help=f"{', '.join(VARIANTS)} (default: uniform_light)")
    add("--backend", default="auto", help="auto, opendr or fast, see below (default: auto)")
    add("--samples", type=int, default=16, help="samples in a pixel, a square number (default: 16)")
    add("--image_size", type=int, default=64, help="height and width in pixels (default: 64)")
    add("--num_train", type=int, default=NUM_TRAIN, help=f"training images (default: {NUM_TRAIN:,})")
    add("--num_groups", type=int, help=f"groups of {GROUP_SIZE} (default: 500; of up_light 300)")
    add("--seed", type=int, default=1, help="of the latents (default: 1, the published one)")
    add("--mesh", default=UTAH, help="utah, or a mesh file: .obj, .bpt or teapotModel.pkl (default: utah)")
    add("--fineness", type=int, default=10, help="how finely the patches of utah or a .bpt are cut (default: 10)")
    add("--up", default="z", help="which axis of an .obj points up, z or y (default: z)")


def recipe_of(flags: Any) -> Recipe:
    """What is drawn; `UserError` for values out of their ranges.

    Args:
        flags: those of `add_recipe_flags`, and `limit`.
    """
    return Recipe(
        variant=variant_named(flags.variant),
        image_size=flags.image_size,
        num_train=flags.num_train,
        num_groups=flags.num_groups,
        limit=flags.limit,
        seed=flags.seed,
        samples=flags.samples,
        mesh=flags.mesh,
        fineness=flags.fineness,
        up=flags.up,
    )


def _check(flags: Any) -> None:
    """Refuses what no recipe sees; `UserError`."""
    for name, given, allowed in (
        ("format", flags.format, FORMATS),
        ("backend", flags.backend, BACKENDS),
        ("npz_dtype", flags.npz_dtype or NPZ_DTYPES[0], NPZ_DTYPES),
    ):
        if given not in allowed:
            raise UserError(f"unknown {name} {given!r}{near_matches(given, allowed)}")
    if flags.npz_dtype is not None and flags.format != "npz":
        raise UserError("--npz_dtype belongs to --format npz; leave it out, or add that")
    if flags.shards is not None and flags.format != "tfrecord":
        raise UserError("--shards belongs to --format tfrecord; an npz is one file")
    flags.npz_dtype = flags.npz_dtype or NPZ_DTYPES[0]
    if flags.workers is not None and flags.workers < 1:
        raise UserError(f"workers is {flags.workers}; give a number of at least 1")
    if flags.preview is not None and not is_picture(flags.preview):
        raise UserError(f"--preview {flags.preview}: its ending stands for no picture; give a name like sheet.png")


def backend_for(asked: str, recipe: Recipe, folder: Path, overwrite: bool) -> tuple[str, str]:
    """Which back-end draws.

    Args:
        asked: the name of a back-end; `auto` is the one that has drawn what is there, or has begun to.
        recipe: what is drawn.
        folder: where the set stands, or will.
        overwrite: whether what stands there will be replaced.

    Returns:
        the label of the back-end, and why this one.

    Raises:
        UserError: if it is not to be had.
    """
    if asked == "auto":
        whole = None if overwrite else recorded_backend(recipe, folder / CHECKSUMS)
        if whole is not None:
            return whole, "the set that is there was drawn by it"
        begun = recorded_backend(recipe, working_folder(folder) / PROGRESS)
        if begun is not None:
            return _resumed(begun, folder)
    name, reason = teapot_renderer.choose_backend(asked)
    return teapot_renderer.backend_version(name), reason


def _resumed(backend: str, folder: Path) -> tuple[str, str]:
    try:
        name, _ = teapot_renderer.choose_backend(backend_of(backend))
    except UserError as error:
        raise UserError(
            f"{working_folder(folder)} holds a set that {backend} has begun, which cannot go on here: {error}; to "
            "start anew with the other one, name it (--backend fast)"
        ) from None
    return teapot_renderer.backend_version(name), "it has begun this set"


def introduce(recipe: Recipe, backend: str, reason: str) -> None:
    """Says what is drawn, and by which back-end.

    Args:
        recipe: what is drawn.
        backend: the label of a back-end.
        reason: why this one.
    """
    mesh = recipe.loaded_mesh
    stand_in = "; a stand-in: the published mesh is not public" if recipe.mesh == UTAH else ""
    size = f"{recipe.image_size}x{recipe.image_size}"
    tell(f"{recipe.name}: {recipe.kept_train:,} images of {size}, and {recipe.kept_groups:,} groups of {GROUP_SIZE}")
    tell(f"back-end: {backend}, {recipe.samples} samples in a pixel ({reason})")
    tell(f"mesh: {mesh.name}, {len(mesh.faces):,} triangles{stand_in}")


def _tell_of_unfinished(path: Path, plan: dict[str, Any]) -> None:
    """Says what becomes of what a stopped run has left in the working folder."""
    record = read_record(path / PROGRESS)
    if record is None:
        return
    if record["plan"] == plan:
        tell(f"going on with the unfinished set in {path}")
        return
    tell(f"starting anew: the unfinished set in {path} differs in {', '.join(differences(plan, record['plan']))}")
