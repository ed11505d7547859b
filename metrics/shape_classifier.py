"""The classifier of dSprites' shapes that InfoGAN-CR scores generators with; `python -m metrics.shape_classifier`.

Four convolutions and two linear layers from a 64x64 picture to square, ellipse or heart. Weights are shipped, so that
scores of different people come from the same classifier; the command trains others, or says how accurate some are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from common.arguments import CommandParser
from common.damage import NPZ_DAMAGE
from common.errors import UserError, run_command
from common.files import atomic_file, sha256_of
from common.output import answer, say
from common.progress import progress
from metrics.features import Extractor, checked_images, in_whole_batches
from metrics.keras_encoder import import_keras
from metrics.protocols import generator

if TYPE_CHECKING:
    import keras

CLASSES = ("square", "ellipse", "heart")
IMAGE_SHAPE = (64, 64, 1)
TRAINABLE_PARAMETERS = 247_619

SHIPPED_WEIGHTS = Path(__file__).with_name("shape_classifier_weights.npz")
SHIPPED_SHA256 = "7d5707d94dbf63caff6820e796c1dec6252a88b0c787023ca452a7080f03b306"

BATCH = 64
EPOCHS = 5
LEARNING_RATE = 0.01
_TEST_IMAGES = 50_000
_CALIBRATION_BATCHES = 100
_BATCH_AT_ONCE = 256

_EPILOG = f"""\
The published classifier was trained for {EPOCHS} epochs of {BATCH} images on all 737,280 of them, which is the default
here too; --steps and --epochs make it shorter, and the result says so. The accuracy is that on random images of
the data set given, which are those it was trained on: as published, none are held out.

examples:
  python -m metrics.shape_classifier --out classifier.npz              as published (hours on a CPU)
  python -m metrics.shape_classifier --out classifier.npz --steps 5000
  python -m metrics.shape_classifier --evaluate                        how accurate the shipped weights are
  python -m metrics.shape_classifier --evaluate --weights classifier.npz --source subgrid
