"""Spout's one command: trains, measures and shows the models.

  python run.py --gin_file=gin/quickstart.gin                     trains; a killed run goes on where it stopped
  python run.py --gin_file=gin/ibgan.gin --mode=describe          networks, parameters, options; nothing is written
  python run.py --run_dir=runs/quickstart --mode=traverse         moves the codes of a trained run
  python run.py --run_dir=runs/iiae_cars --mode=translate --input=photos --direction=x2y --style=other.png

Modes:
  train      train (default); the last line printed is JSON with the step, the scores and a fingerprint
  evaluate   measure a run with evaluation.metrics
  traverse   sheets and GIFs in which one code moves and the others stay
  generate   images from the prior
  interpolate  films of walks through the latent space, MP4 and GIF
  translate  your own images into the other domain, by a model of pairs (docs/iiae.md)
  pairs      16 pictures of each of the first generation.images pairs held out, with a page to look at them
  export     .keras, weights, and encoder and generator as SavedModels, or as ONNX (export.formats)
  publish    a small folder to hand on: weights to use, scores, pictures and a card (--out; the folder zoo/ has some)
  describe   networks, parameter counts and effective options as JSON
  benchmark  steps per second, split between data and step, as JSON
  select     rank finished runs by ModelCentrality and UDR, without labels (docs/selection.md)

Sweeps (docs/sweeps.md): all combinations of values, times seeds, each a run of its own; the same command goes on.
  python run.py --gin_file=gin/ibgan.gin --sweep='ibgan.beta=[0.1,0.2];experiment.global_batch=[32,64]' --seeds=10
  ... --dry_run                                                   checks all members and lists them; starts nothing
  ... --sweep_index=3                                             one member alone, for clusters
  python run.py --run_dir=runs/sweep_ibgan_dsprites --summarize   the table of what is finished so far
  python run.py --mode=select --runs='runs/sweep_ibgan_dsprites/0*'
"""

from __future__ import annotations

import re
import sys

from absl import flags

from common.arguments import at_home
from common.errors import UserError, run_command
from common.tensorflow_start import import_tensorflow
from training.sweep_member import stop_with_sweep
from training.translate_flags import TranslateFlags

MODES = (
    *("train", "evaluate", "traverse", "generate", "interpolate", "translate", "pairs"),
    *("export", "publish", "describe", "benchmark", "select"),
)

FLAGS = flags.FLAGS
flags.DEFINE_multi_string("gin_file", [], "Gin file of an experiment, see the folder gin/; may be repeated.")
flags.DEFINE_multi_string("gin_param", [], "One binding, such as 'ibgan.beta = 0.2'; may be repeated; wins over files.")
flags.DEFINE_enum("mode", "train", MODES, "What to do.")
flags.DEFINE_string(
    "run_dir", None, "The run folder. Default: runs/ and the experiment's name; of a sweep: runs/sweep_ and the name."
)
flags.DEFINE_string("checkpoint", "last", "Checkpoint of a trained run: last, best, or the name of a snapshot.")
flags.DEFINE_multi_string(
    "sweep", [], "Trains all combinations: 'key=[value, value];key=[value]' with gin literals; may be repeated."
)
flags.DEFINE_string("seeds", None, "Trains each with these seeds: 10 is 0 to 9; or which: 3,5,7 (one alone: 3,).")
flags.DEFINE_integer("sweep_index", None, "Trains one member of the sweep alone, in this process: for clusters.")
flags.DEFINE_integer(
    "parallel", None, "Members of a sweep at once, sharing GPUs and cores. Default: one for each GPU, or one."
)
flags.DEFINE_bool("dry_run", False, "Checks and lists the members of a sweep; nothing is started or written.")
flags.DEFINE_bool("summarize", False, "Only the table of a sweep's finished members; with --run_dir alone, or --sweep.")
flags.DEFINE_multi_string("runs", [], "mode select: run folders, or patterns such as 'runs/a/*'; commas or repeated.")
flags.DEFINE_string(
    "out",
    None,
    "mode select: where the ranking goes. Default: selection/ in the runs' common folder. mode translate: folder of "
    "the translations, or a PNG file for a single one. Default: translations/ in the run folder. mode publish: the "
    "folder to make. Default: published/ in the run folder.",
)
flags.DEFINE_enum("preset", "paper", ("paper", "fast"), "mode select: the published numbers of images, or fewer.")
flags.DEFINE_integer(
    "seed", 0, "mode select: of the images that models are compared on; translate: of drawn styles.", lower_bound=0
)
flags.DEFINE_bool("allow_unfinished", False, "mode select: take runs that are not finished too.")
flags.DEFINE_string("input", None, "mode translate: an image, or a folder or archive of images.")
flags.DEFINE_string("direction", None, "mode translate: x2y for images of domain x, y2x for images of y.")
flags.DEFINE_string(
    "style", None, "mode translate: an image of the other domain, or a folder of them, whose styles the results have."
)
flags.DEFINE_integer("samples", None, "mode translate: so many drawn styles instead. Default: 3.")
flags.DEFINE_bool("help", False, "Shows this help.", short_name="h")

