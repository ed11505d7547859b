"""What turns images into features: InceptionV3 with given or downloaded weights, any Keras model, any function.

Numbers of different extractors must never be compared. An extractor therefore has an id that names its weights, and
every result carries it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.files import sha256_of
from common.output import say
from metrics.keras_encoder import import_keras, load_encoder

INCEPTION_SIDE = 299
INCEPTION_FEATURES = 2048
_INCEPTION_FILES = {
    "features": ("inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5", "bcbd6486424b2319ff4ef7d526e38f63"),
    "probabilities": ("inception_v3_weights_tf_dim_ordering_tf_kernels.h5", "9a0d58056eeedaa3f26cb7ebd46da564"),
}
_INCEPTION_URL = "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
_DOWNLOAD_TIMEOUT = 60.0
_RANGE_TOLERANCE = 1e-3

# What brings pictures in [0, 1] to the [-1, 1] that Keras' InceptionV3 was trained on, and what the evaluator of VGAN
# does to pictures in [-1, 1] that it takes for ones in [0, 1] (channels red, green, blue).
_SCALE, _SHIFT = (2.0, 2.0, 2.0), (-1.0, -1.0, -1.0)
_VGAN_SCALE = (0.229 / 0.5, 0.224 / 0.5, 0.225 / 0.5)
_VGAN_SHIFT = ((0.485 - 0.5) / 0.5, (0.456 - 0.5) / 0.5, (0.406 - 0.5) / 0.5)

Images = npt.NDArray[Any]
Function = Callable[[npt.NDArray[np.float32]], npt.ArrayLike]


@dataclasses.dataclass(frozen=True, eq=False)
class Extractor:
    """A function from images to features, with a name for what it is.

    Args:
        id: lower-case letters, digits and underscores; it names the network and its weights.
        function: images `[batch_size, H, W, C]` float32 -> features `[batch_size, D]`; it gets whole batches only.
        preprocessing: what `function` does to the images, for records and as a part of the cache's key.
        lowest, highest: the range of the images. Default: [0, 1].
        batch_size: images in a batch, default 64.

    Raises:
        ValueError: for a badly formed id, range or batch size.
    """

    id: str
    function: Function
    preprocessing: str
    lowest: float = 0.0
    highest: float = 1.0
    batch_size: int = 64

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.id):
            raise ValueError(
                f"an extractor's id must be lower-case letters, digits and underscores, beginning with a letter; not "
                f"{self.id!r}"
            )
        if not self.lowest < self.highest or self.batch_size < 1:
            raise ValueError(
                f"the range is {self.lowest:g} to {self.highest:g} and batch_size {self.batch_size}; the range must "
                "not be empty, the batch 1 or more"
            )

    def __call__(self, images: Images) -> npt.NDArray[np.floating[Any]]:
        """The features `[n, D]` of images `[n, H, W, C]`; they do not depend on how images are spread over calls.

        Args:
            images: floats in the extractor's range, or uint8 from 0 to 255 if this is [0, 1].

        Raises:
            TypeError: if the images are of another type.
            ValueError: if they have another shape or range, or the function returns no vector for each.
            UserError: if features are not finite.
        """
        features = in_whole_batches(
            self.function, checked_images(images, None, self.lowest, self.highest), self.batch_size
        )
        if not np.isfinite(features).all():
            raise UserError(f"{self.id} gives features that are NaN or infinite; look at its weights and at the images")
        return features


def qualified(metric_id: str, extractor: str) -> str:
    """The id under which a number is printed: that of the metric and that of the extractor.

    Example:
        >>> qualified("fid", "keras_inception_v3_0123abcd")
        'fid_keras_inception_v3_0123abcd'
    """
    return f"{metric_id}_{extractor}" if extractor else metric_id


def checked_images(
    images: Images, shape: tuple[int, int, int] | None = None, lowest: float = 0.0, highest: float = 1.0
) -> npt.NDArray[np.float32]:
    """Images as float32 in a range.

    Args:
        images: `[n, H, W, C]`, floats in the range, or uint8 from 0 to 255 if this is [0, 1].
        shape: `(H, W, C)`. Default: any.
        lowest, highest: the range. Default: [0, 1].

    Raises:
        TypeError: if they are neither floats nor uint8.
        ValueError: if the shape is another, a value is not finite, or the range is another.
    """
    array = np.asarray(images)
    if array.ndim != 4 or array.size == 0 or (shape is not None and array.shape[1:] != shape):
        wanted = "height, width, channels" if shape is None else ", ".join(map(str, shape))
        raise ValueError(f"images must have the shape (n, {wanted}); it is {array.shape}")
    if array.dtype == np.uint8 and (lowest, highest) == (0.0, 1.0):
        return np.divide(array, 255, dtype=np.float32)
    if array.dtype.kind != "f":
        raise TypeError(f"images must be floats in [{lowest:g}, {highest:g}], or uint8 for [0, 1]; not {array.dtype}")
    least, most = float(array.min()), float(array.max())
    # Written so that NaN is refused too.
    if not (least >= lowest - _RANGE_TOLERANCE and most <= highest + _RANGE_TOLERANCE):
        raise ValueError(f"images must lie in [{lowest:g}, {highest:g}]; they span {least:g} to {most:g}")
    return np.clip(array, lowest, highest).astype(np.float32)


def in_whole_batches(
    function: Function, images: npt.NDArray[np.float32], batch_size: int
) -> npt.NDArray[np.floating[Any]]:
    """A function of batches, applied to any number of images: the last batch is filled up with images that are there.

    Args:
        function: images `[batch_size, ...]` -> `[batch_size, D]`.
        images: `[n, ...]`.
        batch_size: images in a batch.

    Returns:
        `[n, D]` float32, or float64 if the function gives that.

    Raises:
        ValueError: if the function returns another shape.
    """
    parts = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        size = len(batch)
        if size < batch_size:
            batch = batch[np.arange(batch_size) % size]
        part = np.asarray(function(batch))
        if part.ndim != 2 or part.shape[0] != batch_size or part.shape[1] == 0:
            raise ValueError(f"features must have the shape ({batch_size}, D), one row for an image; got {part.shape}")
        parts.append(part[:size].astype(np.float64 if part.dtype == np.float64 else np.float32))
    return np.concatenate(parts)


def from_function(name: str, function: Function, batch_size: int = 64) -> Extractor:
    """An extractor from any function of images in [0, 1].

    Args:
        name: what it is called: lower-case letters, digits and underscores. Nothing else tells it from another, so
            change the name with the function.
        function: images `[batch, H, W, C]` float32 in [0, 1] -> features `[batch, D]`.
        batch_size: images in a batch, default 64.
    """
    return Extractor(f"function_{name}", function, "images in [0, 1]", batch_size=batch_size)


def from_keras_file(
    path: Path, image_shape: tuple[int, ...], output: int | None = None, batch_size: int = 64
) -> Extractor:
    """An extractor from a `.keras` file.

    Args:
        path: the file, as `model.save` writes it: from images `[batch, H, W, C]` in [0, 1] to features `[batch, D]`.
        image_shape: `(H, W, C)` of the images that it will get.
        output: which of its outputs to take, if it has several.
        batch_size: images in a batch, default 64.

    Raises:
        UserError: if the file cannot be loaded, or its input or output is another.
    """
    function = load_encoder(path, image_shape, output)
    suffix = "" if output is None else f"_output_{output}"
    return Extractor(f"model_{sha256_of(path)[:8]}{suffix}", function, "images in [0, 1]", batch_size=batch_size)


def inception_v3(
    weights: Path | None = None, output: str = "features", vgan_compat: bool = False, batch_size: int = 64
) -> Extractor:
    """InceptionV3 of `keras.applications`, trained on ImageNet.

    Images of one channel are repeated to three. All are resized to 299x299 (bilinear, pixel centers at halves, no
    antialiasing, no rounding to integers) and brought to [-1, 1]. The weights are Keras' own: the numbers are not those
    of the network of 2015 that TTUR and pytorch-fid use.

    Args:
        weights: a file of weights, `.h5` or `.weights.h5`. Default: the published one, of Keras' cache or the network.
        output: `features` (2,048 numbers, after the last pooling; the default) or `probabilities` (of 1,000 classes).
        vgan_compat: the range and scaling of the evaluator of VGAN: images in [-1, 1 + 1/128] (see
            `metrics.generation`), to which is done what is meant for images in [0, 1].
        batch_size: images in a batch, default 64.

    Raises:
        UserError: if the weights are not to be had, or are of another network.
        ValueError: for another output.

    Source: Szegedy et al., Rethinking the Inception Architecture, CVPR 2016; its use Heusel et al., NeurIPS 2017.
    """
    if output not in _INCEPTION_FILES:
        raise ValueError(f"output is {output!r}; allowed: {', '.join(_INCEPTION_FILES)}")
    path = _downloaded(output) if weights is None else weights
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the weights of InceptionV3, {_INCEPTION_FILES[output][0]}")
    model = _inception_model(path, output, vgan_compat)
    checksum = sha256_of(path)[:8]

    def function(images: npt.NDArray[np.float32]) -> npt.ArrayLike:
        channels = images.shape[-1]
        if channels not in (1, 3):
            raise ValueError(f"InceptionV3 takes images of 1 or 3 channels, not {channels}")
        return np.asarray(model.predict_on_batch(np.repeat(images, 3, axis=-1) if channels == 1 else images))

    name = "keras_inception_v3" + ("_classes" if output == "probabilities" else "") + ("_vgan" if vgan_compat else "")
    scaling = "x * std / 0.5 + (mean - 0.5) / 0.5 of ImageNet, on [-1, 1]" if vgan_compat else "2 x - 1"
    return Extractor(
        f"{name}_{checksum}",
        function,
        f"bilinear to {INCEPTION_SIDE}x{INCEPTION_SIDE} without antialiasing, {scaling}",
        lowest=-1.0 if vgan_compat else 0.0,
        highest=1.0 + 1 / 128 if vgan_compat else 1.0,
        batch_size=batch_size,
    )


def _inception_model(path: Path, output: str, vgan_compat: bool) -> Any:
    """Resizing, scaling and the network, with the weights of a file."""
    keras = import_keras()
    classes = output == "probabilities"
    network = keras.applications.InceptionV3(
        include_top=classes,
        weights=None,
        pooling=None if classes else "avg",
        input_shape=(INCEPTION_SIDE, INCEPTION_SIDE, 3),
    )
    try:
        with warnings.catch_warnings():
            # Keras only warns of layers that a file has no weights for, and leaves them random.
            warnings.simplefilter("error", UserWarning)
            network.load_weights(path)
    except (UserWarning, ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        first = str(error).strip().split("\n")[0][:200]
        raise UserError(
            f"{path} holds no weights of InceptionV3 for {output} ({first}); the published file is "
            f"{_INCEPTION_FILES[output][0]}"
        ) from None
    prepare = inception_preparation(vgan_compat)
    return keras.Model(prepare.inputs, network(prepare.outputs[0], training=False))


def inception_preparation(vgan_compat: bool = False) -> Any:
    """What `inception_v3` does before the network: a Keras model from `[n, H, W, 3]` to `[n, 299, 299, 3]`."""
    keras = import_keras()
    scale, shift = (_VGAN_SCALE, _VGAN_SHIFT) if vgan_compat else (_SCALE, _SHIFT)
    inputs = keras.Input((None, None, 3))
    resized = keras.layers.Resizing(INCEPTION_SIDE, INCEPTION_SIDE, interpolation="bilinear")(inputs)
    return keras.Model(inputs, keras.layers.Rescaling(list(scale), list(shift))(resized))


def _downloaded(output: str) -> Path:
    """The published weights, from Keras' cache or the network."""
    name, checksum = _INCEPTION_FILES[output]
    keras = import_keras()
    try:
        # Keras shows its progress on standard output, which is for answers.
        with contextlib.redirect_stdout(sys.stderr), _network_timeout():
            return Path(keras.utils.get_file(name, _INCEPTION_URL + name, cache_subdir="models", file_hash=checksum))
    except Exception as error:  # Keras raises Exception itself.
        first = str(error).strip().split("\n")[0][:200]
        say(f"note: {first}")
        raise UserError(
            f"the weights of InceptionV3 are not in Keras' cache and could not be fetched from {_INCEPTION_URL}{name}; "
            "download that file where there is a network and give its path, or take features of a model of yours"
        ) from None


@contextlib.contextmanager
def _network_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
