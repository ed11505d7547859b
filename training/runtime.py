"""Sets TensorFlow and Keras up before anything is built: threads, determinism, precision, devices."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf

from common.cores import available_cores
from common.errors import UserError
from training.fixed_order import fix_order_of_sums
from training.options import ExperimentOptions, OperationThreads

_MOST_CPU_DEVICES = 64


@dataclass(frozen=True)
class Runtime:
    """What was decided for this machine.

    Args:
        strategy: the distribution strategy.
        replicas: devices that share a global batch.
        gpus: GPUs found.
        xla: whether the training step is compiled by XLA.
        chunk_steps: steps per call of the compiled loop.
        precision: the Keras policy.
        inter_op_threads, intra_op_threads: TensorFlow's thread pools; 0 is TensorFlow's own choice.
    """

    strategy: tf.distribute.Strategy
    replicas: int
    gpus: int
    xla: bool
    chunk_steps: int
    precision: str
    inter_op_threads: int
    intra_op_threads: int


def prepare(options: ExperimentOptions) -> Runtime:
    """Sets everything up and builds the strategy.

    Args:
        options: the experiment's options.

    Raises:
        UserError: devices that are not there, or a global batch that they cannot share equally, or the model not cut.
    """
    _set_threads(options.operation_threads)
    fix_order_of_sums()
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        _try(functools.partial(tf.config.experimental.set_memory_growth, gpu, True))
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(options.seed)
    keras.mixed_precision.set_global_policy(options.precision)
    strategy = _strategy(options, len(gpus))
    replicas = strategy.num_replicas_in_sync
    if options.global_batch % replicas:
        raise UserError(
            f"experiment.global_batch is {options.global_batch}, which {replicas} devices cannot share equally; "
            f"choose a multiple of {replicas}"
        )
    parts = options.model.batch_parts
    if options.global_batch % (replicas * parts):
        raise UserError(
            f"experiment.global_batch is {options.global_batch}, but a step of this model cuts each device's batch "
            f"into {parts} equal parts; choose a multiple of {replicas * parts}"
        )
    return Runtime(
        strategy=strategy,
        replicas=replicas,
        gpus=len(gpus),
        xla=options.xla if options.xla is not None else bool(gpus) and replicas == 1,
        chunk_steps=options.chunk_steps or (100 if gpus else 20),
        precision=options.precision,
        inter_op_threads=tf.config.threading.get_inter_op_parallelism_threads(),
        intra_op_threads=tf.config.threading.get_intra_op_parallelism_threads(),
    )


def _try(setting: Callable[[], None]) -> None:
    """Settings that TensorFlow refuses once it runs stay as they are."""
    try:
        setting()
    except RuntimeError:
        return


def _set_threads(operation_threads: OperationThreads) -> None:
    """Two operations at a time, each on its share of the cores; measured on two cores."""
    if tf.config.list_physical_devices("GPU"):
        return
    share = available_cores() if operation_threads == "all" else available_cores() // 2
    _try(lambda: tf.config.threading.set_inter_op_parallelism_threads(2))
    _try(lambda: tf.config.threading.set_intra_op_parallelism_threads(max(1, share)))


def _strategy(options: ExperimentOptions, gpus: int) -> tf.distribute.Strategy:
    name = options.strategy
    if name == "auto":
        name = "mirrored" if gpus > 1 and options.devices != 1 else "one_device"
    if name == "one_device":
        if options.devices not in (None, 1):
            raise UserError(
                f"experiment.devices is {options.devices} with strategy 'one_device'; "
                "use experiment.strategy = 'mirrored'"
            )
        return tf.distribute.get_strategy()
    if name == "multi_worker":
        if "TF_CONFIG" not in os.environ:
            raise UserError(
                "strategy 'multi_worker' needs the environment variable TF_CONFIG with the addresses of all workers "
                "and this worker's index; see docs/architecture.md"
            )
        _check_cluster(os.environ["TF_CONFIG"])
        return tf.distribute.MultiWorkerMirroredStrategy()
    return mirrored_strategy(_mirrored_devices(options.devices, gpus))


def _check_cluster(text: str) -> None:
    """Refuses a TF_CONFIG that TensorFlow would fail on."""
    try:
        told = json.loads(text)
        workers, index = told["cluster"]["worker"], told["task"]["index"]
        right = isinstance(workers, list) and all(isinstance(worker, str) and ":" in worker for worker in workers)
        right = right and told["task"]["type"] == "worker" and type(index) is int and 0 <= index < len(workers)
    except (ValueError, KeyError, TypeError, RecursionError):
        right = False
    if not right:
        raise UserError(
            f"TF_CONFIG is {text[:80]!r}; expected JSON such as {{'cluster': {{'worker': ['host0:12345', "
            "'host1:12345']}, 'task': {'type': 'worker', 'index': 0}} with double quotes; see docs/architecture.md"
        )


@functools.cache
def mirrored_strategy(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    """The one `MirroredStrategy` on these devices in this process.

    Two of them would both number their collective operations from the same start, which TensorFlow then confuses.
    """
    return tf.distribute.MirroredStrategy(list(devices))


def _mirrored_devices(wanted: int | None, gpus: int) -> tuple[str, ...]:
    if gpus:
        count = wanted or gpus
        if count > gpus:
            raise UserError(f"experiment.devices is {count}, but this machine has {gpus} GPUs; choose at most {gpus}")
        return tuple(f"GPU:{index}" for index in range(count))
    cpu = tf.config.list_physical_devices("CPU")[0]
    count = wanted or 1
    if count > _MOST_CPU_DEVICES:
        raise UserError(
            f"experiment.devices is {count}, but this machine has no GPU, and at most {_MOST_CPU_DEVICES} logical "
            "devices are made of a CPU; choose fewer"
        )
    _try(lambda: tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count))
    found = len(tf.config.list_logical_devices("CPU"))
    if found < count:
        raise UserError(f"experiment.devices is {count}, but TensorFlow was started with {found} CPU devices")
    return tuple(f"CPU:{index}" for index in range(count))
