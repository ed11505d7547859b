"""A network that begins anew in the middle of a run: fresh weights, and an optimizer that has forgotten everything."""

from __future__ import annotations

import keras
import tensorflow as tf

from models.base import Player
from models.noise import Noise

_CUT = 2.0


def restart_when(due: tf.Tensor, player: Player, network: keras.Model, noise: Noise) -> None:
    """Draws a network's trainable weights anew and sets its optimizer back to its start, if that is due.

    Weights that are not trainable stay: moving statistics, and the vectors of spectral normalization.

    Args:
        due: scalar boolean.
        player: who trains the network, with an optimizer whose state starts at 0, as that of all in
            `models.optimizers` does.
        network: whose layers are initialized to 0, to 1, or normally.
        noise: of this step: fresh values are a function of its seed and its step, the same on all replicas.

    Raises:
        TypeError: a layer is initialized otherwise.
    """

    def restart() -> tf.Tensor:
        for layer in network.layers:
            for variable in layer.trainable_variables:
                initializer = getattr(layer, f"{variable.name}_initializer")
                _assign_here(variable, _fresh(initializer, variable, noise))
        for variable in player.optimizer.variables:
            if variable.name != "learning_rate":
                _assign_here(variable, tf.zeros(variable.shape, variable.dtype))
        return tf.constant(True)

    tf.cond(due, restart, lambda: tf.constant(False))


def _assign_here(variable: keras.Variable, value: tf.Tensor) -> None:
    """Assigns this replica's own copy.

    A distributed variable's `assign` would synchronize the replicas, which TensorFlow cannot do within a condition.
    """
    tf.raw_ops.AssignVariableOp(resource=variable.value.handle, value=value)


def _fresh(initializer: keras.initializers.Initializer, variable: keras.Variable, noise: Noise) -> tf.Tensor:
    shape = tuple(variable.shape)
    if isinstance(initializer, keras.initializers.Zeros):
        return tf.zeros(shape)
    if isinstance(initializer, keras.initializers.Ones):
        return tf.ones(shape)
    if isinstance(initializer, keras.initializers.RandomNormal | keras.initializers.TruncatedNormal):
        cut = _CUT if isinstance(initializer, keras.initializers.TruncatedNormal) else float("inf")
        return initializer.mean + initializer.stddev * noise.common_normal(f"fresh/{variable.path}", shape, cut)
    raise TypeError(f"{variable.path} is initialized by {type(initializer).__name__}, which cannot be drawn again")
