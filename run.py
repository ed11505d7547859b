"""Spout's one command: trains, measures and shows the models.

  python run.py --gin_file=gin/quickstart.gin                     trains; a killed run goes on where it stopped
  python run.py --gin_file=gin/ibgan.gin --mode=describe          networks, parameters, options; nothing is written
  python run.py --run_dir=runs/quickstart --mode=traverse         moves the codes of a trained run

Modes:
  train      train (default); the last line printed is JSON with the step, the scores and a fingerprint
  evaluate   measure a run with evaluation.metrics
  traverse   sheets and GIFs in which one code moves and the others stay
  generate   images from the prior
  export     .keras, weights, and encoder and generator as SavedModels
  describe   networks, parameter counts and effective options as JSON
  benchmark  steps per second, split between data and step, as JSON
"""

from __future__ import annotations

import sys

from absl import flags

from common.errors import UserError, run_command
from common.tensorflow_start import import_tensorflow

MODES = ("train", "evaluate", "traverse", "generate", "export", "describe", "benchmark")

FLAGS = flags.FLAGS
flags.DEFINE_multi_string("gin_file", [], "Gin file of an experiment, see the folder gin/; may be repeated.")
flags.DEFINE_multi_string("gin_param", [], "One binding, such as 'ibgan.beta = 0.2'; may be repeated; wins over files.")
flags.DEFINE_enum("mode", "train", MODES, "What to do.")
flags.DEFINE_string("run_dir", None, "The run folder. Default: runs/ and the experiment's name.")
flags.DEFINE_enum("checkpoint", "last", ("last", "best"), "Which checkpoint the modes on a trained run take.")
flags.DEFINE_bool("help", False, "Shows this help.", short_name="h")


def main() -> int:
    """Parses the flags and runs the mode."""
    try:
        arguments = FLAGS(sys.argv)
    except flags.Error as error:
        raise UserError(f"{error}; python run.py --help shows all flags") from None
    if FLAGS.help:
        print(f"{__doc__}\nFlags:\n{FLAGS.main_module_help()}")
        return 0
    if len(arguments) > 1:
        raise UserError(f"unexpected argument {arguments[1]!r}; python run.py --help shows the flags")
    if not FLAGS.gin_file and not FLAGS.run_dir:
        raise UserError("give --gin_file=gin/NAME.gin (see the folder gin/), or --run_dir of a run")
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


def _run_mode() -> int:
    from training import modes

    configuration, text, run_dir = modes.configuration_of(FLAGS.gin_file, FLAGS.gin_param, FLAGS.run_dir)
    if FLAGS.mode == "train":
        from training.train import train

        return train(configuration, text, FLAGS.gin_file, run_dir)
    if FLAGS.mode in ("describe", "benchmark"):
        return getattr(modes, FLAGS.mode)(configuration)
    experiment, folder = modes.restored(configuration, run_dir, FLAGS.checkpoint)
    return getattr(modes, FLAGS.mode)(experiment, folder)


if __name__ == "__main__":
    run_command(main)
