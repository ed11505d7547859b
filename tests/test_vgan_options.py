"""VGAN's options: all documented, the published ones in the gin files, bad ones refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import tiny_runs

from common.errors import UserError
from models.vgan import VGANOptions
from training.configuration import load
from training.experiment import build


def test_every_option_is_documented() -> None:
    page = (tiny_runs.ROOT / "docs" / "vgan.md").read_text(encoding="utf-8")
    missing = [field.name for field in dataclasses.fields(VGANOptions) if f"`vgan.{field.name}`" not in page]
    assert missing == []


FIGURE = {
    "vgan_cifar10_gan.gin": ("none", "standard", "none", 63.6),
    "vgan_cifar10_instance_noise.gin": ("instance_noise", "standard", "none", 30.7),
    "vgan_cifar10.gin": ("spatial", "standard", "none", 24.8),
    "vgan_cifar10_gp.gin": ("none", "standard", "real", 22.6),
    "vgan_cifar10_wgan_gp.gin": ("none", "wasserstein", "wasserstein", 19.9),
    "vgan_cifar10_vgan_gp.gin": ("spatial", "standard", "real", 18.1),
}


@pytest.mark.parametrize("name", FIGURE)
def test_rows_of_the_figure(name: str) -> None:
    experiment = load([f"gin/{name}"])[0].experiment
    options = experiment.model
    assert isinstance(options, VGANOptions)
    found = (options.bottleneck, options.adversarial_loss, options.gradient_penalty)
    assert (*found, experiment.paper_scores["fid_vgan_compat"][0]) == FIGURE[name]
    assert (options.z_dim, options.width, options.max_width, experiment.global_batch) == (256, 32, 256, 64)
    assert (options.flip, options.dequantization, options.average_decay) == (True, 1 / 128, 0.999)


SETTINGS = {
    "vgan_celeba_community.gin": ("community", 64, 1024, 512, 512, 0.2, 32, False),
    "vgan_celeba_official.gin": ("official", 64, 1024, 256, 1024, 0.2, 32, True),
    "vgan_celeba_hq.gin": ("official", 16, 512, 256, 512, 0.1, 8, False),
    "vgan_lsun_bedroom.gin": ("official", 64, 1024, 256, 1024, 0.1, 32, True),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_published_settings(name: str) -> None:
    experiment = load([f"gin/{name}"])[0].experiment
    options = experiment.model
    assert isinstance(options, VGANOptions)
    sizes = (options.width, options.max_width, options.z_dim, options.bottleneck_size)
    rest = (options.information_constraint, experiment.global_batch, options.flip)
    assert (options.variant, *sizes, *rest) == SETTINGS[name]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("variant", "seed", "variant is 'seed'; allowed: 'official', 'community', 'paper'"),
        ("beta", -1.0, "beta is -1.0; allowed: 0 or more"),
        ("average_decay", 1.5, "average_decay is 1.5; allowed: 0 to 1"),
        ("bottleneck", "thin", "bottleneck is 'thin'"),
        ("bottleneck_size", 0, "bottleneck_size is 0; allowed: 1 or more"),
        ("discriminator_updates", 0, "discriminator_updates is 0; allowed: 1 or more"),
    ],
)
def test_bad_options(option: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VGANOptions(**{option: value})


@pytest.mark.parametrize(
    ("file", "binding", "multiple"),
    [
        ("vgan_small", "vgan.discriminator_updates = 3", 3),
        ("factor_vae_dsprites_kim_mnih", "factor_vae.gamma = 35.0", 2),
    ],
)
def test_batches_that_a_step_cannot_cut(file: str, binding: str, multiple: int) -> None:
    bindings = [binding, "data.source = 'synthetic'", "experiment.global_batch = 7"]
    with pytest.raises(UserError, match=f"global_batch is 7, but .* {multiple} equal .* a multiple of {multiple}"):
        build(load([f"gin/{file}.gin"], bindings)[0])
