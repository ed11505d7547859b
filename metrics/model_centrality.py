"""ModelCentrality (Lin et al., ICML 2020): which of several models is most like all the others, without any labels.

Each model's generator takes the place of known factors: its codes are the factors of the images that it generates. The
FactorVAE score of one model's encoder on another's images says how similar the two are; a model's centrality is its
mean similarity to all others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence

import numpy as np
import numpy.typing as npt

from metrics.arrays import FloatArray, IntArray, model_labels, population_std, real_array
from metrics.factor_vae import factor_vae
from metrics.results import MetricResult

NUM_GROUPS = 500
GROUP_SIZE = 100
NUM_SPREAD_IMAGES = 73_728


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ModelCentralityResult(MetricResult):
    """The ranking of n models; `score` is the centrality of the first.

    Args:
        ranking: `[n]` numbers of the models, the most central first; of equals the first first.
        centralities: `[n]` mean similarity to the other models.
        similarity: `[n, n]` symmetric.
        scores: `[n, n]` FactorVAE score of encoder i on images of generator j.
        names: of the models.
    """

    ranking: IntArray
    centralities: FloatArray
    similarity: FloatArray
    scores: FloatArray
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Generated:
    """Some of the images that one model's generator makes for all encoders.

    Args:
        images: `[m, L, ...]` m groups of L images, those of a group sharing one code's value; or, without labels,
            `[m, ...]` images that share nothing, for the spread of the codes.
        labels: `[m]` integers, which code is shared in each group.
    """

    images: np.ndarray
    labels: IntArray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class CentralityModel:
    """A model that takes part.

    Args:
        name: must differ from all others'.
        generate: makes this model's images, a part at a time; every call must give the same images again.
        encode: images `[b, ...]` of any number b -> codes `[b, D]`.
    """

    name: str
    generate: Callable[[], Iterable[Generated]]
    encode: Callable[[np.ndarray], npt.ArrayLike]


def centrality(scores: npt.ArrayLike, names: Sequence[str] | None = None) -> ModelCentralityResult:
    """Ranks models from the FactorVAE scores of each encoder on each generator's images.

    Args:
        scores: `[n, n]`, encoder i on images of generator j, of two or more models.
        names: of the models. Default: `model 0`, `model 1` and so on.

    Returns:
        with B = (A + A^T) / 2 of the scores A, each model's mean of B over all others, and the ranking by it.

    Raises:
        TypeError: if the scores are not numbers.
        ValueError: if the matrix is not square, has one row, or holds a value that is not finite.

    Source: Lin et al., InfoGAN-CR and ModelCentrality, ICML 2020, section 5; the released `main_mc.py`.
    """
    matrix = real_array("scores", scores, 2).astype(np.float64)
    count = len(matrix)
    if matrix.shape != (count, count) or count < 2:
        raise ValueError(f"scores must be a square matrix of two or more models; its shape is {matrix.shape}")
    labels = model_labels(names, count)
    similarity = (matrix + matrix.T) / 2
    # Without the diagonal from the start: subtracted later, its rounding would decide between equals.
    central = np.where(np.eye(count, dtype=bool), 0.0, similarity).sum(axis=1) / (count - 1)
    ranking = np.argsort(-central, kind="stable")
    for array in (matrix, similarity, central, ranking):
        array.setflags(write=False)
    return ModelCentralityResult(
        score=float(central.max()),
        ranking=ranking,
        centralities=central,
        similarity=similarity,
        scores=matrix,
        names=labels,
    )


def model_centrality(
    models: Sequence[CentralityModel],
    *,
    known: MutableMapping[tuple[str, str], float] | None = None,
    remarks: MutableMapping[tuple[str, str], Sequence[str]] | None = None,
    progress: Callable[[int, int], None] | None = None,
    strict_reference: bool = False,
) -> ModelCentralityResult:
    """Generates each model's images once, lets every encoder see them, and ranks the models.

    Only one part of one generator's images is in memory at a time, and the codes of one generator's images.

    Args:
        models: two or more.
        known: FactorVAE scores by (name of the encoder's model, name of the generator's model). Those that are there
            are not computed again, new ones are added as soon as they are known: a mapping that is kept on disk lets an
            interrupted comparison go on, or a model join.
        remarks: what was degenerate, by the same pairs; each is set before its score, and those that are there are told
            of again. Without it only what is computed now is told of.
        progress: told how many of the n^2 pairs are done, and of how many.
        strict_reference: use the score as the released code computes it, in which a code that never changes gets every
            vote. By default such codes cannot vote.

    Returns:
        the ranking with all scores; `degenerate` says which pairs had codes that never change.

    Raises:
        ValueError: if there are fewer than two models, two have the same name, or a generator gives no groups or no
            images for the spread.

    Source: as `centrality`; protocol of InfoGAN-CR.
    """
    names = [model.name for model in models]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"models are compared with each other: give two or more of different names, not {names}")
    scores: MutableMapping[tuple[str, str], float] = {} if known is None else known
    found: MutableMapping[tuple[str, str], Sequence[str]] = {} if remarks is None else remarks
    pairs = [(encoder, generator) for generator in names for encoder in names]
    for generator in models:
        pending = [model for model in models if (model.name, generator.name) not in scores]
        if pending:
            groups, labels, spread = _encode_everything(generator, pending)
            for encoder in pending:
                result = factor_vae(groups[encoder.name], labels, population_std(spread[encoder.name]))
                found[encoder.name, generator.name] = result.degenerate
                scores[encoder.name, generator.name] = result.score_as_released if strict_reference else result.score
        if progress is not None:
            progress(sum(pair in scores for pair in pairs), len(pairs))
    matrix = [[scores[encoder, generator] for generator in names] for encoder in names]
    degenerate = tuple(
        f"encoder of {encoder} on images of {generator}: {remark}"
        for encoder, generator in pairs
        for remark in found.get((encoder, generator), ())
    )
    return dataclasses.replace(centrality(matrix, names), degenerate=degenerate)


_ByName = dict[str, FloatArray]


def _encode_everything(
    generator: CentralityModel, encoders: Sequence[CentralityModel]
) -> tuple[_ByName, IntArray, _ByName]:
    """The codes of one generator's groups and of its other images, by the encoder's name, and the groups' labels."""
    groups: dict[str, list[FloatArray]] = {model.name: [] for model in encoders}
    spread: dict[str, list[FloatArray]] = {model.name: [] for model in encoders}
    labels: list[IntArray] = []
    for part in generator.generate():
        leading = part.images.shape[: 1 if part.labels is None else 2]
        flat = part.images.reshape(-1, *part.images.shape[len(leading) :])
        if part.labels is not None:
            labels.append(np.asarray(part.labels))
        for model in encoders:
            codes = real_array(f"codes of {model.name}", model.encode(flat), 2)
            if len(codes) != len(flat):
                raise ValueError(f"{model.name} gives {len(codes)} codes for {len(flat)} images")
            kept = spread if part.labels is None else groups
            kept[model.name].append(codes.reshape(*leading, -1))
    if not labels or not spread[encoders[0].name]:
        raise ValueError(f"{generator.name} must generate groups with labels, and other images without")
    joined = ({name: np.concatenate(parts) for name, parts in kept.items()} for kept in (groups, spread))
    of_groups, of_others = joined
    return of_groups, np.concatenate(labels), of_others


