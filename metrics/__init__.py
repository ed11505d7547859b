"""Metrics of representations and images: pure functions of arrays, and the protocols that draw their samples.

    from metrics import evaluate, score_arrays
    from metrics.factor_vae import factor_vae

Each metric is a function in the module of its family and has an id in the registry (`names`). The functions are not
repeated here: `metrics.factor_vae` is the module, and could not be the function too.
"""

from __future__ import annotations

# Fills the registry.
from metrics import catalogue as _catalogue
from metrics import generation_catalogue as _generation_catalogue
from metrics.encoding import encode_samples
from metrics.factors import read_factors
from metrics.inputs import Inputs
from metrics.protocols import FactorVaeProtocol, IbganFactorVaeProtocol
from metrics.registry import PRESETS, Metric, evaluate, get, names, register, score_arrays
from metrics.results import MetricResult

del _catalogue, _generation_catalogue

__all__ = [
    "PRESETS",
    "FactorVaeProtocol",
    "IbganFactorVaeProtocol",
    "Inputs",
    "Metric",
    "MetricResult",
    "encode_samples",
    "evaluate",
    "get",
    "names",
    "read_factors",
    "register",
    "score_arrays",
]
