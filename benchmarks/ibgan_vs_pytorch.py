"""Times training steps of IB-GAN on dSprites beside the same model in PyTorch, in turns, on the same two cores.

  make benchmarks                                     installs PyTorch into .venv, then runs this
  python -m benchmarks.ibgan_vs_pytorch --turns=15    once PyTorch is there (pip install torch==2.13.*)

Contestants: `spout` (gin/ibgan.gin as it ships), `pytorch` (as one usually writes it), and `pytorch_lean` (only the
gradients that are needed). Each lives in a process of its own, held to the same processor cores, and trains the
published networks (5,678,566 parameters) with batch 64. They take turns, each round in another order, so what else the
machine does hits all alike; the ratios are formed within a round. Programs that are busy on those cores still spoil
the figures (and PyTorch's threads wait for each other, so its more than ours): how much they took is reported too.
The last line printed is the result as JSON.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import importlib.util
import json
import platform
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.turns import Runner, choose_cores, measure, processor, summarize, table
from common.errors import UserError, run_command

PRECISIONS = ("float32", "bfloat16")
PACKAGES = ("torch", "tensorflow", "keras", "numpy")


def spout_runner(precision: str, threads: int) -> Runner:
    """Our training loop on the published experiment; it takes its threads from the cores it may use."""
    from common.tensorflow_start import import_tensorflow

    import_tensorflow()
    from training.benchmark import step_runner

    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]
    # A miniature of the data: the arithmetic is the same, and nothing has to be prepared.
    params = [f"experiment.precision = {policy!r}", "data.source = 'synthetic'", "experiment.strategy = 'one_device'"]
    return step_runner(["gin/ibgan.gin"], params)


def pytorch_runner(precision: str, threads: int) -> Runner:
    """PyTorch as one usually writes it."""
    from benchmarks import pytorch_ibgan

    return pytorch_ibgan.step_runner("usual", precision == "bfloat16", threads)


def pytorch_lean_runner(precision: str, threads: int) -> Runner:
    """PyTorch with no gradient that nobody uses."""
    from benchmarks import pytorch_ibgan

    return pytorch_ibgan.step_runner("lean", precision == "bfloat16", threads)


CONTESTANTS: dict[str, Callable[[str, int], Runner]] = {
    "spout": spout_runner,
    "pytorch": pytorch_runner,
    "pytorch_lean": pytorch_lean_runner,
}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=9, help="rounds (default 9)")
    parser.add_argument("--steps_per_turn", type=int, default=20, help="training steps of one turn (default 20)")
    parser.add_argument("--threads", type=int, default=2, help="processor cores, a thread on each (default 2)")
    parser.add_argument(
        "--precision",
        choices=("auto", *PRECISIONS, "both"),
        default="auto",
        help="auto: float32, and bfloat16 where the processor computes in it (default)",
    )
    parser.add_argument("--contestants", default=",".join(CONTESTANTS), help="some of: %(default)s")
    return parser.parse_args(arguments)


def main() -> int:
    """Measures and prints a table and JSON."""
    options = parse()
    names = options.contestants.split(",")
    unknown = [name for name in names if name not in CONTESTANTS]
    if unknown or len(set(names)) < len(names):
        raise UserError(f"--contestants={options.contestants}; give some of {', '.join(CONTESTANTS)}, each once")
    if options.turns < 1 or options.steps_per_turn < 1:
        raise UserError("--turns and --steps_per_turn: allowed: 1 or more")
    if any(name.startswith("pytorch") for name in names) and importlib.util.find_spec("torch") is None:
        raise UserError("PyTorch is not installed; run make benchmarks, or: pip install -r requirements-benchmarks.txt")
    machine = processor()
    cores = choose_cores(options.threads)
    precisions = {"both": list(PRECISIONS), "auto": list(PRECISIONS[: 2 if machine["bfloat16"] else 1])}
    result: dict[str, Any] = {
        "processor": machine,
        "cores": list(cores),
        "turns": options.turns,
        "steps_per_turn": options.steps_per_turn,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES if importlib.util.find_spec(name)},
        "precisions": {},
    }
    for precision in precisions.get(options.precision, [options.precision]):
        builders = {name: functools.partial(CONTESTANTS[name], precision) for name in names}
        turns = measure(builders, cores, options.turns, options.steps_per_turn, precision)
        result["precisions"][precision] = summarize(turns)
    print(f"{machine['name']}, {len(cores)} of {machine['cores']} cores, IB-GAN on dSprites, batch 64")
    for precision, summary in result["precisions"].items():
        print(f"\n{table(precision, summary, 'steps/s')}")
    print(f"\n{json.dumps(result)}")
    return 0


if __name__ == "__main__":
    run_command(main)
