"""The mode export: a trained model as `.keras`, weights, SavedModels and ONNX files."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from common.errors import UserError
from common.files import atomic_folder, write_text
from common.output import answer, say
from models.base import DisentanglementModel
from training.experiment import Trained
from training.run_folder import RunFolder

FOLDER = "export"
"""Below the run folder."""

_ONNX_PACKAGES = ("tf2onnx", "onnx", "onnxruntime")
_ONNX_INSTALL = "pip install -r requirements-onnx.txt"
_MOST_DIFFERENCE = 1e-4
"""Of an ONNX file's output from the model's, in units of the largest value, or of 1 if that is smaller."""


@dataclass(frozen=True)
class Endpoint:
    """A function of a model that can be used without the suite.

    Args:
        name: of the file.
        function: from a batch to a batch.
        takes: what the input is called.
        gives: what the output is called.
        shape: of one input.
    """

    name: str
    function: Callable[[tf.Tensor], tf.Tensor]
    takes: str
    gives: str
    shape: tuple[int, ...]

    @property
    def signature(self) -> tf.TensorSpec:
        """Of the input, of any batch size."""
        return tf.TensorSpec([None, *self.shape], tf.float32, name=self.takes)


def endpoints(model: DisentanglementModel) -> tuple[Endpoint, ...]:
    """What is exported of a model: the generator, and an encoder for each of its representations.

    Of a model of pairs the generator translates: given the shared code of an x and the exclusive code of a y, in the
    columns of the latent space, the half on the right is x translated, in the style of that y.

    Args:
        model: any model.

    Returns:
        `generator`; `encoder`, which gives what `model.encode` gives; `encoder_<name>` for all other representations.
    """
    generator = Endpoint("generator", model.generate, "latents", "images", (model.latent_space.size,))
    names = ["encoder", *(f"encoder_{name}" for name in list(model.representations)[1:])]
    functions = model.representations.values()
    encoders = (
        Endpoint(name, function, "images", "codes", model.image_shape)
        for name, function in zip(names, functions, strict=True)
    )
    return generator, *encoders


def export_model(experiment: Trained, folder: RunFolder) -> int:
    """Writes the model in the formats that `export.formats` lists; prints what was made as JSON.

    Raises:
        UserError: a package is missing that a format needs, or the model has nothing that ONNX can express.
    """
    formats = experiment.configuration.export.formats
    if "onnx" in formats:
        refuse_missing_packages()
    model = experiment.model
    result: dict[str, Any] = {"folder": str(folder.path / FOLDER), "fingerprint": model.fingerprint()}
    with atomic_folder(folder.path / FOLDER) as target:
        if "keras" in formats:
            model.save(target / "model.keras")
            model.save_weights(target / "model.weights.h5")
        if "savedmodel" in formats:
            _write_saved_models(model, target)
        if "onnx" in formats:
            result["onnx"] = _write_onnx(experiment, target)
        write_text(target / "description.json", json.dumps(model.describe(), indent=2) + "\n")
        result["files"] = sorted(path.name for path in target.iterdir())
    answer(result)
    return 0


def refuse_missing_packages() -> None:
    """Raises `UserError` if a package is not installed that ONNX needs."""
    missing = [name for name in _ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"export.formats has 'onnx'; not installed for it: {', '.join(missing)}; run: {_ONNX_INSTALL}")


def _write_saved_models(model: DisentanglementModel, target: Path) -> None:
    """The folders `generator` and `encoder`; the encoder's further representations are endpoints beside `serve`."""
    archives: dict[str, keras.export.ExportArchive] = {}
    for endpoint in endpoints(model):
        name, _, representation = endpoint.name.partition("_")
        if name not in archives:
            archives[name] = keras.export.ExportArchive()
            archives[name].track(model)
        signature = tf.TensorSpec(endpoint.signature.shape, tf.float32)
        archives[name].add_endpoint(representation or "serve", endpoint.function, input_signature=[signature])
    for name, archive in archives.items():
        archive.write_out(str(target / name), verbose=False)


def _write_onnx(experiment: Trained, target: Path) -> dict[str, Any]:
    """One ONNX file for each endpoint; says which were left out, and how far the others are from the model.

    An endpoint whose operations ONNX does not have is left out with a remark.
    """
    model = plain_copy(experiment)
    differences: dict[str, float] = {}
    left_out: dict[str, list[str]] = {}
    for endpoint in endpoints(model):
        program, lacking = _convert(endpoint)
        if lacking:
            left_out[endpoint.name] = lacking
        else:
            differences[endpoint.name] = _largest_difference(endpoint, program)
            (target / f"{endpoint.name}.onnx").write_bytes(program)
    if not differences:
        lacking = sorted(set().union(*left_out.values()))
        raise UserError(f"ONNX cannot express this model: it lacks {', '.join(lacking)}; leave 'onnx' out")
    for name, lacking in left_out.items():
        others = [f"{other}.onnx" for other in differences if other.startswith("encoder")] or ["no other encoder"]
        say(f"{name}.onnx is left out, because ONNX lacks {', '.join(lacking)}; there is {', '.join(others)}")
    return {"largest_difference": differences, "left_out": left_out}


def plain_copy(experiment: Trained) -> DisentanglementModel:
    """The model in float32 and on one processor, whatever it was trained on."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        with tf.device("/CPU:0"):
            options = experiment.configuration.experiment
            copy = options.model.build(experiment.model.image_shape, options.seed)
            copy.set_weights(experiment.model.get_weights())
    finally:
        keras.config.set_dtype_policy(policy)
    return copy


def _convert(endpoint: Endpoint) -> tuple[bytes, list[str]]:
    """An endpoint as an ONNX program, and the operations in it that ONNX does not have."""
    import onnx
    import tf2onnx

    # AutoGraph has nothing to do in them, and the name of what comes out is that of the dictionary's key.
    function = tf.function(lambda batch: {endpoint.gives: endpoint.function(batch)}, autograph=False)
    with _quiet(), tf.device("/CPU:0"):
        program, _ = tf2onnx.convert.from_function(function, [endpoint.signature])
    versions = {opset.domain: opset.version for opset in program.opset_import}
    lacking = {
        node.op_type
        for node in program.graph.node
        if not onnx.defs.has(node.op_type, versions.get(node.domain, 1), node.domain)
    }
    for value in (*program.graph.input, *program.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return program.SerializeToString(), sorted(lacking)


def _largest_difference(endpoint: Endpoint, program: bytes) -> float:
    """How far an ONNX program's output is from the endpoint's, for batches of one and of three.

    Raises:
        UserError: farther than rounding explains.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(program, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    differences = []
    for batch in (1, 3):
        inputs = rng.random((batch, *endpoint.shape), dtype=np.float32)
        expected = endpoint.function(tf.constant(inputs)).numpy()
        (found,) = session.run([endpoint.gives], {endpoint.takes: inputs})
        difference = float(np.abs(found - expected).max())
        if difference > _MOST_DIFFERENCE * max(1.0, float(np.abs(expected).max())):
            raise UserError(
                f"{endpoint.name}.onnx gives numbers that are {difference:.2g} off the model's: tf2onnx or onnxruntime "
                "is at fault here; leave 'onnx' out of export.formats, or try the versions of requirements-onnx.txt"
            )
        differences.append(difference)
    return max(differences)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what tf2onnx logs of operations that it cannot convert: pages, with tracebacks."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
