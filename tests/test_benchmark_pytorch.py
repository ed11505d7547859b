"""The harness that times contestants in turns, and the PyTorch contestant where PyTorch is installed."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import ibgan_vs_pytorch as benchmark
from common.errors import UserError

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
CORES = tuple(sorted(os.sched_getaffinity(0)))[:1] if hasattr(os, "sched_getaffinity") else (0,)


def build_sleeper(precision: str, threads: int) -> Callable[[int], None]:
    """A contestant that does a step in a hundredth of a second."""
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) != threads:
        raise RuntimeError("not held to its cores")
    return lambda steps: time.sleep(0.01 * steps)


def build_failure(precision: str, threads: int) -> Callable[[int], None]:
    """A contestant that cannot be built."""
    raise ValueError(f"no {precision} here")


def build_death(precision: str, threads: int) -> Callable[[int], None]:
    """A contestant whose process dies."""
    os._exit(1)


def test_contestants_take_turns() -> None:
    setting = benchmark.Setting("float32", CORES, turns=3, steps_per_turn=4)
    turns = benchmark.measure({"a": build_sleeper, "b": build_sleeper}, setting)
    assert {name: len(values) for name, values in turns.items()} == {"a": 3, "b": 3}
    for turn in turns["a"] + turns["b"]:
        assert 0 < turn.rate <= 100
        assert turn.cpu_seconds < 0.01
        assert turn.disturbance >= 0


@pytest.mark.parametrize(
    ("build", "message"), [(build_failure, "x failed: ValueError: no float32 here"), (build_death, "x ended")]
)
def test_a_contestant_that_fails_is_named(build: Callable[[str, int], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        benchmark.measure({"x": build}, benchmark.Setting("float32", CORES, 1, 1))


def turns_of(*rates: float, disturbance: float = 0.0) -> list[benchmark.Turn]:
    """Turns with these rates."""
    return [benchmark.Turn(rate, 1 / rate, disturbance) for rate in rates]


def test_ratios_are_formed_within_a_round() -> None:
    summary = benchmark.summarize({"spout": turns_of(2, 8, 4), "pytorch": turns_of(1, 2, 4)})
    assert summary["steps_per_second"]["spout"] == {"median": 4, "low": 2, "high": 8}
    assert summary["cpu_seconds_per_step"]["pytorch"] == {"median": 0.5, "low": 0.25, "high": 1}
    assert summary["ratios"]["spout / pytorch"] == {"median": 2.0, "low": 1.0, "high": 4.0}
    assert summary["ratios"]["pytorch / spout"] == {"median": 0.5, "low": 0.25, "high": 1.0}
    table = benchmark.table("float32", summary)
    assert "2.00 (1.00 - 4.00)" in table
    assert "do not quote" not in table


def test_disturbed_figures_say_so() -> None:
    summary = benchmark.summarize({"spout": turns_of(1, 2), "pytorch": turns_of(1, 2, disturbance=0.4)})
    assert "Other programs took 40%" in benchmark.table("float32", summary)


@pytest.mark.parametrize("threads", [0, 100_000])
def test_impossible_threads_are_refused(threads: int) -> None:
    with pytest.raises(UserError, match="allowed: 1 to"):
        benchmark.choose_cores(threads)


@needs_torch
@pytest.mark.parametrize("style", ["usual", "lean"])
def test_every_weight_is_trained(style: Any) -> None:
    import torch

    from benchmarks.pytorch_ibgan import IBGAN, PARAMETERS, blobs

    model = IBGAN(style, False, blobs(8))
    assert sum(PARAMETERS.values()) == 1_181_749 + 4_496_817
    before = [parameter.detach().clone() for network in model.networks.values() for parameter in network.parameters()]
    assert all(torch.isfinite(loss) for loss in model.step())
    after = [parameter for network in model.networks.values() for parameter in network.parameters()]
    assert sum(not torch.equal(old, new) for old, new in zip(before, after, strict=True)) == len(before)


@needs_torch
def test_both_styles_give_the_same_gradients() -> None:
    from benchmarks.pytorch_ibgan import IBGAN, blobs

    models = []
    for style in ("usual", "lean"):
        # The constructor seeds the noise too, so one model must step before the next is built.
        models.append(IBGAN(style, False, blobs(8)))  # type: ignore[arg-type]
        models[-1].step()
    for name in models[0].networks:
        first, second = (model.networks[name].named_parameters() for model in models)
        for (parameter, left), (_, right) in zip(first, second, strict=True):
            # A bias before a batch normalization has no effect: its gradient is rounding, hence the constant.
            difference = float((left.grad - right.grad).norm())
            assert difference < 1e-2 * float(left.grad.norm()) + 1e-5, f"{name}.{parameter}"
