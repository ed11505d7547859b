"""What each metric is measured on: codes of single images, generated images, pairs, or images of classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from common.errors import UserError
from metrics import registry

Kind = Literal["codes", "features", "vgan_features", "probabilities", "pairs", "validation", "classes", "models"]

_OF_ARRAYS: dict[frozenset[str], Kind] = {
    frozenset({"features_real", "features_fake"}): "features",
    frozenset({"vgan_features_real", "vgan_features_fake"}): "vgan_features",
    frozenset({"probabilities"}): "probabilities",
    frozenset({"shared_x", "shared_y"}): "pairs",
    frozenset({"exclusive_x", "exclusive_y"}): "pairs",
    frozenset({"shared_x", "shared_y", "exclusive_x", "exclusive_y"}): "validation",
    frozenset({"queries", "query_labels", "gallery", "gallery_labels"}): "classes",
}

OF_IMAGES: tuple[Kind, ...] = ("features", "vgan_features", "probabilities")
"""Metrics of images that the model generates."""

OF_PAIRS: tuple[Kind, ...] = ("pairs", "validation", "classes")
"""Metrics of models of pairs."""


def kind_of(metric_id: str) -> Kind:
    """What a metric is measured on; `models` for those that compare several models.

    Raises:
        UserError: there is no such metric.
    """
    metric = registry.get(metric_id)
    if metric.protocols:
        return "codes"
    return _OF_ARRAYS.get(frozenset(metric.needs), "models")


def of_kinds(metric_ids: Iterable[str], *kinds: Kind) -> list[str]:
    """Those of the metrics that are of these kinds, in their order."""
    return [name for name in dict.fromkeys(metric_ids) if kind_of(name) in kinds]


def refuse_misfits(metric_ids: Iterable[str], takes_pairs: bool) -> None:
    """Refuses metrics that do not fit the model, before any data are looked at.

    Args:
        metric_ids: `evaluation.metrics`.
        takes_pairs: whether the model learns from pairs.

    Raises:
        UserError: a metric that is not known, compares several models, or is of the other kind of model.
    """
    for name in metric_ids:
        kind = kind_of(name)
        if kind == "models":
            raise UserError(
                f"evaluation.metrics: {name} compares several models; take run.py --mode=select, or python -m metrics"
            )
        if kind == "codes" and takes_pairs:
            raise UserError(
                f"evaluation.metrics: {name} is of the codes of single images, and this model learns from pairs; "
                f"choose from {', '.join(_named(*OF_PAIRS, *OF_IMAGES))}"
            )
        if kind in OF_PAIRS and not takes_pairs:
            raise UserError(f"evaluation.metrics: {name} is of models of pairs, such as iiae; leave it out")


def _named(*kinds: Kind) -> list[str]:
    return of_kinds(registry.names(), *kinds)
