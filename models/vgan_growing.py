"""VGAN for larger images from VGAN for smaller ones: the weights of what both networks have go over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

if TYPE_CHECKING:
    from models.vgan import VGAN


def grow(smaller: VGAN, larger: VGAN) -> list[str]:
    """Gives a model for larger images the weights of one for smaller images, wherever both do the same.

    Blocks belong together by the side of their maps. Going from the 4 x 4 map towards the image, all are taken over up
    to the first whose sizes differ; with half the `width` for twice the side, that is all of them. The layers next to
    the image begin anew, as do the optimizers; beta is taken over.

    Args:
        smaller: trained on images of a smaller side, or of the same.
        larger: takes the weights; all of its other ones stay as they are.

    Returns:
        names of the blocks that were taken over, such as `generator/block8`.

    Raises:
        ValueError: the larger model is for smaller images, or the models have nothing in common in one of the
            networks: other sizes of z, of the bottleneck, or of the 4 x 4 map.
    """
    if smaller.image_shape[0] > larger.image_shape[0]:
        raise ValueError(
            f"cannot grow from images of side {smaller.image_shape[0]} to side {larger.image_shape[0]}; "
            "give the model for the smaller images first"
        )
    common = {
        "generator": _common_places(smaller.generator, larger.generator),
        "judge": _common_places(smaller.judge, larger.judge),
        "encoder": _common_places(smaller.encoder, larger.encoder, from_output=True),
    }
    for name, places in common.items():
        if not places:
            raise ValueError(
                f"the {name}s of the two models have nothing in common; z_dim, label_embedding, bottleneck, "
                "bottleneck_size and max_width must be equal, and width halved whenever the side doubles"
            )
    pairs = [(smaller.generator, larger.generator, common["generator"], "generator")]
    if larger.average is not None:
        pairs.append((smaller.average or smaller.generator, larger.average, common["generator"], "generator_average"))
    pairs += [(smaller.judge, larger.judge, common["judge"], "judge")]
    pairs += [(smaller.encoder, larger.encoder, common["encoder"], "encoder")]
    for source, target, places, _ in pairs:
        of_source, of_target = _places(source), _places(target)
        for place in places:
            for value, variable in zip(of_source[place], of_target[place], strict=True):
                variable.assign(value)
    larger.beta.assign(smaller.beta)
    return [f"{name}/{place}" for _, _, places, name in pairs for place in places]


def _places(network: keras.Model) -> dict[str, list[keras.Variable]]:
    """The variables of a network by the place of their layers, in the order of the layers."""
    places: dict[str, list[keras.Variable]] = {}
    for layer in network.layers:
        if layer.variables:
            place = layer.name.removeprefix(f"{network.name}_").rsplit("_", 1)[0]
            places.setdefault(place, []).extend(layer.variables)
    return places


def _common_places(smaller: keras.Model, larger: keras.Model, from_output: bool = False) -> list[str]:
    """The places at which both networks have variables of the same shapes, up to the first where they have not."""
    ours, theirs = _places(smaller), _places(larger)
    common = []
    for place in reversed(list(ours)) if from_output else list(ours):
        shapes = [tuple(variable.shape) for variable in ours[place]]
        if shapes != [tuple(variable.shape) for variable in theirs.get(place, [])]:
            break
        common.append(place)
    return common
