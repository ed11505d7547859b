"""Networks of IIAE: encoders of two domains, the heads of their codes, decoders.

Sources: the authors' code (`spatial` for MNIST-CDCB, Facades and Maps, `flat` for Cars, `mlp` for Sketchy) and a
community re-implementation for all images (`community`). Published for 256 x 256 images; with other sides the maps
shrink or grow.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import keras
import tensorflow as tf

from models.initializers import WeightInitialization
from models.layers import BatchNormalization, batch_statistics_in_use, deferred_moving_statistics
from models.networks.stack import Stack
from models.noise import Noise
from models.pairs import Domain

Network = Literal["spatial", "flat", "mlp", "community"]

SIDE_STEP = 32
"""Sides of images are multiples of it: the smallest map is a 32nd of the image."""

_DROPOUT: contextvars.ContextVar[Noise | None] = contextvars.ContextVar("dropout", default=None)
_DOMAINS: contextvars.ContextVar[tuple[Domain, ...]] = contextvars.ContextVar("domains", default=("x",))


@contextlib.contextmanager
def dropout_noise(noise: Noise) -> Iterator[None]:
    """Within this context dropout is active and takes its noise from here; outside it does nothing."""
    token = _DROPOUT.set(noise)
    try:
        yield
    finally:
        _DROPOUT.reset(token)


@contextlib.contextmanager
def domains(*names: Domain) -> Iterator[None]:
    """Within this context a batch consists of as many equal parts, one after the other, of these domains."""
    token = _DOMAINS.set(names)
    try:
        yield
    finally:
        _DOMAINS.reset(token)


@keras.saving.register_keras_serializable(package="spout")
class Dropout(keras.layers.Layer):
    """Element-wise dropout whose noise is a function of the step: the same after a restart and on several replicas.

    It is active within `dropout_noise` only.

    Args:
        rate: share of the values that become 0; the others are divided by 1 - rate.
        **kwargs: as in `keras.layers.Layer`.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        noise = _DROPOUT.get()
        if noise is None or not self.rate:
            return inputs
        left = 1.0 - self.rate
        kept = noise.chance(f"dropout/{self.name}", [tf.shape(inputs)[0], *inputs.shape[1:]], left)
        return inputs * tf.where(kept, tf.constant(1.0 / left, inputs.dtype), tf.constant(0.0, inputs.dtype))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


@keras.saving.register_keras_serializable(package="spout")
class DomainBatchNormalization(BatchNormalization):
    """Batch normalization of a network that serves both domains: each is normalized by its own statistics.

    In training that is what a pass for x and a pass for y do. What the two passes leave behind is the question: moving
    statistics of their own for each domain, or one set that both move in turn, as the community code has it. Scale and
    offset are shared. `domains` says what a batch consists of.

    Args:
        separate: whether each domain has moving statistics of its own.
        **kwargs: as in `BatchNormalization`.
    """

    def __init__(self, separate: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.separate = separate

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        if self.separate:
            shape = (input_shape[-1],)
            about: dict[str, Any] = {"shape": shape, "trainable": False, "autocast": False, "aggregation": "mean"}
            self.y_mean = self.add_weight(initializer="zeros", name="y_moving_mean", **about)
            self.y_variance = self.add_weight(initializer="ones", name="y_moving_variance", **about)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        del mask
        names = _DOMAINS.get()
        parts = tf.split(inputs, len(names)) if len(names) > 1 else [inputs]
        done = [self._normalize_domain(name, part, training) for name, part in zip(names, parts, strict=True)]
        return tf.concat(done, axis=0) if len(done) > 1 else done[0]

    def _normalize_domain(self, domain: Domain, inputs: tf.Tensor, training: bool | None) -> tf.Tensor:
        if domain == "x" or not self.separate or batch_statistics_in_use():
            return super().call(inputs, training=training)
        if not training:
            values = keras.ops.batch_normalization(
                tf.cast(inputs, tf.float32), self.y_mean, self.y_variance, -1, self.beta, self.gamma, self.epsilon
            )
            return tf.cast(values, inputs.dtype)
        with deferred_moving_statistics() as notes:
            outputs = super().call(inputs, training=True)
        for found in notes:
            for moving, batch in ((self.y_mean, found.mean), (self.y_variance, found.variance)):
                moving.assign(moving * self.momentum + tf.stop_gradient(batch) * (1.0 - self.momentum))
        return outputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "separate": self.separate}


