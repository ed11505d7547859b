"""The ids: which function each stands for, on which samples, and whose protocol that is."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from metrics.arrays import real_array
from metrics.beta_vae import beta_vae, dlib_beta_vae
from metrics.code_classification import CodeErrorResult, Matching, code_error
from metrics.dci import (
    dci_hist_gbt,
    dci_lasso,
    dci_lassocv,
    dci_random_forest,
    dci_random_forest_cv,
    dci_random_forest_ibgan,
    dlib_dci_gbt,
)
from metrics.dhsic import dhsic
from metrics.explicitness import dlib_explicitness, explicitness
from metrics.factor_protocols import (
    DlibFactorProtocol,
    DlibGroupProtocol,
    HeldOutProtocol,
    InfoganCrFactorProtocol,
    InfoganCrRandomProtocol,
)
from metrics.factor_vae import FactorVaeResult, dlib_factor_vae, factor_vae, ibgan_factor_vae
from metrics.factors import Factors
from metrics.inputs import FAST_ROWS, Inputs
from metrics.irs import dlib_irs
from metrics.mig import mig
from metrics.model_centrality import centrality
from metrics.modularity import dlib_modularity, modularity
from metrics.protocols import FactorVaeProtocol, IbganFactorVaeProtocol
from metrics.registry import register
from metrics.results import MetricResult
from metrics.sap import dlib_sap, dlib_sap_continuous, sap
from metrics.udr import dlib_udr_lasso, dlib_udr_spearman

_INFOGAN_CR = "InfoGAN-CR (Lin et al., ICML 2020)"
_INFOGAN = "InfoGAN (Chen et al., NIPS 2016)"
_IBGAN = "IB-GAN (Jeon et al., AAAI 2021)"
_DLIB = "disentanglement_lib (Locatello et al., ICML 2019)"

_GROUPS = ("group_codes", "group_labels")
_SPREAD = ("codes",)
_TEST_GROUPS = ("test_group_codes", "test_group_labels")
_CODES = ("codes", "factors")
_TESTS = ("test_codes", "test_factors")
_HELD_OUT = {"fast": HeldOutProtocol(limit=FAST_ROWS), "paper": HeldOutProtocol()}
_ABOUT_FACTORS = ("factor_names", "discrete", "periodic")

_CR_GROUPS = {"fast": FactorVaeProtocol(std_image_limit=FAST_ROWS), "paper": FactorVaeProtocol()}
_CR_FACTORS = {"fast": InfoganCrFactorProtocol(limit=FAST_ROWS), "paper": InfoganCrFactorProtocol()}
_DLIB_FACTORS = {"fast": DlibFactorProtocol(num_train=5_000, num_test=2_500), "paper": DlibFactorProtocol()}
_DLIB_FACTOR_VAE = {
    "fast": DlibGroupProtocol(pairs=False, group_size=64, num_train=800, num_test=400),
    "paper": DlibGroupProtocol(pairs=False, group_size=64),
}
_DLIB_BETA_VAE = {
    "fast": DlibGroupProtocol(pairs=True, group_size=128, num_train=800, num_test=400, num_std_images=0),
    "paper": DlibGroupProtocol(pairs=True, group_size=128, num_std_images=0),
}


def _factor_vae(inputs: Inputs) -> FactorVaeResult:
    spread, _, notes = inputs.spread
    strict = inputs.strict_reference
    result = factor_vae(inputs["group_codes"], inputs["group_labels"], spread, strict_reference=strict)
    return dataclasses.replace(result, notes=notes)


def _factor_vae_revised(inputs: Inputs) -> FactorVaeResult:
    result = _factor_vae(inputs)
    # Votes that all go to one dead code leave one row, so the revised score of the released code is the same guess.
    dead = len(result.active_codes) < len(result.votes)
    released = result.score_as_released if dead else result.revised
    return dataclasses.replace(result, score=result.revised, score_as_released=released)


def _ibgan_factor_vae(inputs: Inputs) -> FactorVaeResult:
    return ibgan_factor_vae(inputs["group_codes"], inputs["group_labels"])


def _dlib_factor_vae(inputs: Inputs) -> MetricResult:
    spread, count, notes = inputs.spread
    halves = inputs.group_split
    # The published protocol divides by N - 1.
    sample_std = spread * np.sqrt(count / max(1, count - 1))
    result = dlib_factor_vae(halves.codes, halves.labels, halves.test_codes, halves.test_labels, sample_std)
    return result.with_notes(notes + halves.notes)


def _beta_vae(inputs: Inputs) -> MetricResult:
    return beta_vae(inputs["group_codes"], inputs["group_labels"], strict_reference=inputs.strict_reference)


def _dlib_beta_vae(inputs: Inputs, softmax: bool = False) -> MetricResult:
    halves = inputs.group_split
    arrays = (halves.codes, halves.labels, halves.test_codes, halves.test_labels)
    result = dlib_beta_vae(*arrays, softmax=softmax, strict_reference=inputs.strict_reference)
    return result.with_notes(halves.notes)


def _on_levels(function: Callable[..., MetricResult]) -> Callable[[Inputs], MetricResult]:
    """A metric of codes and the levels of their factors."""

    def measure(inputs: Inputs) -> MetricResult:
        factors = inputs.factors
        result = function(inputs.codes, factors.levels, **_options(inputs, factors))
        return result.with_notes(factors.about_levels + factors.missing)

    return measure


def _on_split_levels(function: Callable[..., MetricResult], **more: str) -> Callable[[Inputs], MetricResult]:
    """A metric of codes and levels, some of which are held out; `more` as for `_dci`."""

    def measure(inputs: Inputs) -> MetricResult:
        halves = inputs.split
        factors = halves.factors
        arrays = (halves.codes, factors.levels, halves.test_codes, halves.test_factors.levels)
        arguments = {name: getattr(inputs, value) for name, value in more.items()}
        result = function(*arrays, **arguments, **_options(inputs, factors))
        return result.with_notes(halves.notes + factors.about_levels + factors.missing)

    return measure


def _sap(inputs: Inputs) -> MetricResult:
    factors = inputs.factors
    result = sap(inputs.codes, factors.values, factors.discrete, **_options(inputs, factors))
    return result.with_notes(factors.about_kinds + factors.about_circles + factors.missing)


def _dlib_sap_continuous(inputs: Inputs) -> MetricResult:
    factors = inputs.factors
    result = dlib_sap_continuous(inputs.codes, factors.values, **_options(inputs, factors))
    return result.with_notes(factors.about_circles + factors.missing)


def _dci(function: Callable[..., MetricResult], **more: str) -> Callable[[Inputs], MetricResult]:
    """A variant of InfoGAN-CR's DCI; `more` says which further arguments are which of the inputs' attributes."""

    def measure(inputs: Inputs) -> MetricResult:
        factors = inputs.factors
        arguments = {name: getattr(inputs, value) for name, value in more.items()}
        result = function(inputs.codes, factors.values, **arguments, **_options(inputs, factors))
        return result.with_notes(factors.about_circles + factors.missing)

    return measure


def _dhsic(inputs: Inputs) -> MetricResult:
    return dhsic(inputs.codes, seed=inputs.seed, strict_reference=inputs.strict_reference)


def _udr(function: Callable[..., MetricResult]) -> Callable[[Inputs], MetricResult]:
    """A ranking of models by their codes of the same images."""

    def measure(inputs: Inputs) -> MetricResult:
        tables = real_array("model_codes", inputs["model_codes"], 3)
        divergences = inputs.arrays.get("model_kl")
        names, strict = _model_names(inputs), inputs.strict_reference
        return function(list(tables), kl=divergences, names=names, strict_reference=strict)

    return measure


def _model_centrality(inputs: Inputs) -> MetricResult:
    return centrality(inputs["model_scores"], names=_model_names(inputs))


def _code_error(inputs: Inputs, matching: Matching) -> CodeErrorResult:
    halves = inputs.split
    factors, tests = halves.factors, halves.test_factors
    kinds = np.flatnonzero(factors.discrete) if len(factors.names) > 1 else np.array([0])
    if len(kinds) != 1:
        raise ValueError(
            f"{len(kinds)} of {len(factors.names)} factors are categories; the class must be the only one: give it as "
            "the only column of factors and test_factors"
        )
    column = kinds[0]
    train, test = factors.levels[:, column] >= 0, tests.levels[:, column] >= 0
    columns = inputs.arrays.get("code_columns")
    result = code_error(
        halves.codes[train],
        factors.levels[train, column],
        halves.test_codes[test],
        tests.levels[test, column],
        matching,
        columns,
    )
    notes = factors.about_levels + factors.missing
    if columns is None:
        notes += (f"all {halves.codes.shape[1]} codes are taken for categories (`code_columns`)",)
    return dataclasses.replace(result, factor_names=(factors.names[column],), notes=notes)


def _model_names(inputs: Inputs) -> list[str] | None:
    return [str(name) for name in np.atleast_1d(inputs["model_names"])] if "model_names" in inputs else None


def _options(inputs: Inputs, factors: Factors) -> dict[str, Any]:
    return {"factor_names": factors.names, "strict_reference": inputs.strict_reference}


register(
    "factor_vae",
    _factor_vae,
    needs=_GROUPS,
    reads=_SPREAD,
    protocols=_CR_GROUPS,
    description="Kim-Mnih score: least varying code votes for the fixed factor; 500 votes of 100 images",
    paper=_INFOGAN_CR,
)
register(
    "factor_vae_revised",
    _factor_vae_revised,
    needs=_GROUPS,
    reads=_SPREAD,
    protocols=_CR_GROUPS,
    description="factor_vae in which only as many codes count as there are factors",
    paper=_INFOGAN_CR,
)
register(
    "ibgan_factor_vae",
    _ibgan_factor_vae,
    needs=_GROUPS,
    protocols={"fast": IbganFactorVaeProtocol(group_size=50), "paper": IbganFactorVaeProtocol()},
    description="Kim-Mnih score without codes of variance below 0.05; 800 votes of 200 images",
    paper=_IBGAN,
)
register(
    "beta_vae",
    _beta_vae,
    needs=_GROUPS,
    protocols=_CR_GROUPS,
    description="linear classifier names the fixed factor from mean differences of pairs; accuracy on the same groups",
    paper=_INFOGAN_CR,
)
register(
    "sap",
    _sap,
    needs=_CODES,
    reads=_ABOUT_FACTORS,
    protocols=_CR_FACTORS,
    description="gap of the two best codes: squared correlation for quantities, SVM accuracy for categories",
    paper=_INFOGAN_CR,
)
register(
    "mig",
    _on_levels(mig),
    needs=_CODES,
    reads=_ABOUT_FACTORS,
    protocols=_CR_FACTORS,
    description="gap of the two best codes: mutual information in units of the factor's entropy; 20 bins",
    paper=_INFOGAN_CR,
)
register(
    "modularity",
    _on_levels(modularity),
    needs=_CODES,
    reads=_ABOUT_FACTORS,
    protocols=_CR_FACTORS,
    description="how near each code is to informing about one factor only; 20 bins, codes without information left out",
    paper=_INFOGAN_CR,
)
register(
    "explicitness",
    _on_levels(explicitness),
    needs=_CODES,
    reads=_ABOUT_FACTORS,
    protocols=_CR_FACTORS,
    description="mean area under the ROC curves of logistic regressions on raw codes; on the same images",
    paper=_INFOGAN_CR,
)
for _name, _measure, _slow_in, _description in (
    ("dci_lasso", _dci(dci_lasso), (), "Lasso with penalty 0.02"),
    ("dci_lassocv", _dci(dci_lassocv), (), "Lasso with a cross-validated penalty"),
    ("dci_random_forest", _dci(dci_random_forest, seed="seed"), (), "ten trees, of depths 4, 5, 2, 5, 5"),
    ("dci_random_forest_ibgan", _dci(dci_random_forest_ibgan, seed="seed"), (), "ten trees, of depths 4, 2, 4, 2, 2"),
    ("dci_random_forest_cv", _dci(dci_random_forest_cv, seed="seed"), ("fast",), "ten trees, of the best depths"),
):
    register(
        _name,
        _measure,
        needs=_CODES,
        reads=_ABOUT_FACTORS,
        protocols=_CR_FACTORS,
        description=f"disentanglement, completeness, informativeness: {_description} for each factor",
        paper=_INFOGAN_CR,
        slow_in=_slow_in,
    )
register(
    "dhsic",
    _dhsic,
    needs=("codes",),
    protocols={"fast": InfoganCrRandomProtocol(2_000), "paper": InfoganCrRandomProtocol()},
    description="dependence among the codes by kernels, 0 for independent ones; 5,000 images",
    paper=_INFOGAN_CR,
    lower_is_better=True,
)
register(
    "dlib_factor_vae",
    _dlib_factor_vae,
    needs=_GROUPS,
    reads=_SPREAD + _TEST_GROUPS,
    protocols=_DLIB_FACTOR_VAE,
    description="Kim-Mnih score on 5,000 votes held out of 15,000 of 64 images; without codes of deviation below 0.05",
    paper=_DLIB,
)
register(
    "dlib_beta_vae",
    _dlib_beta_vae,
    needs=_GROUPS,
    reads=_TEST_GROUPS,
    protocols=_DLIB_BETA_VAE,
    description="linear classifier names the factor that pairs share; accuracy on 5,000 groups held out of 15,000",
    paper=_DLIB,
)
register(
    "dlib_sap",
    _on_split_levels(dlib_sap),
    needs=_CODES,
    reads=_ABOUT_FACTORS + _TESTS,
    protocols=_DLIB_FACTORS,
    description="gap of the two best codes: SVM accuracy for all factors, on 5,000 images held out of 15,000",
    paper=_DLIB,
)
register(
    "dlib_sap_continuous",
    _dlib_sap_continuous,
    needs=_CODES,
    reads=_ABOUT_FACTORS,
    protocols=_DLIB_FACTORS,
    description="gap of the two best codes: squared correlation for all factors; 10,000 images",
    paper=_DLIB,
)
register(
    "dlib_mig",
    _on_levels(mig),
    needs=_CODES,
    reads=_ABOUT_FACTORS,
    protocols=_DLIB_FACTORS,
    description="mig on 10,000 images",
    paper=_DLIB,
)
register(
    "dlib_modularity",
    _on_levels(dlib_modularity),
    needs=_CODES,
    reads=_ABOUT_FACTORS,
    protocols=_DLIB_FACTORS,
    description="modularity on 10,000 images, in which codes without information count 0",
    paper=_DLIB,
)
register(
    "dlib_explicitness",
    _on_split_levels(dlib_explicitness),
    needs=_CODES,
    reads=_ABOUT_FACTORS + _TESTS,
    protocols=_DLIB_FACTORS,
    description="explicitness of standardized codes, on 5,000 images held out of 15,000",
    paper=_DLIB,
)
register(
    "dlib_beta_vae_softmax",
    functools.partial(_dlib_beta_vae, softmax=True),
    needs=_GROUPS,
    reads=_TEST_GROUPS,
    protocols=_DLIB_BETA_VAE,
    description="dlib_beta_vae with the softmax regression that newer versions of scikit-learn take by default",
    paper="disentanglement_lib with scikit-learn 0.22 or later",
    slow_in=("fast",),
)
register(
    "dlib_explicitness_softmax",
    _on_split_levels(functools.partial(dlib_explicitness, softmax=True)),
    needs=_CODES,
    reads=_ABOUT_FACTORS + _TESTS,
    protocols=_DLIB_FACTORS,
    description="dlib_explicitness with the softmax regression that newer versions of scikit-learn take by default",
    paper="disentanglement_lib with scikit-learn 0.22 or later",
    slow_in=("fast", "paper"),
)
register(
    "dlib_dci_gbt",
    _on_split_levels(dlib_dci_gbt, seed="seed"),
    needs=_CODES,
    reads=_ABOUT_FACTORS + _TESTS,
    protocols=_DLIB_FACTORS,
    description="disentanglement, completeness, informativeness: gradient-boosted trees; 10,000 images, 5,000 held out",
    paper=_DLIB,
    slow_in=("fast", "paper"),
)
register(
    "dci_hist_gbt",
    _on_split_levels(dci_hist_gbt, seed="seed"),
    needs=_CODES,
    reads=_ABOUT_FACTORS + _TESTS,
    protocols=_DLIB_FACTORS,
    description="dlib_dci_gbt with trees that split between 64 bins of each code: an approximation, much faster",
    paper="our own variant of disentanglement_lib's",
    slow_in=("fast",),
)
register(
    "dlib_irs",
    _on_levels(dlib_irs),
    needs=_CODES,
    reads=_ABOUT_FACTORS,
    protocols=_DLIB_FACTORS,
    description="interventional robustness: how little a code strays while its factor is kept; 10,000 images",
    paper="disentanglement_lib, after Suter et al., ICML 2019",
)
for _name, _measure, _description in (  # type: ignore[assignment]
    ("dlib_udr_lasso", _udr(dlib_udr_lasso), "Lasso coefficients"),
    ("dlib_udr_spearman", _udr(dlib_udr_spearman), "rank correlations"),
):
    register(
        _name,
        _measure,
        needs=("model_codes",),
        reads=("model_kl", "model_names"),
        protocols={},
        description=f"unsupervised ranking of models by how alike their codes are: {_description}; score of the best",
        paper="disentanglement_lib, after Duan et al., ICLR 2020",
    )
register(
    "model_centrality",
    _model_centrality,
    needs=("model_scores",),
    reads=("model_names",),
    protocols={},
    description="unsupervised ranking: mean FactorVAE score of a model's encoder on the others' images and vice versa",
    paper=_INFOGAN_CR,
)
CODE_ERRORS = {
    "code_error_majority": ("majority", "the class that most of its training images have"),
    "code_error_hungarian": ("hungarian", "a class of its own, matched on the training images"),
}
"""The metrics that take codes for categories, of factors of which exactly one is a category; how each matches them."""

for _name, (_matching, _description) in CODE_ERRORS.items():
    register(
        _name,
        functools.partial(_code_error, matching=_matching),  # type: ignore[arg-type]
        needs=_CODES + _TESTS,
        reads=(*_ABOUT_FACTORS, "code_columns"),
        protocols=_HELD_OUT,
        description=f"share of held-out images in a category of another class: it stands for {_description}; 0 is best",
        paper=_INFOGAN,
        lower_is_better=True,
    )
