"""Times training steps beside PyTorch models of the same layers and update order, in turns, on the same two cores.

  make benchmarks                                        installs PyTorch into .venv, then runs this for all models
  python -m benchmarks.steps_vs_pytorch --models=infogan,factor_vae --turns=15
  python -m benchmarks.steps_vs_pytorch --device=gpu     the same on a GPU: XLA and resident data on our side
  python -m benchmarks.steps_vs_pytorch --write          puts the tables into docs/performance.md, too

Contestants: `spout` (the gin file as it ships), `pytorch` (as one usually writes it), and `pytorch_lean` (only the
gradients that are needed). Each lives in a process of its own, held to the same processor cores, and trains the
published networks with the published batch. They take turns, each round in another order, so what else the machine
does hits all alike; the ratios are formed within a round. Programs that are busy on those cores still spoil
the figures (and PyTorch's threads wait for each other, so its more than ours): how much they took is reported too.
The last line printed is the result as JSON.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.pages import contest_table, disturbance_of, section, setting, write_performance
from benchmarks.turns import Runner, choose_cores, measure, processor, some_of, summarize, table, versions_of
from common.arguments import CommandParser
from common.errors import UserError, run_command

PRECISIONS = ("float32", "bfloat16")
PACKAGES = ("torch", "tensorflow", "keras", "numpy")


@dataclass(frozen=True)
class Case:
    """What is timed.

    Args:
        what: for people.
        gin_file: of our side.
        twin: the module of PyTorch's side, with `step_runner(style, bfloat16, threads)`.
        steps: of one turn.
        bindings: further ones of our side.
        arguments: further ones of `step_runner`.
    """

    what: str
    gin_file: str
    twin: str
    steps: int
    bindings: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)


CASES = {
    "ibgan": Case("IB-GAN on dSprites, batch 64", "gin/ibgan.gin", "pytorch_ibgan", 20),
    "infogan": Case("InfoGAN on MNIST, batch 128", "gin/infogan_mnist.gin", "pytorch_infogan", 20),
    "infogan_cr": Case(
        "InfoGAN-CR on dSprites before the switch, batch 64",
        "gin/infogan_cr_dsprites.gin",
        "pytorch_infogan_cr",
        40,
        arguments={"contrastive": False},
    ),
    "infogan_cr_contrastive": Case(
        "InfoGAN-CR on dSprites after the switch, batch 64",
        "gin/infogan_cr_dsprites.gin",
        "pytorch_infogan_cr",
        30,
        bindings=("infogan_cr.contrastive_weights = (2.0,)", "infogan_cr.contrastive_steps = ()"),
        arguments={"contrastive": True},
    ),
    "factor_vae": Case("FactorVAE on dSprites, batch 64", "gin/factor_vae_dsprites.gin", "pytorch_factor_vae", 40),
    "vgan": Case("VGAN on CIFAR-10, batch 64", "gin/vgan_cifar10.gin", "pytorch_vgan", 10),
    "vgan_gp": Case(
        "VGAN-GP on CIFAR-10, batch 64",
        "gin/vgan_cifar10_vgan_gp.gin",
        "pytorch_vgan",
        5,
        arguments={"penalized": True},
    ),
    "iiae": Case("IIAE on MNIST-CDCB, 256 x 256, batch 8", "gin/iiae_mnist_cdcb.gin", "pytorch_iiae", 3),
    "iiae_64": Case(
        "IIAE on MNIST-CDCB reduced to 64 x 64 and a fourth of the width, batch 16",
        "gin/iiae_mnist_cdcb_64.gin",
        "pytorch_iiae",
        20,
        arguments={"side": 64, "width": 8, "batch": 16},
    ),
}


def spout_runner(case: str, precision: str, device: str, threads: int) -> Runner:
    """Our training loop on the published experiment; it takes its threads from the cores it may use."""
    from common.tensorflow_start import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    from training.benchmark import step_runner

    if device == "gpu" and not tf.config.list_physical_devices("GPU"):
        raise UserError("TensorFlow finds no GPU here; leave --device=gpu out")
    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]
    chosen = CASES[case]
    # A miniature of the data: the arithmetic is the same, and nothing has to be prepared.
    params = [f"experiment.precision = {policy!r}", "data.source = 'synthetic'", "experiment.strategy = 'one_device'"]
    return step_runner([chosen.gin_file], [*params, *chosen.bindings])


def pytorch_runner(style: str, case: str, precision: str, device: str, threads: int) -> Runner:
    """PyTorch's side, in one of its two styles."""
    import torch

    if device == "gpu":
        if not torch.cuda.is_available():
            raise UserError("PyTorch finds no GPU here; leave --device=gpu out")
        torch.set_default_device("cuda")
    chosen = CASES[case]
    twin = importlib.import_module(f"benchmarks.{chosen.twin}")
    run: Runner = twin.step_runner(style, precision == "bfloat16", threads, **chosen.arguments)
    if device == "cpu":
        return run

    def run_and_wait(steps: int) -> None:
        run(steps)
        torch.cuda.synchronize()

    return run_and_wait


