"""InfoGAN-CR: options, schedules, and the published settings in the gin files."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import tensorflow as tf

from models.infogan_cr import InfoGANCR, InfoGANCROptions
from training.configuration import load

ALWAYS: dict[str, Any] = {"contrastive_weights": (2.0,), "contrastive_steps": ()}
NEVER: dict[str, Any] = {"contrastive_weights": (0.0,), "contrastive_steps": ()}


def build(**options: Any) -> InfoGANCR:
    side = 32 if options.get("network") == "celeba" else 64
    return InfoGANCROptions(**options).build((side, side, 1), 0)


# Schedules and options.


@pytest.mark.parametrize(
    ("step", "alpha", "gap"), [(0, 0, 1.9), (49_999, 0, 1.9), (50_000, 3, 1.9), (84_999, 3, 1.9), (85_000, 3, 0)]
)
def test_schedules_of_the_teapot(step: int, alpha: float, gap: float) -> None:
    model = build(contrastive_weights=(0, 3), contrastive_steps=(50_000,), gaps=(1.9, 0), gap_steps=(85_000,))
    assert float(model.contrastive_weight(tf.constant(step, tf.int64))) == alpha
    assert float(model.gap(tf.constant(step, tf.int64))) == pytest.approx(gap)


def test_a_schedule_of_several_rises() -> None:
    """The reference's way: raise by 0.5 every 10 steps, at most three times."""
    model = build(contrastive_weights=(0, 0.5, 1.0, 1.5), contrastive_steps=(10, 20, 30))
    alphas = [float(model.contrastive_weight(tf.constant(step))) for step in (0, 9, 10, 19, 20, 30, 1000)]
    assert alphas == [0, 0, 0.5, 0.5, 1.0, 1.5, 1.5]
    assert model.snapshots == {"infogan_modified": 10}


def test_snapshots() -> None:
    assert build().snapshots == {"infogan_modified": 288_000}
    assert build(contrastive_weights=(0, 0, 1), contrastive_steps=(5, 8)).snapshots == {"infogan_modified": 8}
    assert build(**ALWAYS).snapshots == build(**NEVER).snapshots == {}


def test_infogan_modified_has_no_h() -> None:
    model = build(**NEVER)
    assert set(model.networks) == {"generator", "front", "discriminator", "recognition"}
    assert set(model.player_variables()) == {"generator", "discriminator"}
    assert build(contrastive_weights=(0, 0), contrastive_steps=(4,)).contrastive is None


