"""The weights of a published run: one small file in place of checkpoints, enough to use the model, not to train on.

Matrices and kernels are kept in half precision, vectors in full; optimizers are left out, and so are networks that only
training needs, such as discriminators.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from common.damage import NPZ_DAMAGE
from common.errors import UserError
from common.files import atomic_file
from models.base import DisentanglementModel
from training.checkpoints import restore_weights
from training.export import endpoints
from training.run_folder import WEIGHTS, RunFolder

_LARGEST_HALF = float(np.finfo(np.float16).max)
_LARGEST_SINGLE = float(np.finfo(np.float32).max)


def needed_networks(model: DisentanglementModel) -> list[str]:
    """Names of the networks that the generator or an encoder runs through, in the model's order."""
    seen: set[int] = set()
    for endpoint in endpoints(model):
        graph = tf.function(endpoint.function, autograph=False).get_concrete_function(endpoint.signature).graph
        seen |= {id(variable) for variable in graph.variables}
    return [
        name
        for name, network in model.networks.items()
        if any(id(variable.value) in seen for variable in network.variables)
    ]


def _named(model: DisentanglementModel) -> dict[str, keras.Variable]:
    """All variables: those of networks by their paths, the model's own by their names alone.

    Raises:
        ValueError: two of the same name.
    """
    of_networks = {id(variable) for network in model.networks.values() for variable in network.variables}
    names = [variable.path if id(variable) in of_networks else variable.name for variable in model.variables]
    if twice := {name for name, count in Counter(names).items() if count > 1}:
        raise ValueError(f"{type(model).__name__} has two variables {min(twice)}")
    return dict(zip(names, model.variables, strict=True))


def published_weights(model: DisentanglementModel, kept_networks: Sequence[str]) -> dict[str, np.ndarray]:
    """What is kept of a model, by the names of its variables; `kept_networks` are its `needed_networks`."""
    networks = model.networks
    left_out = {id(variable) for name in networks.keys() - set(kept_networks) for variable in networks[name].variables}
    kept = {name: variable for name, variable in _named(model).items() if id(variable) not in left_out}
    return {name: _halved(np.asarray(variable.value)) for name, variable in kept.items()}


def _halved(values: np.ndarray) -> np.ndarray:
    wide = values.ndim < 2 or values.dtype != np.float32 or float(np.abs(values).max(initial=0.0)) > _LARGEST_HALF
    return values if wide else values.astype(np.float16)


def assign_weights(model: DisentanglementModel, weights: Mapping[str, np.ndarray]) -> None:
    """Gives a model published weights; networks that are not among them keep their first ones.

    Raises:
        ValueError: weights of another model.
    """
    variables = _named(model)
    needed = set(needed_networks(model))
    wanted = {
        variable.path for name, network in model.networks.items() if name in needed for variable in network.variables
    }
    if wrong := sorted((weights.keys() - variables.keys()) | (wanted - weights.keys())):
        raise ValueError(f"one of the two has no {wrong[0]}")
    for path, values in weights.items():
        if tuple(values.shape) != tuple(variables[path].shape):
            raise ValueError(f"{path} has the shape {tuple(values.shape)}, not {tuple(variables[path].shape)}")
        variables[path].assign(values.astype(variables[path].dtype))


def write_weights(folder: Path, model: DisentanglementModel) -> list[str]:
    """Writes the file into a folder; returns the names of the networks that are in it."""
    kept = needed_networks(model)
    weights = published_weights(model, kept)
    with atomic_file(folder / WEIGHTS) as path, path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **weights)
    return kept


def restore_run(folder: RunFolder, model: DisentanglementModel, checkpoint: str = "last") -> int | None:
    """Gives a model the weights of a run, published or not.

    Args:
        folder: of the run.
        model: with its options.
        checkpoint: `last`, `best`, or one of the model's snapshots; a published run has only the last.

    Returns:
        its step, or None if there is no whole checkpoint of that name.

    Raises:
        UserError: an unknown checkpoint, or one of another model.
    """
    if not folder.is_published:
        return restore_weights(folder.checkpoints, model, checkpoint)
    if checkpoint != "last":
        raise UserError(f"{folder.path} is a published run, which has one state; leave --checkpoint out")
    return restore_published(folder.path, model)


def restore_published(folder: Path, model: DisentanglementModel) -> int:
    """Gives a model the weights of a published run.

    Args:
        folder: of the run.
        model: with its options.

    Returns:
        its step.

    Raises:
        UserError: a damaged file, or one of another model.
    """
    path = folder / WEIGHTS
    try:
        with np.load(path, allow_pickle=False) as archive:
            weights = {name: archive[name] for name in archive.files}
    except (TypeError, MemoryError, *NPZ_DAMAGE):
        raise UserError(f"{path} is damaged; get it again") from None
    for name, values in weights.items():
        # Nor NaN, which is not at most anything.
        if values.dtype.kind not in "fi" or not float(np.abs(values).max(initial=0.0)) <= _LARGEST_SINGLE:
            raise UserError(f"{path} is damaged: {name} holds what is no finite number; get it again")
    try:
        assign_weights(model, weights)
    except ValueError as error:
        raise UserError(f"{path} is of another model: {error}; give the options of that run") from None
    return int(model.step.numpy())
