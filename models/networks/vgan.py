"""Networks of VGAN: residual generator, residual encoder with its bottleneck, and the linear unit that judges.

Sources: the authors' code of VGAN (from Mescheder et al. 2018), and the community code of VDB; both have these residual
blocks, without any normalization. Layers are named after the side of the map they work on, so that networks for images
of different sides have the same names where they do the same (`models.vgan_growing.grow`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
import tensorflow as tf

from models.initializers import WeightInitialization
from models.layers import Conv2D, DoublingConv2D, WholeMapConv2D
from models.networks.stack import Stack

Bottleneck = Literal["spatial", "vector", "instance_noise", "none"]
MAP_SIDE = 4
_SLOPE = 0.2
_BRANCH_WEIGHT = 0.1


@dataclass(frozen=True)
class Plan:
    """Sizes of the networks.

    Args:
        side: height and width of the images, a power of two, 4 or more.
        channels: of the images.
        width: channels next to the image; every halving of the map doubles them.
        max_width: but to no more than this.

    Raises:
        ValueError: another side.
    """

    side: int
    channels: int
    width: int
    max_width: int

    def __post_init__(self) -> None:
        if self.side < MAP_SIDE or self.side & (self.side - 1):
            raise ValueError(
                f"images are {self.side} pixels high; VGAN takes square ones whose side is a power of two, "
                f"{MAP_SIDE} or more"
            )

    @property
    def halvings(self) -> int:
        """How many halvings lead from an image to a 4 x 4 map."""
        return (self.side // MAP_SIDE).bit_length() - 1

    def width_at(self, side: int) -> int:
        """Channels of maps of this side."""
        return min(self.max_width, self.width * (self.side // side))

    @property
    def map_width(self) -> int:
        """Channels of the 4 x 4 map."""
        return self.width_at(MAP_SIDE)


def plan_for(image_shape: Sequence[int], width: int, max_width: int) -> Plan:
    """The plan for images of this shape.

    Args:
        image_shape: height, width, channels.
        width, max_width: see `Plan`.

    Raises:
        ValueError: images that are not square, or see `Plan`.
    """
    height, breadth, channels = image_shape
    if height != breadth:
        raise ValueError(f"image_shape is {tuple(image_shape)}; VGAN takes square images")
    return Plan(height, channels, width, max_width)


@keras.saving.register_keras_serializable(package="spout")
class ResidualSum(keras.layers.Layer):
    """`shortcut + 0.1 * branch` of `[shortcut, branch]`."""

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        shortcut, branch = inputs
        return shortcut + _BRANCH_WEIGHT * branch


@keras.saving.register_keras_serializable(package="spout")
class Doubling(keras.layers.Layer):
    """Twice the height and width of maps `[batch, height, width, channels]`: every pixel becomes four."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        _, height, width, channels = inputs.shape
        wide = tf.broadcast_to(inputs[:, :, None, :, None], [tf.shape(inputs)[0], height, 2, width, 2, channels])
        return tf.reshape(wide, [-1, 2 * height, 2 * width, channels])

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Of maps whose height and width are known."""
        batch, height, width, channels = input_shape
        return batch, height and 2 * height, width and 2 * width, channels


@keras.saving.register_keras_serializable(package="spout")
class LabelEmbedding(keras.layers.Layer):
    """Appends the embedding of the one label there is, scaled to length 1, to every row of `[batch, size]`.

    The authors' code can tell labels apart, but was run with one: a constant input, of which only its direction learns.

    Args:
        size: of the embedding.
        seed: of its start, which is normal.
        **kwargs: as in `keras.layers.Layer`.
    """

    def __init__(self, size: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size
        self.seed = seed

    def build(self, input_shape: Sequence[int | None]) -> None:
        del input_shape
        start = keras.initializers.RandomNormal(0.0, 1.0, seed=self.seed)
        self.embedding = self.add_weight(shape=(self.size,), initializer=start, name="embedding")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        embedding = tf.convert_to_tensor(self.embedding)
        # A single number scaled to length 1 is its sign. Its derivative is 0; computed otherwise, it is a rounding
        # error, which RMSprop would enlarge to steps of full size.
        unit = tf.sign(embedding) if self.size == 1 else embedding / tf.norm(embedding)
        rows = tf.broadcast_to(tf.cast(unit, inputs.dtype), [tf.shape(inputs)[0], self.size])
        return tf.concat([inputs, rows], axis=1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """So many columns more."""
        return input_shape[0], (input_shape[1] or 0) + self.size

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "seed": self.seed}


@dataclass
class _Stack(Stack):
    """A chain of layers whose names say at which place they are, and which knows residual blocks."""

    slope: float = _SLOPE
    place: str = ""

    def at(self, place: str) -> None:
        """Layers that follow belong to this place and are counted anew."""
        self.place, self._count = place, 0

    def _next(self, kind: str) -> str:
        self._count += 1
        return f"{self.name}_{self.place}_{kind}{self._count}"

    def block(self, filters: int, doubled: bool = False) -> None:
        """Appends a residual block: two convolutions with activations before them, beside a shortcut.

        Args:
            filters: channels after it.
            doubled: whether nearest-neighbor upsampling by 2 comes before the block. Activations and the shortcut's
                1 x 1 convolution are then computed on the small map, where they give the same, and the first
                convolution together with the upsampling.
        """
        inputs = self.tensor
        channels = inputs.shape[-1]
        self.activate()
        self._convolve_by(DoublingConv2D if doubled else Conv2D, min(channels, filters), 3, 1)
        self.activate()
        self.convolve(filters, 3, 1)
        branch, self.tensor = self.tensor, inputs
        if channels != filters:
            self.convolve(filters, 1, 1, use_bias=False)
        if doubled:
            self.tensor = Doubling(name=f"{self.name}_{self.place}_doubling")(self.tensor)
        self.tensor = ResidualSum(name=self._next("sum"))([self.tensor, branch])

    def halve(self) -> None:
        """Appends average pooling 3 x 3 at stride 2; the padding counts: all sums are divided by 9."""
        self.tensor = keras.layers.ZeroPadding2D(1)(self.tensor)
        self.tensor = keras.layers.AveragePooling2D(3, 2, padding="valid")(self.tensor)

    def convolve_whole(self, filters: int) -> None:
        """Appends a 'valid' convolution whose kernel covers its input; flattens its one pixel."""
        height, width, channels = self.tensor.shape[1:]
        area = height * width
        arguments = self._arguments("convolution", channels * area, filters * area, True)
        self.tensor = WholeMapConv2D(filters, (height, width), dtype="float32", **arguments)(self.tensor)
        self.flatten()


def build_generator(
    plan: Plan, latents: int, label_embedding: int, initialization: WeightInitialization, name: str = "generator"
) -> keras.Model:
    """The generator.

    Args:
        plan: of the networks.
        latents: columns of the latent vector.
        label_embedding: size of the one label's embedding; 0: there is none.
        initialization: scheme of the weights.
        name: the network's name.

    Returns:
        `[batch, latents]` to images `[batch, side, side, channels]` in [-1, 1].
    """
    inputs = keras.Input([latents], name="latents")
    stack = _Stack(name, inputs, initialization)
    stack.at("input")
    if label_embedding:
        label = stack._next("label")
        stack.tensor = LabelEmbedding(label_embedding, initialization.layer_seed(label), name=label)(inputs)
    stack.dense(MAP_SIDE * MAP_SIDE * plan.map_width)
    stack.reshape(MAP_SIDE, MAP_SIDE, plan.map_width)
    side = MAP_SIDE
    while side < plan.side:
        stack.at(f"block{side}")
        stack.block(plan.width_at(2 * side), doubled=side > MAP_SIDE)
        side *= 2
    stack.at(f"image{side}")
    stack.block(plan.width, doubled=side > MAP_SIDE)
    stack.activate()
    stack.convolve(plan.channels, 3, 1)
    stack.function("tanh")
    return stack.model(inputs)


def build_encoder(
    plan: Plan,
    bottleneck: Bottleneck,
    size: int,
    initialization: WeightInitialization,
    name: str = "encoder",
) -> keras.Model:
    """The discriminator up to the bottleneck.

    Args:
        plan: of the networks.
        bottleneck: `vector`, `spatial`, `instance_noise` (as `spatial`, but without deviations) or `none`.
        size: K, of the bottleneck: of the vector, or at each of the 16 positions. `none`: without meaning.
        initialization: scheme of the weights.
        name: the network's name.

    Returns:
        images `[batch, side, side, channels]` in [-1, 1] to the means and, of `vector` and `spatial`, behind them in
        the last axis as many raw deviations: `[batch, 2 * size]`, `[batch, 4, 4, 2 * size]` or `[batch, 4, 4, size]`;
        of `none` the map itself.
    """
    inputs = keras.Input([plan.side, plan.side, plan.channels], name="image")
    stack = _Stack(name, inputs, initialization)
    side = plan.side
    stack.at(f"image{side}")
    stack.convolve(plan.width, 3, 1)
    stack.block(plan.width)
    while side > MAP_SIDE:
        side //= 2
        stack.halve()
        stack.at(f"block{side}")
        stack.block(plan.width_at(side))
    stack.at("bottleneck")
    if bottleneck == "vector":
        stack.activate()
        stack.convolve_whole(2 * size)
    elif bottleneck != "none":
        # The means and the raw deviations are layers of their own in the authors' code; the numbers are the same.
        stack.convolve(2 * size if bottleneck == "spatial" else size, 1, 1, dtype="float32")
    return stack.model(inputs)


def build_judge(
    inputs_shape: Sequence[int], activation: bool, initialization: WeightInitialization, name: str = "judge"
) -> keras.Model:
    """The discriminator after the bottleneck: one linear unit.

    Args:
        inputs_shape: of z, without the batch.
        activation: whether a leaky ReLU comes before the unit.
        initialization: scheme of the weights.
        name: the network's name.

    Returns:
        z `[batch, ...]` to scores `[batch, 1]`, float32.
    """
    inputs = keras.Input(list(inputs_shape), name="z")
    stack = _Stack(name, inputs, initialization)
    stack.at("score")
    if activation:
        stack.activate()
    stack.flatten()
    stack.dense(1, dtype="float32")
    return stack.model(inputs)
