"""What every model of the suite has: named players, a latent space, one readable training step."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from models.latents import LatentSpace
from models.noise import Noise
from models.optimizers import OptimizerOptions

Optimizer: TypeAlias = OptimizerOptions | keras.optimizers.Optimizer


@dataclass(frozen=True)
class Player:
    """One optimizer and the variables that it alone may change.

    Args:
        name: such as `generator`.
        optimizer: built on `variables`.
        variables: what it updates.
    """

    name: str
    optimizer: keras.optimizers.Optimizer
    variables: tuple[keras.Variable, ...]

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        return float(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(self.optimizer.learning_rate)))

    def update(self, gradients: Sequence[tf.Tensor | None]) -> None:
        """Applies gradients, one per variable in order.

        Raises:
            ValueError: if a variable has no gradient: a loss that should reach it does not.
        """
        missing = [
            variable.path for gradient, variable in zip(gradients, self.variables, strict=True) if gradient is None
        ]
        if missing:
            raise ValueError(f"the loss of player {self.name!r} does not reach {', '.join(missing)}")
        self.optimizer.apply(list(gradients), list(self.variables))


class DisentanglementModel(keras.Model, abc.ABC):
    """Base class of all models.

    A subclass builds its networks in the constructor, names them in `networks`, gives each player its variables in
    `player_variables`, and writes `train_step`. Images are float32 `[batch, height, width, channels]` in [0, 1].

    Args:
        image_shape: height, width, channels.
        latent_space: the space that `generate` takes and whose codes `encode` returns.
        seed: the run's seed: initial weights and all noise follow from it.
        **kwargs: as in `keras.Model`.
    """

    headline: tuple[str, ...] = ()
    """The scalars of `train_step` that the status line shows."""

    image_ranks: tuple[int, ...] = (3,)
    """How many sides `image_shape` may have; 1 for models that also take vectors, such as features."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "train_step" in cls.__dict__:
            # AutoGraph would look through every line of a step, for as long as the tracing itself takes.
            cls.train_step = tf.autograph.experimental.do_not_convert(cls.train_step)  # type: ignore[method-assign]

    def __init__(self, image_shape: Sequence[int], latent_space: LatentSpace, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if len(image_shape) not in self.image_ranks or any(side < 1 for side in image_shape):
            expected = "(height, width, channels)" + (" or (size,) of vectors" if 1 in self.image_ranks else "")
            raise ValueError(f"image_shape is {tuple(image_shape)}; expected {expected}")
        self.image_shape = tuple(int(side) for side in image_shape)
        self.latent_space = latent_space
        self.seed = int(seed)
        self.step = self.add_weight(
            shape=(), dtype="int64", trainable=False, initializer="zeros", name="step", aggregation="only_first_replica"
        )
        self._players: _Players | None = None

    @property
    @abc.abstractmethod
    def networks(self) -> dict[str, keras.Model]:
        """The networks by name."""

    @abc.abstractmethod
    def player_variables(self) -> dict[str, list[keras.Variable]]:
        """The trainable variables of each player: disjoint, and together all of them."""

    @abc.abstractmethod
    def default_optimizers(self) -> dict[str, OptimizerOptions]:
        """The published optimizer of each player."""

    @abc.abstractmethod
    def train_step(self, data: tf.Tensor) -> dict[str, tf.Tensor]:
        """One update of all players on a batch of images; returns named scalars of this replica, unscaled."""

    @abc.abstractmethod
    def generate(self, latents: tf.Tensor) -> tf.Tensor:
        """Images in [0, 1] of latents `[batch, latent_space.size]`; deterministic."""

    @abc.abstractmethod
    def encode(self, images: tf.Tensor) -> tf.Tensor:
        """The representation `[batch, code]` of images in [0, 1] that the paper's metrics use; deterministic."""

    @property
    def representations(self) -> dict[str, Callable[[tf.Tensor], tf.Tensor]]:
        """The representations of images that can be measured, by name; the first is the one that `encode` gives."""
        return {"codes": self.encode}

    @property
    def snapshots(self) -> dict[str, int]:
        """States on the way that have a name of their own: name to the number of steps after which they are there.

        The training loop saves each as a checkpoint of that name, and scores it.
        """
        return {}

    def sample_latents(self, batch: int, noise: Noise) -> tf.Tensor:
        """Latents `[batch, latent_space.size]` as in training."""
        return self.latent_space.sample(batch, noise)

    def traversal_bases(self, rows: int, noise: Noise) -> dict[str, tf.Tensor]:
        """Starting points of traversals by name, each `[rows, latent_space.size]`."""
        return {"prior": self.latent_space.sample(rows, noise)}

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Encodes images; the same as `encode`."""
        del training
        return self.encode(inputs)

    def configure(self, optimizers: Mapping[str, Optimizer] | None = None, **compile_arguments: Any) -> None:
        """Gives every player its optimizer and builds all of them at once.

        Args:
            optimizers: player name to optimizer (a Keras one that is not built, or its options); a name left out
                takes the published one.
            **compile_arguments: passed to `keras.Model.compile` (`jit_compile`, `run_eagerly`).

        Raises:
            ValueError: an unknown player, or variables that two players or no player would update.
        """
        variables = self.player_variables()
        chosen: dict[str, Optimizer] = {**self.default_optimizers(), **(optimizers or {})}
        if set(chosen) != set(variables):
            unknown = sorted(set(chosen) - set(variables))
            raise ValueError(f"unknown players {unknown}; {type(self).__name__} has {sorted(variables)}")
        _check_partition(variables, self.trainable_variables)
        players = {}
        for name, choice in chosen.items():
            optimizer = choice.build() if isinstance(choice, OptimizerOptions) else choice
            optimizer.build(variables[name])
            players[name] = Player(name, optimizer, tuple(variables[name]))
        self._players = _Players(players)
        # The parent would invent an RMSprop of its own if the optimizer were left out.
        self.compile(optimizer=None, **compile_arguments)

    def take_over(self, other: DisentanglementModel) -> list[str]:
        """Starts from the weights of another model of this class, wherever both have the same layers.

        Layers belong together by the names of network and layer; one goes over if the shapes of all its variables are
        the same. All else stays as it is: other layers, the step, optimizers.

        Args:
            other: a trained model.

        Returns:
            what was taken over: `network` for all of it, `network/layer` otherwise.

        Raises:
            ValueError: a model of another class, or one that has nothing in common with this.
        """
        if type(other) is not type(self):
            raise ValueError(f"a {type(self).__name__} cannot start from the weights of a {type(other).__name__}")
        taken: list[str] = []
        for name in self.networks.keys() & other.networks.keys():
            pairs = _common_layers(self.networks[name], other.networks[name])
            for layer, source in pairs:
                for variable, value in zip(layer.variables, source.variables, strict=True):
                    variable.assign(value)
            whole = len(pairs) == sum(1 for layer in self.networks[name].layers if layer.variables)
            taken += [name] if whole else [f"{name}/{layer.name}" for layer, _ in pairs]
        if not taken:
            raise ValueError(f"the two models of {type(self).__name__} have no layer of the same sizes in common")
        return sorted(taken)

    @property
    def players(self) -> dict[str, Player]:
        """The players by name.

        Raises:
            RuntimeError: before `configure`.
        """
        if self._players is None:
            raise RuntimeError(f"call {type(self).__name__}.configure() before training")
        return self._players.by_name

    def describe(self) -> dict[str, Any]:
        """Per network the layers and parameters, as plain data."""
        return {
            "model": type(self).__name__,
            "networks": {name: _describe_network(network) for name, network in self.networks.items()},
            "trainable_parameters": count_parameters(self.trainable_variables),
            "latent_space": self.latent_space.describe(),
        }

    def fingerprint(self) -> str:
        """SHA-256 over all weights, in their order, in hexadecimal."""
        digest = hashlib.sha256()
        for variable in self.variables:
            value = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
            digest.update(f"{value.dtype.str}{value.shape}".encode())
            digest.update(value.tobytes())
        return digest.hexdigest()

    def get_compile_config(self) -> dict[str, Any]:
        """Nothing: players' optimizers are given by `configure`, and Keras cannot load `compile(optimizer=None)`."""
        return {}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "image_shape": list(self.image_shape), "seed": self.seed}