"""


def build(seed: int = 0) -> keras.Model:
    """The network, with fresh weights.

    Args:
        seed: of the weights.

    Returns:
        a model from images `[batch, 64, 64, 1]` in [0, 1] to logits `[batch, 3]`; 247,619 trainable parameters.

    Source: Lin et al., InfoGAN-CR, ICML 2020, `gan/network.py` (MetricRegresser) of the released code: kernels of 4 at
    stride 2 and linear layers, each followed by a leaky ReLU of slope 0.2 and batch normalization.
    """
    keras = import_keras()
    layers, initializers = keras.layers, keras.initializers
    x = inputs = keras.Input(IMAGE_SHAPE, name="images")
    for number, filters in enumerate((32, 32, 64, 64)):
        truncated = initializers.TruncatedNormal(stddev=0.02, seed=seed * 10 + number)
        name = f"convolution_{number}"
        x = layers.Conv2D(filters, 4, strides=2, padding="same", kernel_initializer=truncated, name=name)(x)
        x = _activated(x, name)
    x = layers.Flatten(name="flat")(x)
    normal = initializers.RandomNormal(stddev=0.02, seed=seed * 10 + 4)
    x = layers.Dense(128, kernel_initializer=normal, name="linear_0")(x)
    x = _activated(x, "linear_0")
    normal = initializers.RandomNormal(stddev=0.02, seed=seed * 10 + 5)
    logits = layers.Dense(len(CLASSES), kernel_initializer=normal, name="logits")(x)
    return keras.Model(inputs, logits, name="shape_classifier")


def _activated(x: Any, name: str) -> Any:
    layers = import_keras().layers
    x = layers.LeakyReLU(negative_slope=0.2, name=f"{name}_leaky_relu")(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_normalization")(x)


class ShapeClassifier:
    """A trained classifier: images -> probabilities of square, ellipse and heart.

    Args:
        weights: a file that the command has written. Default: the shipped one, whose SHA-256 is checked.

    Attributes:
        id: `dsprites_shape_` and the first eight digits of the file's SHA-256: scores of different classifiers must
            not be compared.
        about: how the weights were trained.

    Raises:
        UserError: if the file is missing, damaged, or of another network.
    """

    def __init__(self, weights: Path | None = None) -> None:
        path = SHIPPED_WEIGHTS if weights is None else weights
        if not path.is_file():
            raise UserError(
                f"{path}: no such file; train one with python -m metrics.shape_classifier --out FILE, or leave "
                "--weights out for the shipped ones"
            )
        checksum = sha256_of(path)
        if weights is None and checksum != SHIPPED_SHA256:
            raise UserError(f"{path} is damaged (SHA-256 {checksum}, not {SHIPPED_SHA256}); get Spout's files again")
        self.id = f"dsprites_shape_{checksum[:8]}"
        self.about: dict[str, Any] = {}
        self._model = build()
        self.about = _load(self._model, path)

    def __call__(self, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The probabilities of the shapes.

        Args:
            images: `[n, 64, 64, 1]`, floats in [0, 1] or uint8 from 0 to 255. The numbers do not depend on how images
                are spread over calls.

        Returns:
            `[n, 3]` float32, in the order of `CLASSES`; rows add up to 1.

        Raises:
            TypeError: if the images are of another type.
            ValueError: if they have another shape or range.
        """
        scaled = checked_images(images, IMAGE_SHAPE)
        logits = in_whole_batches(self._model.predict_on_batch, scaled, _BATCH_AT_ONCE).astype(np.float64)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)

    def features(self) -> Extractor:
        """The 128 numbers before the last layer, for `fid` and `kid` of such images; no published protocol has them."""
        model = import_keras().Model(self._model.inputs, self._model.get_layer("logits").input)
        return Extractor(f"{self.id}_features", model.predict_on_batch, "images in [0, 1]", batch_size=_BATCH_AT_ONCE)


