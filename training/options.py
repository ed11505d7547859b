"""The options of a run as frozen dataclasses with validated ranges; gin fills them, nothing below reads gin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from models.optimizers import OptimizerOptions
from models.options import ModelOptions, check_choice, check_range

StrategyName = Literal["auto", "one_device", "mirrored", "multi_worker"]
Precision = Literal["float32", "mixed_bfloat16"]
Preset = Literal["fast", "paper"]
OperationThreads = Literal["half", "all"]
BatchNormMode = Literal["inference", "batch"]
SheetNoise = Literal["row", "cell"]
AugmentationName = Literal["flips", "flips_together", "crops_and_flips"]


def _check_if_set(option: str, value: float | None, least: float, most: float = float("inf")) -> None:
    if value is not None:
        check_range(option, value, least, most)


@dataclass(frozen=True)
class ExperimentOptions:
    """What a run is.

    Args:
        name: name of the run and of its folder.
        model: options of the model, such as `@ibgan()`.
        total_steps: training steps.
        optimizers: player name to optimizer options; a player left out takes the published optimizer.
        global_batch: images per step over all devices.
        seed: weights, order of the data, all noise and the metrics' samples follow from it.
        strategy: `auto` (all GPUs of this machine, or one device), `one_device`, `mirrored`, `multi_worker`.
        devices: number of devices of `mirrored`; None: all. On a machine without a GPU they are logical CPU devices.
        precision: `float32` or `mixed_bfloat16`.
        xla: compile the training step by XLA; None: on a single GPU only.
        deterministic: only operations that give the same numbers every time.
        resident_data: keep the data on the training device; None: if they fit.
        operation_threads: processor cores that one operation may use, where there is no GPU; two operations run at a
            time. `half` suits networks that compute side by side, `all` chains of large products.
        chunk_steps: steps per call of the compiled loop; None: 20 on a CPU, 100 on a GPU.
        log_every, picture_every, checkpoint_every, evaluate_every: steps between these events; 0 is never.
        keep_checkpoints: how many of the latest checkpoints are kept.
        best_metric: the checkpoint with the highest score of this metric is kept as well.
        paper: what is reproduced, for the report.
        paper_steps: training steps of the published run, for the report.
        paper_scores: metric id to the published number, alone or with its spread, such as `(0.80, 0.07)`; that of a
            snapshot under `<snapshot>/<metric id>`.
    """

    name: str
    model: ModelOptions
    total_steps: int
    optimizers: Mapping[str, OptimizerOptions] = field(default_factory=dict)
    global_batch: int = 64
    seed: int = 0
    strategy: StrategyName = "auto"
    devices: int | None = None
    precision: Precision = "float32"
    xla: bool | None = None
    deterministic: bool = True
    resident_data: bool | None = None
    operation_threads: OperationThreads = "half"
    chunk_steps: int | None = None
    log_every: int = 100
    picture_every: int = 2000
    checkpoint_every: int = 5000
    evaluate_every: int = 0
    keep_checkpoints: int = 3
    best_metric: str | None = None
    paper: str = ""
    paper_steps: int | None = None
    paper_scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise ValueError(f"name is {self.name!r}; it becomes a folder: no slash, no leading dot, not empty")
        check_range("total_steps", self.total_steps, 0)
        check_range("global_batch", self.global_batch, 1)
        check_range("seed", self.seed, 0, 2**31 - 1)
        _check_if_set("devices", self.devices, 1)
        _check_if_set("chunk_steps", self.chunk_steps, 1)
        check_range("log_every", self.log_every, 1)
        check_range("keep_checkpoints", self.keep_checkpoints, 1)
        for name in ("picture_every", "checkpoint_every", "evaluate_every"):
            check_range(name, getattr(self, name), 0)
        check_choice("strategy", self.strategy, StrategyName)
        check_choice("precision", self.precision, Precision)
        check_choice("operation_threads", self.operation_threads, OperationThreads)


@dataclass(frozen=True)
class DataOptions:
    """What a run learns from.

    Args:
        name: the data set, see `python -m data_gen`.
        source: which of its sources, such as `official` or `synthetic`; `auto`: the best that is there.
        limit: only this many of its images.
        options: further arguments of the data set's own `load`, such as `{'variant': 'all_color'}` for `teapot`.
        augmentation: random changes of pairs while training, for models of pairs: `flips` (x and y each by itself),
            `flips_together`, or `crops_and_flips`; None: none.
    """

    name: str = "dsprites"
    source: str = "auto"
    limit: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    augmentation: AugmentationName | None = None

    def __post_init__(self) -> None:
        _check_if_set("limit", self.limit, 1)
        if self.augmentation is not None:
            check_choice("augmentation", self.augmentation, AugmentationName)


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured.

    Args:
        metrics: ids of metrics, see `python -m metrics --list`.
        preset: size of the samples at the end and in the mode evaluate: `paper` is the published protocol.
        preset_during_training: the same while training; `fast` is smaller, and its scores say so.
        batch: images encoded at once.
        seed: of the samples.
        representation: which of the model's representations is measured, such as `mean` of FactorVAE; None: the
            published one.
    """

    metrics: tuple[str, ...] = ()
    preset: Preset = "paper"
    preset_during_training: Preset = "fast"
    batch: int = 256
    seed: int = 0
    representation: str | None = None

    def __post_init__(self) -> None:
        check_choice("preset", self.preset, Preset)
        check_choice("preset_during_training", self.preset_during_training, Preset)
        check_range("batch", self.batch, 1)
        check_range("seed", self.seed, 0, 2**31 - 1)


