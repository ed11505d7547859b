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

import os
import sys

from absl import app, flags

from common.errors import UserError, run_command

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

MODES = ("train", "evaluate", "traverse", "generate", "export", "describe", "benchmark")

FLAGS = flags.FLAGS
flags.DEFINE_multi_string("gin_file", [], "Gin file of an experiment, see the folder gin/; may be repeated.")
flags.DEFINE_multi_string("gin_param", [], "One binding, such as 'ibgan.beta = 0.2'; may be repeated; wins over files.")
flags.DEFINE_enum("mode", "train", MODES, "What to do.")
flags.DEFINE_string("run_dir", None, "The run folder. Default: runs/ and the experiment's name.")
flags.DEFINE_enum("checkpoint", "last", ("last", "best"), "Which checkpoint the modes on a trained run take.")


def main() -> int:
    """Parses the flags and runs the mode."""
    try:
        arguments = FLAGS(sys.argv)
    except flags.Error as error:
        raise UserError(f"{error}; python run.py --help shows all flags") from None
    if len(arguments) > 1:
        raise UserError(f"unexpected argument {arguments[1]!r}; python run.py --help shows the flags")
    # TensorFlow takes seconds to import: not before the flags are known to be right.
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
    app.define_help_flags()
    run_command(main)
