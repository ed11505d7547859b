"""The options of a run as frozen dataclasses with validated ranges; gin fills them, nothing below reads gin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from common.errors import near_matches
from models.optimizers import OptimizerOptions
from models.options import ModelOptions, check_choice, check_range

StrategyName = Literal["auto", "one_device", "mirrored", "multi_worker"]
Precision = Literal["float32", "mixed_bfloat16"]
Preset = Literal["fast", "paper"]
OperationThreads = Literal["half", "all"]
BatchNormMode = Literal["inference", "batch"]
SheetNoise = Literal["row", "cell"]
AugmentationName = Literal["flips", "flips_together", "crops_and_flips"]
LatentPath = Literal["linear", "spherical"]
ExportFormat = Literal["keras", "savedmodel", "onnx"]

EXTRACTORS = ("inception", "shape_classifier")
"""Names of networks that generated images can be shown to."""

EXTRACTOR_FILES = (".keras", ".h5")
"""How files of other ones end."""


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
        start_from: folder of a run of the same model whose last weights this one starts from, as far as they fit; VGAN
            takes those of smaller images. Steps and optimizers begin anew. Read once, when the run starts.
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
        best_metric: the checkpoint with the best score of this metric is kept as well: the highest, or, where lower is
            better (`python -m metrics --list`), the lowest.
        best_after: steps before which no checkpoint is the best.
        paper: what is reproduced, for the report.
        paper_steps: training steps of the published run, for the report.
        paper_scores: metric id to the published number, alone or with its spread, such as `(0.80, 0.07)`; that of a
            snapshot under `<snapshot>/<metric id>`, of a direction of retrieval under `<metric id>/x_to_y`.
    """

    name: str
    model: ModelOptions
    total_steps: int
    optimizers: Mapping[str, OptimizerOptions] = field(default_factory=dict)
    global_batch: int = 64
    seed: int = 0
    start_from: str | None = None
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
    best_after: int = 0
    paper: str = ""
    paper_steps: int | None = None
    paper_scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name.isprintable() or not self.name or "/" in self.name or self.name.startswith("."):
            raise ValueError(
                f"name is {self.name!r}; it becomes a folder: no slash, no leading dot, no control character, not empty"
            )
        check_range("total_steps", self.total_steps, 0)
        check_range("global_batch", self.global_batch, 1)
        check_range("seed", self.seed, 0, 2**31 - 1)
        _check_if_set("devices", self.devices, 1)
        _check_if_set("chunk_steps", self.chunk_steps, 1)
        check_range("log_every", self.log_every, 1)
        check_range("keep_checkpoints", self.keep_checkpoints, 1)
        for name in ("picture_every", "checkpoint_every", "evaluate_every", "best_after"):
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
        validation: so many pairs, if there are as many, choose the best checkpoint by the metric
            `shared_recall_exclusive_at_chance`; 0: none do.
        validation_split: where these come from. `train`: they are taken away from the pairs to train on, evenly at
            random, but at most a fifth of them; `trained_on`: the first ones, which are trained on too, as the
            authors of IIAE do; or another split of the data set, such as `val` of facades.
    """

    name: str = "dsprites"
    source: str = "auto"
    limit: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    augmentation: AugmentationName | None = None
    validation: int = 0
    validation_split: str = "train"

    def __post_init__(self) -> None:
        _check_if_set("limit", self.limit, 1)
        check_range("validation", self.validation, 0)
        if self.augmentation is not None:
            check_choice("augmentation", self.augmentation, AugmentationName)


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured.

    Args:
        metrics: ids of metrics, see `python -m metrics --list`.
        preset: size of the samples at the end and in the mode evaluate: `paper` is the published protocol.
        preset_during_training: the same while training; `fast` is smaller, and its scores say so.
        batch: images encoded or generated at once.
        seed: of the samples.
        representation: which of the model's representations is measured, such as `mean` of FactorVAE; None: the
            published one.
        extractor: the network that generated images are shown to (`fid`, `kid`, `inception_score`, ...): `inception`,
            whose weights are downloaded; `shape_classifier`, the shipped one of dSprites' shapes; or
            a file: `.keras`, a model from images in [0, 1] to features or to probabilities of classes, or
            `.h5`, weights of InceptionV3.
        generated_images, generated_images_fast: how many images are generated with the presets `paper` and `fast`.
        class_factor: the factor of paired data whose levels are the classes of `map_all` and the like, such as `car` of
            cars; None: data that have classes of their own, such as sketchy.
    """

    metrics: tuple[str, ...] = ()
    preset: Preset = "paper"
    preset_during_training: Preset = "fast"
    batch: int = 256
    seed: int = 0
    representation: str | None = None
    extractor: str = "inception"
    generated_images: int = 50_000
    generated_images_fast: int = 5_000
    class_factor: str | None = None

    def __post_init__(self) -> None:
        check_choice("preset", self.preset, Preset)
        check_choice("preset_during_training", self.preset_during_training, Preset)
        check_range("batch", self.batch, 1)
        check_range("seed", self.seed, 0, 2**31 - 1)
        check_range("generated_images", self.generated_images, 1)
        check_range("generated_images_fast", self.generated_images_fast, 1)
        if self.extractor not in EXTRACTORS and not self.extractor.endswith(EXTRACTOR_FILES):
            raise ValueError(
                f"extractor is {self.extractor!r}{near_matches(self.extractor, EXTRACTORS)}; or give a file that ends "
                f"in {' or '.join(EXTRACTOR_FILES)}"
            )


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
        frames_per_second: of the GIFs, 50 at most.
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
        check_range("frames_per_second", self.frames_per_second, 1, 50)
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
        images: how many, 1,000,000 at most.
        seed: of the latents.
        batch: images made at once.
    """

    images: int = 64
    seed: int = 0
    batch: int = 64

    def __post_init__(self) -> None:
        check_range("images", self.images, 1, 1_000_000)
        check_range("batch", self.batch, 1)
        check_range("seed", self.seed, 0, 2**31 - 1)


@dataclass(frozen=True)
class InterpolationOptions:
    """What the mode interpolate films: walks through the latent space.

    Args:
        path: `linear`: from one set of random latents straight to the next, which is then held still (the community
            code of VDB; published: 64 images, 60 seconds, 30 frames per second). `spherical`: a closed loop through
            random points, on great circles of the Gaussian numbers (the authors' code; published: 10 points of 75
            substeps, 10 films).
        images: in a frame, each with its own latents.
        films: how many, each through latents of its own.
        frames_per_second: of the MP4.
        gif_frames_per_second: of the GIF, which leaves out frames if these are fewer; 0: no GIF.
        seconds: length of a linear film; as many transitions as fit.
        transition_seconds: of a linear film, from one set of latents to the next.
        still_seconds: of a linear film, for each set that was reached; at least one frame.
        points: of a spherical film.
        substeps: frames from one point to the next of a spherical film.
        scale: factor of the Gaussian numbers; 1: as in training.
        batch: images made at once, 512 at most.
        seed: of the latents.
    """

    path: LatentPath = "linear"
    images: int = 16
    films: int = 1
    frames_per_second: int = 20
    gif_frames_per_second: int = 10
    seconds: float = 12.0
    transition_seconds: float = 3.0
    still_seconds: float = 1.0
    points: int = 5
    substeps: int = 40
    scale: float = 1.0
    batch: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("path", self.path, LatentPath)
        check_range("images", self.images, 1, 1024)
        check_range("films", self.films, 1, 1000)
        check_range("frames_per_second", self.frames_per_second, 1, 120)
        check_range("gif_frames_per_second", self.gif_frames_per_second, 0, 50)
        check_range("still_seconds", self.still_seconds)
        check_range("transition_seconds", self.transition_seconds, 1.0 / self.frames_per_second)
        check_range("seconds", self.seconds, self.transition_seconds + self.still_seconds)
        check_range("points", self.points, 2)
        check_range("substeps", self.substeps, 1)
        check_range("scale", self.scale, 0.0)
        check_range("batch", self.batch, 1, 512)
        check_range("seed", self.seed, 0, 2**31 - 1)


@dataclass(frozen=True)
class ExportOptions:
    """What the mode export writes.

    Args:
        formats: `keras`: the model as `.keras`, and its weights; `savedmodel`: encoder and generator, for TensorFlow
            without the suite; `onnx`: the same, one file for each representation, for anything that runs ONNX (needs
            the packages of requirements-onnx.txt).
    """

    formats: tuple[ExportFormat, ...] = ("keras", "savedmodel")

    def __post_init__(self) -> None:
        if not self.formats:
            raise ValueError(f"formats is empty; give some of {', '.join(map(repr, get_args(ExportFormat)))}")
        for name in self.formats:
            check_choice("formats", name, ExportFormat)


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
    interpolation: InterpolationOptions
    export: ExportOptions
    benchmark: BenchmarkOptions