def classify(images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The probabilities `[n, 3]` of the shapes on images `[n, 64, 64, 1]`, by the shipped weights.

    For images in several parts make one `ShapeClassifier` and call it.
    """
    return ShapeClassifier()(images)


def train(model: keras.Model, images: Any, labels: npt.NDArray[np.int64], steps: int, seed: int) -> None:
    """Trains by Adam on softmax cross-entropy, the batch normalization in training mode.

    Args:
        model: as `build` makes it; changed in place.
        images: a function from image numbers `[n]` to uint8 images `[n, 64, 64, 1]`.
        labels: `[N]` the shape of each image, 0 to 2.
        steps: batches of 64; every epoch goes through the images in an order of its own.
        seed: of these orders.
    """
    keras = import_keras()
    images_and_labels = ((_scaled(images(numbers)), labels[numbers]) for numbers in _batches(len(labels), BATCH, seed))
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=LEARNING_RATE, beta_1=0.9, beta_2=0.999, epsilon=1e-8),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    for _ in progress(range(steps), "training", unit="steps"):
        model.train_on_batch(*next(images_and_labels))


def calibrate(model: keras.Model, images: Any, count: int, seed: int) -> None:
    """Gives batch normalization the mean statistics of 100 batches of 256 images, with the weights as they are.

    The moving statistics of the last steps belong to weights that have moved on, and are of some hundred images only:
    through five layers such errors grow until, at this learning rate, no answer is right (0.33 instead of 0.99 after
    9,000 steps). This is not in the published code, which trains until the weights move no more.

    Args:
        model: as `train` has left it; changed in place.
        images: a function from image numbers `[n]` to uint8 images `[n, 64, 64, 1]`.
        count: how many images there are.
        seed: which are taken.
    """
    layers = [layer for layer in model.layers if hasattr(layer, "moving_mean")]
    momentum = layers[0].momentum
    batches = _batches(count, _BATCH_AT_ONCE, seed)
    for number in progress(range(_CALIBRATION_BATCHES), "calibrating", unit="batches"):
        for layer in layers:
            # The moving mean then is the mean of all batches so far.
            layer.momentum = number / (number + 1)
        model(_scaled(images(next(batches))), training=True)
    for layer in layers:
        layer.momentum = momentum


def _scaled(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return np.divide(images, 255, dtype=np.float32)


def _batches(count: int, batch: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Endless batches of numbers, shuffled anew in every epoch; a rest that fills no batch is left out."""
    rng = generator(seed, "shape classifier")
    batch = min(batch, count)
    while True:
        order = rng.permutation(count)
        for start in range(0, count - batch + 1, batch):
            yield order[start : start + batch]


def save(model: keras.Model, path: Path, about: dict[str, Any]) -> None:
    """Writes weights to an .npz file, whole or not at all.

    Args:
        model: as `build` makes it.
        path: the file.
        about: how it was trained: what `json.dumps` takes.
    """
    arrays: dict[str, Any] = {"about": np.array(json.dumps(about))}
    for variable in model.variables:
        arrays[_name_of(variable)] = np.asarray(variable, np.float32)
    with atomic_file(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **arrays)


def _load(model: keras.Model, path: Path) -> dict[str, Any]:
    """Puts the weights of a file into the network; returns how they were trained."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
            about: dict[str, Any] = dict(json.loads(str(arrays.pop("about"))))
    except (AttributeError, TypeError, *NPZ_DAMAGE) as error:
        raise UserError(f"{path} holds no weights of the shape classifier ({error}); train it again") from None
    variables = {_name_of(variable): variable for variable in model.variables}
    for name, variable in variables.items():
        if name not in arrays or arrays[name].shape != tuple(variable.shape):
            raise UserError(f"{path} holds no weights of the shape classifier ({name} is not there); train it again")
        if not np.isfinite(arrays[name]).all():
            raise UserError(f"{path} holds weights that are NaN or infinite ({name}); train it again")
    for name, variable in variables.items():
        variable.assign(arrays[name])
    return about


def _name_of(variable: Any) -> str:
    layer, name = variable.path.split("/")[-2:]
    return f"{layer}.{name}"


def evaluate(classifier: ShapeClassifier, images: Any, labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    """How often the likeliest class is the true one.

    Args:
        classifier: which.
        images: a function from numbers `[n]` to uint8 images `[n, 64, 64, 1]`.
        labels: `[N]` the true shapes of the images 0..N-1.

    Returns:
        `accuracy`, `accuracy_of` each shape that occurs, and `images`, their number.
    """
    blocks = [np.arange(start, min(start + 1024, labels.size)) for start in range(0, labels.size, 1024)]
    right = np.concatenate(
        [classifier(images(block)).argmax(axis=1) == labels[block] for block in progress(blocks, "classifying")]
    )
    of_class = {name: float(right[labels == number].mean()) for number, name in enumerate(CLASSES) if number in labels}
    return {"accuracy": float(right.mean()), "accuracy_of": of_class, "images": int(labels.size)}


def parser() -> CommandParser:
    """The command line."""
    result = CommandParser(
        prog="python -m metrics.shape_classifier",
        description="Trains the classifier of dSprites' shapes that inception_score, confidence and mode_kl need.",
        epilog=_EPILOG,
    )
    result.add_argument("--out", type=Path, metavar="FILE.npz", help="where the weights go")
    result.add_argument("--evaluate", action="store_true", help="do not train; say how accurate weights are")
    result.add_argument("--weights", type=Path, metavar="FILE.npz", help="those of --evaluate (default: the shipped)")
    length = result.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, default=EPOCHS, metavar="N", help=f"default: {EPOCHS}, as published")
    length.add_argument("--steps", type=int, metavar="N", help=f"batches of {BATCH} images, instead of --epochs")
    result.add_argument("--seed", type=int, default=0, metavar="N", help="of weights and order (default: 0)")
    result.add_argument("--source", default="auto", metavar="NAME", help="which version of dSprites (default: auto)")
    result.add_argument("--data_dir", type=Path, metavar="FOLDER", help="prepared data (default: $SPOUT_DATA_DIR)")
    result.add_argument("--raw_dir", type=Path, metavar="FOLDER", help="published files (default: $SPOUT_RAW_DIR)")
    result.add_argument("--json", action="store_true", help="print one JSON object")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: what follows the command's name; by default that of the process.

    Returns:
        the exit code.

    Raises:
        UserError: for bad input of any kind.
    """
    options = parser().parse_args(arguments)
    _check_options(options)
    import data_gen

    dataset = data_gen.load("dsprites", source=options.source, data_dir=options.data_dir, raw_dir=options.raw_dir)
    labels = dataset.factors_at(np.arange(dataset.num_examples))[:, dataset.factor_names.index("shape")]
    if options.evaluate:
        classifier = ShapeClassifier(options.weights)
    else:
        _train_and_save(options, dataset, labels)
        classifier = ShapeClassifier(options.out)
    chosen = np.arange(labels.size)
    if labels.size > _TEST_IMAGES:
        chosen = np.sort(generator(options.seed, "shape classifier test").choice(labels.size, _TEST_IMAGES, False))
    found = evaluate(classifier, lambda numbers: dataset.images_at(chosen[numbers]), labels[chosen])
    found.update(data=dataset.name, data_source=dataset.source, classifier=classifier.id, trained=classifier.about)
    if options.json:
        answer(found)
        return 0
    trained = ", ".join(f"{key} {value}" for key, value in classifier.about.items())
    shares = ", ".join(f"{name} {share:.4f}" for name, share in found["accuracy_of"].items())
    say(f"{classifier.id}: {trained}")
    say(f"accuracy {found['accuracy']:.4f} on {found['images']:,} images of {dataset.name} ({shares})")
    return 0


def _train_and_save(options: argparse.Namespace, dataset: Any, labels: npt.NDArray[np.int64]) -> None:
    keras = import_keras()
    keras.utils.set_random_seed(options.seed)
    batch = min(BATCH, labels.size)
    steps = options.steps if options.steps is not None else options.epochs * (labels.size // batch)
    model = build(options.seed)
    train(model, dataset.images_at, labels, steps, options.seed)
    calibrate(model, dataset.images_at, labels.size, options.seed)
    published = EPOCHS * (labels.size // batch)
    about = {
        "data": dataset.name,
        "images": int(labels.size),
        "steps": steps,
        "batch": batch,
        "seed": options.seed,
        "published_steps": published,
    }
    if steps < published:
        say(f"note: {steps:,} steps, where the published classifier has {published:,} ({EPOCHS} epochs) on these data")
    save(model, options.out, about)


def _check_options(options: argparse.Namespace) -> None:
    if options.evaluate and options.out is not None:
        raise UserError("--evaluate writes no weights: leave --out out, or --evaluate")
    if not options.evaluate and options.out is None:
        raise UserError("--out is missing: say where the weights go, or --evaluate to look at those there are")
    if not options.evaluate and options.weights is not None:
        raise UserError("--weights belongs to --evaluate; training begins with fresh weights")
    if options.out is not None and options.out.suffix != ".npz":
        raise UserError(f"--out is {options.out}; give a name that ends in .npz")
    if options.out is not None and options.out.is_dir():
        raise UserError(f"--out is {options.out}, which is a folder; give a file")
    for name, value in (("--epochs", options.epochs), ("--steps", options.steps)):
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}; it must be 1 or more")
    if options.seed < 0:
        raise UserError(f"--seed is {options.seed}; it must be 0 or more")


if __name__ == "__main__":
    run_command(main)
