"""Models of pairs: what two domains share, what each has to itself, and how to exchange it."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable
from typing import Literal, TypeAlias

import tensorflow as tf

from models.base import DisentanglementModel
from models.noise import Noise

Domain = Literal["x", "y"]
Pair: TypeAlias = tuple[tf.Tensor, tf.Tensor]

OTHER: dict[Domain, Domain] = {"x": "y", "y": "x"}
"""The other domain."""


class PairModel(DisentanglementModel):
    """Base class of models that learn from pairs (x, y): an image of one domain and one of the other.

    `image_shape` is the shape of one image of either domain. `train_step` takes a tuple (x, y), or pairs side by side,
    x on the left, as they are published; `generate` gives pairs side by side. `encode` is what x says of what it
    shares with y; all parts are `representations`.

    Images are float32 in [0, 1]. All but `train_step` change no weight, and are deterministic in inference mode.
    """

    @abc.abstractmethod
    def shared_code(self, images: tf.Tensor, domain: Domain) -> tf.Tensor:
        """What images of a domain say of what both share, `[batch, size]`."""

    @abc.abstractmethod
    def exclusive_code(self, images: tf.Tensor, domain: Domain) -> tf.Tensor:
        """What images of a domain have to themselves, `[batch, size]`."""

    @abc.abstractmethod
    def exclusive_noise(self, domain: Domain, batch: int, noise: Noise, stream: str = "style") -> tf.Tensor:
        """Exclusive codes of the prior, `[batch, size]`; equal streams give equal codes."""

    @abc.abstractmethod
    def decode(self, shared: tf.Tensor, exclusive: tf.Tensor, domain: Domain) -> tf.Tensor:
        """Images of a domain in [0, 1] from codes as `shared_code` and `exclusive_code` give them."""

    @abc.abstractmethod
    def reconstruct(self, x: tf.Tensor, y: tf.Tensor, noise: Noise | None = None) -> Pair:
        """Pairs again, from the code of what both say together; with noise from codes drawn, else from means."""

    @abc.abstractmethod
    def drawn_as_trained(self, noise: Noise) -> contextlib.AbstractContextManager[None]:
        """Within this context networks run as in training, normalized by the batch; no statistics move."""

    @property
    def representations(self) -> dict[str, Callable[[tf.Tensor], tf.Tensor]]:
        return {
            "shared_x": lambda images: self.shared_code(images, "x"),
            "shared_y": lambda images: self.shared_code(images, "y"),
            "exclusive_x": lambda images: self.exclusive_code(images, "x"),
            "exclusive_y": lambda images: self.exclusive_code(images, "y"),
        }

    def encode(self, images: tf.Tensor) -> tf.Tensor:
        """What images of x say of what both domains share, `[batch, size]`."""
        return self.shared_code(images, "x")

    def translate(self, images: tf.Tensor, source: Domain, style: tf.Tensor) -> tf.Tensor:
        """Images of the other domain that share what these show.

        Args:
            images: of the source.
            source: their domain.
            style: exclusive codes of the other domain, `[batch, size]`: of its images (`exclusive_code`), or of the
                prior (`exclusive_noise`).
        """
        return self.decode(self.shared_code(images, source), style, OTHER[source])

    def recombine(self, content: tf.Tensor, style: tf.Tensor, domain: Domain) -> tf.Tensor:
        """Images of a domain with what `content` shares with the other one and what `style` has to itself.

        With the same images twice it is the reconstruction from one domain alone.
        """
        return self.decode(self.shared_code(content, domain), self.exclusive_code(style, domain), domain)

    def pair_of(self, data: tf.Tensor | Pair | list[tf.Tensor]) -> Pair:
        """x and y of a training batch: a tuple of both, or pairs side by side.

        Raises:
            ValueError: neither is there, or the images have another shape.
        """
        if isinstance(data, tuple | list):
            if len(data) != 2:
                raise ValueError(f"a batch of pairs is (x, y); this one has {len(data)} parts")
            x, y = (tf.cast(part, tf.float32) for part in data)
        else:
            axis = 2 if len(self.image_shape) == 3 else 1
            x, y = tf.split(tf.cast(data, tf.float32), 2, axis=axis)
        for name, part in (("x", x), ("y", y)):
            if tuple(part.shape[1:]) != self.image_shape:
                raise ValueError(f"{name} has images of {tuple(part.shape[1:])}; the model takes {self.image_shape}")
        return x, y

    def side_by_side(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Pairs as single images, x on the left."""
        return tf.concat([x, y], axis=2 if len(self.image_shape) == 3 else 1)