_SWEEP_FLAGS = ("sweep", "seeds", "sweep_index", "parallel", "dry_run", "summarize")
_UNTRAINED_MODES = ("train", "describe", "benchmark")
_MODES_OF = {
    **dict.fromkeys(("runs", "preset", "allow_unfinished"), ("select",)),
    **dict.fromkeys(("input", "direction", "style", "samples"), ("translate",)),
    "seed": ("select", "translate"),
    "out": ("select", "translate", "publish"),
    "checkpoint": tuple(mode for mode in MODES if mode not in _UNTRAINED_MODES),
}
"""The modes that a flag is for; all others take all modes, or are for sweeps."""
_BINDINGS = {"seed": "experiment.seed = 1", "preset": "evaluation.preset = 'fast'"}
"""What is meant by a flag, perhaps, in a mode that it is not for."""


def main() -> int:
    """Parses the flags and runs the mode."""
    try:
        arguments = FLAGS(at_home(sys.argv))
    except flags.Error as error:
        message = re.sub(r"invalid literal for int\(\) with base 10: (.*)", r"\1 is no whole number", str(error))
        raise UserError(f"{message}; python run.py --help shows all flags") from None
    if FLAGS.help:
        print(f"{__doc__}\nFlags:\n{FLAGS.main_module_help()}")
        return 0
    if len(arguments) > 1:
        raise UserError(f"unexpected argument {arguments[1]!r}; python run.py --help shows the flags")
    _check_flags()
    stop_with_sweep()
    # TensorFlow takes seconds to import: not before the flags are known to be right.
    import_tensorflow()
    from training.failures import user_error

    try:
        return _run_mode()
    except Exception as error:
        known = user_error(error)
        if known is None:
            raise
        raise known from None


def _given(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if FLAGS[name].present]


def _check_flags() -> None:
    """What can be found wrong without TensorFlow."""
    for name in ("run_dir", "out"):
        if FLAGS[name].value == "":
            raise UserError(f"--{name} is empty; give a folder, or leave it out")
    for name in _given(tuple(_MODES_OF)):
        if FLAGS.mode not in _MODES_OF[name]:
            others = ", ".join(_MODES_OF[name])
            hint = f", or give --gin_param={_BINDINGS[name]!r}" if name in _BINDINGS else ""
            raise UserError(f"--{name} is a flag of --mode={others}, not of {FLAGS.mode}; leave it out{hint}")
    if FLAGS.mode == "select":
        if wrong := _given(("gin_file", "run_dir", *_SWEEP_FLAGS)):
            raise UserError(f"--{wrong[0]} means nothing to --mode=select, which takes --runs='runs/a/*' and --out")
        if not FLAGS.runs:
            raise UserError("--mode=select needs run folders: --runs='runs/a/*'")
        return
    if FLAGS.mode == "translate":
        _translate_flags()
    if wrong := _given(_SWEEP_FLAGS):
        _check_sweep_flags(wrong[0])
    if not FLAGS.gin_file and not FLAGS.run_dir:
        raise UserError("give --gin_file=gin/NAME.gin (see the folder gin/), or --run_dir of a run")