@dataclass(frozen=True)
class TraversalOptions:
    """How codes are moved in pictures: to absolute values, all others kept.

    Args:
        low, high: the range; both None: the latent space's own (plus and minus 3 standard deviations).
        steps: columns of a sheet.
        rows: base codes, one per row.
        batch_norm: `inference`, or `batch`: normalize with the statistics of the sheet, as the community code does.
        noise: in sheets of a categorical code by a continuous one, `row`: all images of a row share their noise, as in
            InfoGAN's figures; `cell`: each has its own, as in its community code.
        seed: of the base codes.
        frames_per_second: of the GIFs.
    """

    low: float | None = None
    high: float | None = None
    steps: int = 10
    rows: int = 16
    batch_norm: BatchNormMode = "inference"
    noise: SheetNoise = "row"
    seed: int = 0
    frames_per_second: int = 8

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high: give both of them, or none")
        _check_if_set("low", self.low, -1e6, 1e6)
        _check_if_set("high", self.high, -1e6, 1e6)
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}; low must be below high")
        check_range("steps", self.steps, 2, 1000)
        check_range("rows", self.rows, 1, 1000)
        check_range("seed", self.seed, 0, 2**31 - 1)
        check_range("frames_per_second", self.frames_per_second, 1, 100)
        check_choice("batch_norm", self.batch_norm, BatchNormMode)
        check_choice("noise", self.noise, SheetNoise)

    @property
    def span(self) -> tuple[float, float] | None:
        """`(low, high)`, or None for the latent space's own range."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class GenerationOptions:
    """What the mode generate makes.

    Args:
        images: how many.
        seed: of the latents.
        batch: images made at once.
    """

    images: int = 64
    seed: int = 0
    batch: int = 64

    def __post_init__(self) -> None:
        check_range("images", self.images, 1)
        check_range("batch", self.batch, 1)
        check_range("seed", self.seed, 0, 2**31 - 1)


@dataclass(frozen=True)
class BenchmarkOptions:
    """What the mode benchmark times.

    Args:
        steps: steps per turn.
        turns: turns; the median counts.
    """

    steps: int = 20
    turns: int = 5

    def __post_init__(self) -> None:
        check_range("steps", self.steps, 1)
        check_range("turns", self.turns, 1)


@dataclass(frozen=True)
class Configuration:
    """Everything that a command is told."""

    experiment: ExperimentOptions
    data: DataOptions
    evaluation: EvaluationOptions
    traversal: TraversalOptions
    generation: GenerationOptions
    benchmark: BenchmarkOptions