CONTESTANTS: dict[str, Callable[..., Runner]] = {
    "spout": spout_runner,
    "pytorch": functools.partial(pytorch_runner, "usual"),
    "pytorch_lean": functools.partial(pytorch_runner, "lean"),
}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandParser("python -m benchmarks.steps_vs_pytorch", __doc__ or "")
    parser.add_argument("--models", default=",".join(CASES), help="some of: %(default)s")
    parser.add_argument("--turns", type=int, default=9, help="rounds (default 9)")
    parser.add_argument("--steps_per_turn", type=int, help="training steps of one turn (default: as many as take long)")
    parser.add_argument("--threads", type=int, default=2, help="processor cores, a thread on each (default 2)")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="default cpu")
    parser.add_argument(
        "--precision",
        choices=("auto", *PRECISIONS, "both"),
        default="auto",
        help="auto: float32, and bfloat16 where the processor computes in it (default)",
    )
    parser.add_argument("--write", action="store_true", help="write the tables into docs/performance.md, too")
    parser.add_argument("--contestants", default=",".join(CONTESTANTS), help="some of: %(default)s")
    return parser.parse_args(arguments)


def page_section(
    case: Case, summary: Mapping[str, Any], precision: str, result: Mapping[str, Any], turns: int, steps: int
) -> str:
    """One measurement as a section of the page.

    Args:
        case: what was timed.
        summary: of `benchmarks.turns.summarize`.
        precision: `float32` or `bfloat16`.
        result: the machine and the versions, as `main` collects them.
        turns: rounds.
        steps: of each turn.
    """
    where = len(result["cores"]) if result["device"] == "cpu" else "one GPU"
    versions = {"TensorFlow": result["versions"].get("tensorflow"), "PyTorch": result["versions"].get("torch")}
    rounds = f"{turns} rounds of {steps} steps"
    return section(
        f"{case.what}, {precision}",
        setting(result["processor"], where, versions, rounds, disturbance_of(summary)),
        contest_table(summary, "steps per second"),
    )


def main() -> int:
    """Measures and prints tables and JSON."""
    options = parse()
    names = some_of("contestants", options.contestants, CONTESTANTS)
    models = some_of("models", options.models, CASES)
    if options.turns < 1 or (options.steps_per_turn or 1) < 1:
        raise UserError("--turns and --steps_per_turn: allowed: 1 or more")
    if any(name.startswith("pytorch") for name in names) and importlib.util.find_spec("torch") is None:
        raise UserError("PyTorch is not installed; run make benchmarks, or: pip install -r requirements-benchmarks.txt")
    machine = processor()
    cores = choose_cores(options.threads)
    with_bfloat16 = machine["bfloat16"] or options.device == "gpu"
    precisions = {"both": list(PRECISIONS), "auto": list(PRECISIONS[: 2 if with_bfloat16 else 1])}
    result: dict[str, Any] = {
        "processor": machine,
        "cores": list(cores),
        "device": options.device,
        "turns": options.turns,
        "python": platform.python_version(),
        "versions": versions_of(PACKAGES),
        "models": {},
    }
    print(f"{machine['name']}, {len(cores)} of {machine['cores']} cores, device {options.device}")
    for model in models:
        case = CASES[model]
        result["models"][model] = {}
        for precision in precisions.get(options.precision, [options.precision]):
            builders = {name: functools.partial(CONTESTANTS[name], model, precision, options.device) for name in names}
            what = f"{model} {precision}"
            hide_gpu = options.device == "cpu"
            steps = options.steps_per_turn or case.steps
            summary = summarize(measure(builders, cores, options.turns, steps, what, hide_gpu))
            result["models"][model][precision] = summary
            print(f"\n{case.what}\n{table(precision, summary, 'steps/s')}", flush=True)
            if options.write:
                name = f"steps {model} {precision} {options.device}"
                text = page_section(case, summary, precision, result, options.turns, steps)
                write_performance(name, text)
    print(f"\n{json.dumps(result)}")
    return 0


if __name__ == "__main__":
    run_command(main)