def _translate_flags() -> TranslateFlags:
    return TranslateFlags(
        FLAGS.input or "", FLAGS.direction or "", FLAGS.style, FLAGS.samples, FLAGS.out, seed=FLAGS.seed
    )


def _check_sweep_flags(given: str) -> None:
    from training.sweep_plan import parse_seeds, parse_sweep, product, with_seeds

    if FLAGS.mode != "train":
        raise UserError(f"--{given} is for training; leave out --mode={FLAGS.mode}, or the flag")
    exclusive = [name for name in ("sweep_index", "dry_run", "summarize") if FLAGS[name].present]
    if len(exclusive) > 1:
        raise UserError(f"give one of --{' and --'.join(exclusive)}")
    if FLAGS.sweep or FLAGS.seeds is not None:
        if not FLAGS.gin_file:
            raise UserError("a sweep needs its experiment: --gin_file=gin/NAME.gin (see the folder gin/)")
        product(with_seeds(parse_sweep(FLAGS.sweep), () if FLAGS.seeds is None else parse_seeds(FLAGS.seeds)))
    elif not (FLAGS.summarize and FLAGS.run_dir):
        raise UserError(f"--{given} is for sweeps; give --sweep='key=[value,value]' or --seeds=10 too")


def _run_mode() -> int:
    if FLAGS.mode == "select":
        from training.select import SelectionFlags, select

        return select(
            SelectionFlags(
                runs=tuple(FLAGS.runs),
                out=FLAGS.out,
                gin_params=tuple(FLAGS.gin_param),
                checkpoint=FLAGS.checkpoint,
                preset=FLAGS.preset,
                seed=FLAGS.seed,
                allow_unfinished=FLAGS.allow_unfinished,
            )
        )
    if _given(_SWEEP_FLAGS):
        return _run_sweep()
    from training import modes

    configuration, text, run_dir = modes.configuration_of(FLAGS.gin_file, FLAGS.gin_param, FLAGS.run_dir)
    if FLAGS.mode == "train":
        from training.train import train

        return train(configuration, text, FLAGS.gin_file, run_dir)
    if FLAGS.mode in ("describe", "benchmark"):
        return getattr(modes, FLAGS.mode)(configuration)
    if FLAGS.mode == "translate":
        return modes.translate(configuration, run_dir, FLAGS.checkpoint, _translate_flags())
    if FLAGS.mode in modes.WITHOUT_DATA:
        return getattr(modes, FLAGS.mode)(*modes.restored_model(configuration, run_dir, FLAGS.checkpoint))
    experiment, folder = modes.restored(configuration, run_dir, FLAGS.checkpoint)
    if FLAGS.mode == "publish":
        return modes.publish(experiment, folder, FLAGS.checkpoint, FLAGS.out)
    return getattr(modes, FLAGS.mode)(experiment, folder)


def _run_sweep() -> int:
    from training.sweep import SweepFlags, leave_gpus_to_members, run_sweep

    if FLAGS.sweep_index is None:
        leave_gpus_to_members()
    return run_sweep(
        SweepFlags(
            gin_files=tuple(FLAGS.gin_file),
            gin_params=tuple(FLAGS.gin_param),
            run_dir=FLAGS.run_dir,
            sweep=tuple(FLAGS.sweep),
            seeds=FLAGS.seeds,
            index=FLAGS.sweep_index,
            dry_run=FLAGS.dry_run,
            summarize=FLAGS.summarize,
            parallel=FLAGS.parallel,
        )
    )


if __name__ == "__main__":
    run_command(main)