def fixed_code_images(
    decode: Callable[[np.ndarray], npt.ArrayLike],
    draw: Callable[[np.random.Generator, int], np.ndarray],
    num_codes: int,
    *,
    code_columns: Sequence[Sequence[int]] | None = None,
    num_groups: int = NUM_GROUPS,
    group_size: int = GROUP_SIZE,
    num_spread_images: int = NUM_SPREAD_IMAGES,
    seed: int = 0,
) -> Iterator[Generated]:
    """Images in the protocol of ModelCentrality: group i keeps code i mod k at one draw of the prior.

    Args:
        decode: latents `[b, Z]` -> images `[b, ...]`, in test mode.
        draw: (source of random numbers, b) -> latents `[b, Z]` of the prior.
        num_codes: k; 5 for InfoGAN-CR, 10 for FactorVAE on dSprites.
        code_columns: which columns of the latents belong to each of the k codes, such as the several of a category in
            one-hot form, which are fixed together. Default: the first k columns, one for each code.
        num_groups: M. Default: 500, as published for k = 5; 1,000 were published for k = 10.
        group_size: L. Default: 100.
        num_spread_images: images of the prior for the spread of the codes. Default: 73,728.
        seed: any integer from 0 (the default); the same seed gives the same latents.

    Yields:
        one group at a time, then the other images in parts of `group_size`.

    Raises:
        ValueError: if a number is out of range, or there are not columns for each code.
    """
    columns = [[code] for code in range(num_codes)] if code_columns is None else [list(part) for part in code_columns]
    if len(columns) != num_codes or not all(columns):
        raise ValueError(f"code_columns must name one column or more for each of {num_codes} codes, not {columns}")
    if num_codes < 1 or num_groups < 1 or group_size < 2 or num_spread_images < 2:
        raise ValueError("give one code and one group or more, two images or more in each, and two or more besides")
    rng = np.random.default_rng(seed)
    for group in range(num_groups):
        latents = np.array(draw(rng, group_size))
        code = group % num_codes
        latents[:, columns[code]] = draw(rng, 1)[0, columns[code]]
        yield Generated(np.asarray(decode(latents))[None], np.array([code]))
    for start in range(0, num_spread_images, group_size):
        yield Generated(np.asarray(decode(draw(rng, min(group_size, num_spread_images - start)))))