class _Chain(Stack):
    """A chain with batch normalization and a scheme of their own for its linear layers."""

    def __init__(self, name: str, tensor: keras.KerasTensor, plan: Builder) -> None:
        super().__init__(name, tensor, plan.initialization, slope=plan.slope)
        self.plan = plan

    def normalize(self, dropout: float = 0.0) -> None:
        """Appends batch normalization and, after it, dropout."""
        self.batch_norm(unbiased=self.plan.unbiased)
        if dropout:
            self.tensor = Dropout(dropout, name=self._next("dropout"))(self.tensor)

    def normalize_domains(self, separate: bool) -> None:
        """Appends batch normalization of a network for both domains."""
        name = self._next("batch_norm")
        arguments = self.initialization.gamma_arguments(name)
        self.tensor = DomainBatchNormalization(separate, name=name, unbiased=self.plan.unbiased, **arguments)(
            self.tensor
        )

    def linear(self, units: int, initialization: WeightInitialization, dtype: str | None = None) -> None:
        """Appends a linear layer whose weights start by another scheme than the convolutions'."""
        whole, self.initialization = self.initialization, initialization
        self.dense(units, dtype=dtype)
        self.initialization = whole


@dataclass(frozen=True)
class Builder:
    """Builds the networks of a model.

    Args:
        network: which of the four models.
        image_shape: height, width and channels of an image of either domain; of `mlp` the size of a vector.
        width: filters of the first convolution of the encoders; all other layers follow. Published 32, of `mlp` 128.
        exclusive_size: size of z_x and of z_y.
        shared_size: size of z_s; of `spatial` the channels of its map.
        dropout: share of the decoders' values that become 0 in training.
        slope: of the leaky ReLUs of the encoders.
        seed: the run's seed.
        domain_statistics: see `DomainBatchNormalization`; of `community` only.
        rectified: whether a ReLU ends the decoders of `mlp`.

    Raises:
        ValueError: images of a shape that the network does not take.
    """

    network: Network
    image_shape: tuple[int, ...]
    width: int
    exclusive_size: int
    shared_size: int
    dropout: float
    slope: float
    seed: int
    domain_statistics: bool = True
    rectified: bool = False

    def __post_init__(self) -> None:
        if self.network == "mlp":
            if len(self.image_shape) != 1:
                raise ValueError(f"network 'mlp' takes vectors, not images of {self.image_shape}; choose 'spatial'")
            return
        height, width = self.image_shape[0], self.image_shape[1] if len(self.image_shape) == 3 else 0
        if height != width or height % SIDE_STEP:
            raise ValueError(
                f"network {self.network!r} takes square images whose side is a multiple of {SIDE_STEP}, not "
                f"{tuple(self.image_shape)}" + ("; 'mlp' takes vectors" if len(self.image_shape) == 1 else "")
            )

    @property
    def is_community(self) -> bool:
        """Whether layers follow the community code."""
        return self.network == "community"

    @property
    def initialization(self) -> WeightInitialization:
        """Of convolutions: N(0, 0.02), scales from N(1, 0.02) (official); PyTorch's default (community)."""
        if self.is_community:
            return WeightInitialization("pytorch", self.seed)
        return WeightInitialization("normal", self.seed, gamma_deviation=0.02)

    @property
    def heads(self) -> WeightInitialization:
        """Of the encoders' linear layers: Glorot's uniform (official), He's normal (community)."""
        return WeightInitialization("kaiming" if self.is_community else "tensorflow", self.seed)

    @property
    def unbiased(self) -> bool:
        """Whether moving variances are unbiased, as PyTorch's are."""
        return self.is_community

    @property
    def smallest(self) -> int:
        """The side of the smallest map."""
        return self.image_shape[0] // SIDE_STEP

    @property
    def shared_shape(self) -> tuple[int, ...]:
        """The shape of z_s: of `spatial` a map."""
        if self.network == "spatial":
            return (self.smallest, self.smallest, self.shared_size)
        return (self.shared_size,)

    def _image(self) -> keras.KerasTensor:
        return keras.Input(list(self.image_shape), name="vector" if self.network == "mlp" else "image")

    def _convolutions(self, stack: _Chain, count: int, both: bool = False) -> None:
        for layer in range(count):
            stack.convolve(self.width * 2 ** min(layer, 3), 4, 2)
            if both:
                stack.normalize_domains(self.domain_statistics)
            else:
                stack.normalize()
            stack.activate()

    def _hidden(self, stack: _Chain, units: int) -> None:
        """A linear layer of the official code, normalized."""
        stack.linear(units, self.heads)
        stack.normalize()
        stack.activate()

    def exclusive(self, name: str) -> keras.Model:
        """q(z_x|x): images to mean and log variance, `[batch, 2 * exclusive_size]`."""
        inputs = self._image()
        stack = _Chain(name, inputs, self)
        if self.network == "mlp":
            self._hidden(stack, 4 * self.width)
            self._hidden(stack, 2 * self.width)
        else:
            self._convolutions(stack, 4)
            stack.flatten()
        stack.linear(2 * self.exclusive_size, self.heads, dtype="float32")
        return stack.model(inputs)

    def trunk(self, name: str) -> keras.Model:
        """Images to the features h, from which the heads of z_s start. That of `community` serves both domains."""
        inputs = self._image()
        stack = _Chain(name, inputs, self)
        if self.network == "mlp":
            self._hidden(stack, 4 * self.width)
        elif self.network == "flat":
            self._convolutions(stack, 5)
            stack.flatten()
        else:
            self._convolutions(stack, 4, both=self.is_community)
        return stack.model(inputs)

    def shared(self, name: str, trunk: keras.Model, joint: bool = False) -> keras.Model:
        """A head of z_s: r(z_s|.) from the features of one domain, or q(z_s|x,y) from those of both.

        Args:
            name: the network's name.
            trunk: gives the features.
            joint: whether it takes the features of x and y, put together in the channels.

        Returns:
            features to mean and log variance, `[batch, ..., 2 * shared_size]`.
        """
        *sides, channels = trunk.output_shape[1:]
        inputs = keras.Input([*sides, channels * (2 if joint else 1)], name="features")
        stack = _Chain(name, inputs, self)
        outputs = 2 * self.shared_size
        if self.network == "spatial":
            stack.convolve(outputs, 4, 2, dtype="float32")
            return stack.model(inputs)
        if self.network == "community":
            stack.convolve(8 * self.width, 5, 1)
            stack.normalize()
            stack.activate()
            stack.flatten()
            # Nothing between the two, in the community code as here.
            stack.linear(8 * self.width, self.heads)
        elif self.network == "flat":
            self._hidden(stack, 8 * self.width)
        else:
            self._hidden(stack, (4 if joint else 2) * self.width)
        stack.linear(outputs, self.heads, dtype="float32")
        return stack.model(inputs)

    def decoder(self, name: str) -> keras.Model:
        """p(x|z_x, z_s): codes [z_s, z_x] to images in [-1, 1], or to vectors."""
        shared = keras.Input(list(self.shared_shape), name="shared")
        exclusive = keras.Input([self.exclusive_size], name="exclusive")
        own = exclusive
        if self.network == "spatial":
            own = keras.layers.Reshape((1, 1, self.exclusive_size))(own)
            own = keras.layers.UpSampling2D((self.smallest, self.smallest), name=f"{name}_tile")(own)
        parts = [own, shared] if self.is_community else [shared, own]
        stack = _Chain(name, keras.layers.Concatenate(name=f"{name}_code")(parts), self)
        if self.network == "mlp":
            self._decode_vector(stack)
        else:
            self._decode_image(stack)
        return keras.Model([shared, exclusive], stack.tensor, name=name)

    def _decode_vector(self, stack: _Chain) -> None:
        self._hidden_of_decoder(stack, self.width, dropout=0.0)
        stack.linear(self.image_shape[0], self.heads, dtype="float32")
        if self.rectified:
            stack.activate(0.0)

    def _hidden_of_decoder(self, stack: _Chain, units: int, dropout: float) -> None:
        stack.linear(units, self.initialization if self.is_community else self.heads)
        stack.normalize(dropout)
        stack.activate(0.0)

    def _decode_image(self, stack: _Chain) -> None:
        if self.network != "spatial":
            units = self.smallest**2 * 16 * self.width
            self._hidden_of_decoder(stack, units, self.dropout if self.network == "flat" else 0.0)
            stack.reshape(self.smallest, self.smallest, 16 * self.width)
        for layer, filters in enumerate((16, 8, 4, 2)):
            stack.deconvolve(filters * self.width, 4, 2)
            stack.normalize(self.dropout if layer < 2 else 0.0)
            stack.activate(0.0)
        stack.deconvolve(self.image_shape[2], 4, 2)
        stack.function("tanh")

    def classifier(self, classes: int, name: str = "classifier") -> keras.Model:
        """z_s to the logits of classes."""
        inputs = keras.Input([self.shared_size], name="shared")
        stack = _Chain(name, inputs, self)
        stack.linear(classes, self.heads, dtype="float32")
        return stack.model(inputs)


def published_width(network: Network) -> int:
    """The width of the published networks."""
    return 128 if network == "mlp" else 32
