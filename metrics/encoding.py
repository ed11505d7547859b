"""From drawn images to arrays of codes: every distinct image is encoded once, in whole batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from metrics.arrays import IntArray
from metrics.protocols import FactorData, Samples, held_out_of

Encode = Callable[[npt.NDArray[np.float32]], npt.ArrayLike]
"""Images `[batch, H, W, C]` float32 in [0, 1] -> codes `[batch, D]`; always called with the same batch size."""

Progress = Callable[[int, int], None]
"""Called with how many distinct images are encoded and how many there are, after every batch."""


def encode_samples(
    data: FactorData,
    encode: Encode,
    samples: Sequence[Samples],
    batch_size: int = 256,
    progress: Progress | None = None,
) -> list[dict[str, np.ndarray]]:
    """Encodes the union of all images of all samples, each distinct image once; so too of all that is held out.

    Args:
        data: where the images come from.
        encode: images `[batch_size, H, W, C]` float32 in [0, 1] -> codes `[batch_size, D]`. The last batch is filled
            up with images that are there already, so that a compiled function is traced once.
        samples: what the protocols have drawn.
        batch_size: images in a batch, default 256.
        progress: told after every batch how many distinct images are encoded, and of how many.

    Returns:
        per element of `samples` its arrays: codes (the shape of the indices and one axis of D) and those that needed
        no encoding.

    Raises:
        UserError: if codes are not finite, as those of a diverged model are.
        ValueError: if `encode` returns another shape, or the batch size is not positive.
    """
    parts = [_encode_union(data, encode, [sample.images for sample in samples], batch_size, progress)]
    if any(sample.held_out for sample in samples):
        tests = [sample.held_out for sample in samples]
        parts.append(_encode_union(held_out_of(data), encode, tests, batch_size, progress))
    results = [dict(sample.arrays) for sample in samples]
    for part in parts:
        for arrays, codes in zip(results, part, strict=True):
            arrays.update(codes)
    return results


def _encode_union(
    data: FactorData,
    encode: Encode,
    wanted: Sequence[Mapping[str, IntArray]],
    batch_size: int,
    progress: Progress | None,
) -> list[dict[str, np.ndarray]]:
    numbers = [indices.ravel() for images in wanted for indices in images.values()]
    if not numbers:
        return [{} for _ in wanted]
    distinct, places = np.unique(np.concatenate(numbers), return_inverse=True)
    codes = encode_images(data, encode, distinct, batch_size, progress)
    results: list[dict[str, np.ndarray]] = []
    start = 0
    for images in wanted:
        arrays = {}
        for name, indices in images.items():
            arrays[name] = codes[places[start : start + indices.size]].reshape(*indices.shape, -1)
            start += indices.size
        results.append(arrays)
    return results


def encode_images(
    data: FactorData,
    encode: Encode,
    indices: IntArray,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> np.ndarray:
    """The codes `[n, D]` of the images at `indices` `[n]`; see `encode_samples`, which calls it."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, not {batch_size}")
    codes: np.ndarray | None = None
    for start in range(0, indices.size, batch_size):
        batch = indices[start : start + batch_size]
        images = np.divide(images_of(data, batch), 255, dtype=np.float32)
        if batch.size < batch_size:
            images = images[np.arange(batch_size) % batch.size]
        part = np.asarray(encode(images))
        if part.ndim != 2 or part.shape[0] != batch_size or part.shape[1] == 0:
            raise ValueError(f"encode must return codes of shape ({batch_size}, D); it returned {part.shape}")
        # Half-precision codes (of mixed-precision models) become float32; numpy has no bfloat16 of its own.
        part = part[: batch.size].astype(np.float64 if part.dtype == np.float64 else np.float32)
        if not np.isfinite(part).all():
            raise UserError(
                "the encoder gives codes that are NaN or infinite; the model has probably diverged: look at its loss "
                "curves, and evaluate an earlier checkpoint"
            )
        if codes is None:
            codes = np.empty((indices.size, part.shape[1]), dtype=part.dtype)
        codes[start : start + batch.size] = part
        if progress is not None:
            progress(start + batch.size, indices.size)
    if codes is None:
        raise ValueError("there are no images to encode")
    return codes


def images_of(data: FactorData, numbers: IntArray) -> npt.NDArray[np.uint8]:
    """The images `[n, H, W, C]` of these numbers, of which those past the data set's own are in its stored groups."""
    beyond = numbers >= data.num_examples
    if not beyond.any():
        return data.images_at(numbers)
    groups = data.metric_groups
    if groups is None:
        raise ValueError(f"{data.name} has {data.num_examples:,} images and no groups; there is no {numbers.max():,}")
    places, within = np.divmod(numbers[beyond] - data.num_examples, groups.group_size)
    distinct, position = np.unique(places, return_inverse=True)
    stored = groups.images_at(distinct)[position, within]
    images = np.empty((numbers.size, *stored.shape[1:]), dtype=stored.dtype)
    images[beyond] = stored
    if not beyond.all():
        images[~beyond] = data.images_at(numbers[~beyond])
    return images