def test_published_optimizers() -> None:
    for network, rates in (("dsprites", (1e-3, 2e-3, 2e-3)), ("celeba", (2e-3, 2e-4, 2e-4))):
        optimizers: Any = build(network=network).default_optimizers()
        names = ("generator", "discriminator", "contrastive")
        assert tuple(optimizers[name].learning_rate for name in names) == rates
        assert {(o.beta_1, o.beta_2, o.epsilon) for o in optimizers.values()} == {(0.5, 0.999, 1e-8)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": "mnist"}, "network is 'mnist'; allowed: 'dsprites', 'teapot', 'celeba'"),
        ({"codes": 0}, "codes is 0; allowed: 1 or more"),
        ({"codes": 1}, "codes is 1; allowed: 2 or more"),
        ({"noise_size": 0}, "noise_size is 0; allowed: 1 or more"),
        ({"generator_updates": 0}, "generator_updates is 0; allowed: 1 or more"),
        ({"information_weight": -1.0}, "information_weight is -1.0; allowed: 0 or more"),
        ({"contrastive_weights": (0.0, -2.0)}, "contrastive_weights is -2.0; allowed: 0 or more"),
        ({"contrastive_weights": (2.0,)}, "contrastive_weights has 1 values and contrastive_steps 1 steps"),
        ({"contrastive_steps": (0,)}, "contrastive_steps is .*; allowed: positive steps that rise"),
        ({"gaps": (2.5,)}, "gaps is 2.5; allowed: 0 to 2"),
        ({"gaps": (1.0, 0.5, 0.0), "gap_steps": (9, 9)}, "gap_steps is .*; allowed: positive steps that rise"),
    ],
)
def test_options_out_of_range(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        InfoGANCROptions(**change)


# The published settings: one row per gin file.


PUBLISHED_SETTINGS: dict[str, tuple[Any, ...]] = {
    # network, codes, noise, lambda, alphas, their steps, gaps, their steps, total steps, batch, rates of G, D, H
    "dsprites": ("dsprites", 5, 5, 0.05, (0, 2), (288_000,), (0,), (), 322_560, 64, 1e-3, 2e-3, 2e-3),
    "teapot_uniform_light": (
        "teapot", 5, 5, 0.2, (0, 3), (50_000,), (1.9, 0), (85_000,), 125_000, 64, 1e-3, 2e-3, 2e-3
    ),
    "celeba": ("celeba", 5, 100, 2.0, (0, 1), (80_000,), (0,), (), 90_174, 128, 2e-3, 2e-4, 2e-4),
    "circular_dsprites": ("dsprites", 2, 5, 0.2, (0, 2), (216_000,), (0,), (), 288_000, 30, 1e-3, 2e-3, 2e-3),
}  # fmt: skip
PUBLISHED_SETTINGS |= {
    f"teapot_{variant}": PUBLISHED_SETTINGS["teapot_uniform_light"] for variant in ("up_light", "all_color")
}


@pytest.mark.parametrize("name", PUBLISHED_SETTINGS)
def test_gin_files_hold_the_published_settings(name: str) -> None:
    configuration, _ = load([f"gin/infogan_cr_{name}.gin"])
    experiment, model = configuration.experiment, configuration.experiment.model
    assert isinstance(model, InfoGANCROptions)
    optimizers: dict[str, Any] = dict(experiment.optimizers)
    found = (
        model.network, model.codes, model.noise_size, model.information_weight,
        model.contrastive_weights, model.contrastive_steps, model.gaps, model.gap_steps,
        experiment.total_steps, experiment.global_batch,
        *(optimizers[player].learning_rate for player in ("generator", "discriminator", "contrastive")),
    )  # fmt: skip
    assert found == PUBLISHED_SETTINGS[name]
    assert model.generator_updates == 2
    assert {(o.beta_1, o.beta_2, o.epsilon, o.milestones) for o in optimizers.values()} == {(0.5, 0.999, 1e-8, ())}
    assert experiment.paper_steps == experiment.total_steps
    if name.startswith("teapot"):
        assert configuration.data.options == {"variant": name.removeprefix("teapot_")}


def test_gin_file_of_infogan_modified() -> None:
    configuration, _ = load(["gin/infogan_modified_dsprites.gin"])
    model = configuration.experiment.model
    assert isinstance(model, InfoGANCROptions)
    assert configuration.experiment.total_steps == 288_000
    assert not model.is_contrastive
    assert model.information_weight == 0.05
    assert InfoGANCROptions() == load(["gin/infogan_cr_dsprites.gin"])[0].experiment.model


@pytest.mark.parametrize("name", ["dsprites", "teapot"])
def test_short_gin_files_change_the_schedule_only(name: str) -> None:
    short, _ = load([f"gin/infogan_cr_{name}_short.gin"])
    whole, _ = load([f"gin/infogan_cr_{'dsprites' if name == 'dsprites' else 'teapot_uniform_light'}.gin"])
    model, published_model = short.experiment.model, whole.experiment.model
    assert isinstance(model, InfoGANCROptions)
    assert isinstance(published_model, InfoGANCROptions)
    alike = dataclasses.replace(
        model, contrastive_steps=published_model.contrastive_steps, gap_steps=published_model.gap_steps
    )
    assert alike == published_model
    assert short.experiment.optimizers == whole.experiment.optimizers
    assert max(model.restarts) < short.experiment.total_steps