class _Players:
    """Holds players out of reach of Keras' attribute tracking, which would save optimizers as layers."""

    def __init__(self, by_name: dict[str, Player]) -> None:
        self.by_name = by_name


def count_parameters(variables: Sequence[keras.Variable]) -> int:
    """The number of values in all variables together."""
    return sum(int(np.prod(variable.shape)) for variable in variables)


def _describe_network(network: keras.Model) -> dict[str, Any]:
    layers = [
        {
            "name": layer.name,
            "kind": type(layer).__name__,
            "output_shape": list(layer.output.shape[1:]),
            "trainable_parameters": count_parameters(layer.trainable_variables),
        }
        for layer in network.layers
        if not isinstance(layer, keras.layers.InputLayer)
    ]
    return {"trainable_parameters": count_parameters(network.trainable_variables), "layers": layers}


def _common_layers(network: keras.Model, other: keras.Model) -> list[tuple[keras.layers.Layer, keras.layers.Layer]]:
    """The layers of two networks that have the same name and variables of the same shapes, in the first one's order."""
    others = {layer.name: layer for layer in other.layers}
    pairs = [(layer, others[layer.name]) for layer in network.layers if layer.variables and layer.name in others]
    return [pair for pair in pairs if _shapes(pair[0]) == _shapes(pair[1])]


def _shapes(layer: keras.layers.Layer) -> list[tuple[int, ...]]:
    return [tuple(variable.shape) for variable in layer.variables]


def _check_partition(players: Mapping[str, Sequence[keras.Variable]], trainable: Sequence[keras.Variable]) -> None:
    owner: dict[int, str] = {}
    for name, variables in players.items():
        for variable in variables:
            if id(variable) in owner:
                raise ValueError(f"players {owner[id(variable)]!r} and {name!r} would both update {variable.path}")
            owner[id(variable)] = name
    orphans = [variable.path for variable in trainable if id(variable) not in owner]
    if orphans:
        raise ValueError(f"no player updates {', '.join(orphans)}")
