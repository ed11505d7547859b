"""Networks of FactorVAE: encoder q(z|x), decoder p(x|z), and the discriminator that estimates total correlation.

Source: the FactorVAE baseline of InfoGAN-CR (ICML 2020). Published for 64 x 64 images; other sides that are powers of
two have as many convolutions more or fewer, all of them at the side of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from models.initializers import WeightInitialization
from models.networks.stack import Stack

LEAST_SIDE = 16
_NARROW, _WIDE = 32, 64
_MAP_SIZE = 4
_HIDDEN = 128
_LEAKY_SLOPE = 0.2


def halvings(image_shape: Sequence[int]) -> int:
    """How many halvings lead from an image to a 4 x 4 map.

    Args:
        image_shape: height, width, channels.

    Raises:
        ValueError: the images are not square, or their side is not a power of two that is large enough.
    """
    height, width = image_shape[:2]
    if height != width or height < LEAST_SIDE or height & (height - 1):
        raise ValueError(
            f"image_shape is {tuple(image_shape)}; FactorVAE takes square images whose side is a power of two, "
            f"{LEAST_SIDE} or more"
        )
    return (height // _MAP_SIZE).bit_length() - 1


def build_encoder(
    image_shape: Sequence[int], latent_size: int, initialization: WeightInitialization, name: str = "encoder"
) -> keras.Model:
    """The encoder q(z|x): the first `latent_size` outputs are the mean, the others the log variance.

    Args:
        image_shape: height, width, channels.
        latent_size: size of z.
        initialization: scheme of the weights.
        name: the network's name.

    Returns:
        images `[batch, height, width, channels]` in [0, 1] to `[batch, 2 * latent_size]`.

    Raises:
        ValueError: see `halvings`.
    """
    inputs = keras.Input(list(image_shape), name="image")
    stack = Stack(name, inputs, initialization)
    layers = halvings(image_shape)
    for layer in range(layers):
        stack.convolve(_WIDE if layer >= layers - 2 else _NARROW, 4, 2)
        stack.activate()
    stack.flatten()
    # No activation after it, here and in the community code.
    stack.dense(_HIDDEN)
    stack.dense(2 * latent_size, dtype="float32")
    return stack.model(inputs)


def build_decoder(
    image_shape: Sequence[int],
    latent_size: int,
    wide_layers: int,
    initialization: WeightInitialization,
    name: str = "decoder",
) -> keras.Model:
    """The decoder p(x|z) of Bernoulli pixels.

    Args:
        image_shape: height, width, channels.
        latent_size: size of z.
        wide_layers: how many of the transposed convolutions, from the first, have 64 filters; all others but the
            last have 32.
        initialization: scheme of the weights.
        name: the network's name.

    Returns:
        `[batch, latent_size]` to logits `[batch, height, width, channels]`.

    Raises:
        ValueError: see `halvings`.
    """
    inputs = keras.Input([latent_size], name="z")
    stack = Stack(name, inputs, initialization)
    stack.dense(_HIDDEN)
    stack.activate()
    stack.dense(_MAP_SIZE * _MAP_SIZE * _WIDE)
    stack.activate()
    stack.reshape(_MAP_SIZE, _MAP_SIZE, _WIDE)
    for layer in range(halvings(image_shape) - 1):
        stack.deconvolve(_WIDE if layer < wide_layers else _NARROW, 4, 2)
        stack.activate()
    stack.deconvolve(image_shape[2], 4, 2)
    return stack.model(inputs)


def build_discriminator(
    latent_size: int, layers: int, units: int, initialization: WeightInitialization, name: str = "discriminator"
) -> keras.Model:
    """The discriminator between q(z) and the product of its marginals.

    Args:
        latent_size: size of z.
        layers: hidden layers.
        units: of each hidden layer.
        initialization: scheme of the weights.
        name: the network's name.

    Returns:
        `[batch, latent_size]` to logits `[batch, 2]`: of z drawn jointly, and of z permuted.
    """
    inputs = keras.Input([latent_size], name="z")
    stack = Stack(name, inputs, initialization, slope=_LEAKY_SLOPE)
    for _ in range(layers):
        stack.dense(units)
        stack.activate()
    stack.dense(2, dtype="float32")
    return stack.model(inputs)
