"""Encoders from `.keras` files, as functions of image batches."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.tensorflow_start import import_tensorflow
from metrics.encoding import Encode


def import_keras() -> ModuleType:
    """Keras on TensorFlow, without TensorFlow's remarks about GPUs that are not there."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import_tensorflow()
    import keras

    return keras


def load_encoder(path: Path, image_shape: tuple[int, ...], output: int | None = None) -> Encode:
    """An encoder from a file, after a look at one blank image.

    Args:
        path: a `.keras` file, as `model.save` writes it. Its input is images `[batch, H, W, C]` in [0, 1], its output
            codes `[batch, D]`.
        image_shape: `(H, W, C)` of the images that it will get.
        output: which of its outputs to take, if it has several.

    Returns:
        images `[batch, H, W, C]` float32 -> codes `[batch, D]`.

    Raises:
        UserError: if the file cannot be loaded, its input is another, or its output is not one vector for an image.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a .keras file, as model.save writes it")
    keras = import_keras()
    try:
        model = keras.models.load_model(path, compile=False)
    except (TypeError, ValueError, OSError, KeyError, ImportError, AttributeError) as error:
        first = str(error).strip().split("\n")[0][:300]
        raise UserError(
            f"{path} cannot be loaded as a Keras model ({first}); save it with model.save('name.keras'), built of "
            "Keras' own layers only, or score its codes with --codes"
        ) from None

    def encode(images: npt.NDArray[np.float32]) -> npt.NDArray[np.floating[Any]]:
        return _chosen(model.predict_on_batch(images), output, path)

    try:
        codes = encode(np.zeros((2, *image_shape), np.float32))
    except (ValueError, TypeError, RuntimeError) as error:
        first = str(error).strip().split("\n")[0][:300]
        raise UserError(
            f"{path} does not take images of {'x'.join(map(str, image_shape))} ({first}); choose the data set that it "
            "was trained on"
        ) from None
    if codes.ndim != 2 or len(codes) != 2:
        raise UserError(
            f"{path} gives outputs of shape {('batch', *codes.shape[1:])}; an encoder must give (batch, codes)"
        )
    return encode


def _chosen(outputs: Any, output: int | None, path: Path) -> npt.NDArray[np.floating[Any]]:
    """The output that was asked for."""
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if not isinstance(outputs, list | tuple):
        outputs = [outputs]
    if output is None and len(outputs) > 1:
        shapes = ", ".join(f"{number}: {np.shape(value)[1:]}" for number, value in enumerate(outputs))
        raise UserError(f"{path} has {len(outputs)} outputs ({shapes}); choose one with --encoder_output")
    number = output or 0
    if not 0 <= number < len(outputs):
        raise UserError(f"--encoder_output is {number}, but {path} has {len(outputs)} outputs, from 0")
    return np.asarray(outputs[number])
