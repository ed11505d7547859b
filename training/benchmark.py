"""Times training steps of a configured experiment."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil
import tensorflow as tf

from training.configuration import load
from training.experiment import Experiment, build
from training.loop import TrainingLoop
from training.options import Configuration


def step_runner(gin_files: Sequence[str], gin_params: Sequence[str] = ()) -> Callable[[int], float]:
    """Builds an experiment for timing from outside.

    Args:
        gin_files: gin files of the experiment.
        gin_params: single bindings.

    Returns:
        a function that runs so many training steps in one compiled chunk, waits, and returns the seconds.
    """
    configuration, _ = load(gin_files, gin_params)
    return build(configuration).loop().run


def measure(configuration: Configuration) -> dict[str, Any]:
    """Rates, the split of a step, compile time and memory of the configured experiment.

    Args:
        configuration: `benchmark.steps` and `benchmark.turns` say how long to measure.

    Returns:
        plain data; times in seconds, medians over the turns with their range.
    """
    options = configuration.benchmark
    begin = time.perf_counter()
    experiment = build(configuration)
    built = time.perf_counter() - begin
    loop = experiment.loop()
    compiling = loop.run(1)
    loop.run(options.steps)
    rates = [options.steps / loop.run(options.steps) for _ in range(options.turns)]
    data_seconds = _data_seconds(experiment, loop, options.steps)
    chunk_seconds = 1 / statistics.median(rates)
    single_step_seconds = statistics.median(loop.run(1) for _ in range(options.turns))
    return {
        "model": type(experiment.model).__name__,
        "data": experiment.dataset.name,
        "precision": experiment.runtime.precision,
        "replicas": experiment.runtime.replicas,
        "xla": experiment.runtime.xla,
        "resident_data": loop.resident,
        "global_batch": configuration.experiment.global_batch,
        "steps_per_second": 1 / chunk_seconds,
        "steps_per_second_range": [min(rates), max(rates)],
        "images_per_second": configuration.experiment.global_batch / chunk_seconds,
        "seconds_per_step": {
            "all": chunk_seconds,
            "data": data_seconds,
            "step": max(0.0, chunk_seconds - data_seconds),
            "rest_without_chunks": max(0.0, single_step_seconds - chunk_seconds),
        },
        "build_seconds": built,
        "compile_seconds": compiling,
        "memory_mib": _memory(experiment),
    }


def _memory(experiment: Experiment) -> dict[str, int]:
    memory = {"process": round(psutil.Process().memory_info().rss / 2**20)}
    if experiment.runtime.gpus:
        memory["gpu_peak"] = round(tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20)
    return memory


def _data_seconds(experiment: Experiment, loop: TrainingLoop, steps: int) -> float:
    """Seconds per step of the data alone, from the resident lookup or the pipeline."""
    options = experiment.configuration.experiment
    if loop.resident:
        source = experiment.training_data().batch_source(options.global_batch, options.seed)

        @tf.function
        def fetch(count: tf.Tensor) -> tf.Tensor:
            total = tf.constant(0.0)
            for step in tf.range(count):
                total += tf.reduce_sum([tf.reduce_sum(part) for part in tf.nest.flatten(source(step))])
            return total

        fetch(tf.constant(1, tf.int64))
        begin = time.perf_counter()
        fetch(tf.constant(steps, tf.int64)).numpy()
        return (time.perf_counter() - begin) / steps
    iterator = iter(experiment.training_data().training_pipeline(options.global_batch, options.seed))
    next(iterator)
    begin = time.perf_counter()
    for _ in range(steps):
        next(iterator)
    return (time.perf_counter() - begin) / steps
