"""FactorVAE on dSprites in PyTorch: the contestant that ours is timed beside. Written for this benchmark.

Networks, objective and order of updates are those of InfoGAN-CR's baseline; see `models/factor_vae.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from benchmarks.pytorch_common import blobs, repeating, update
from benchmarks.pytorch_ibgan import initialize

Style = Literal["usual", "lean"]

LATENT_SIZE, GAMMA, BATCH, UNITS, HIDDEN_LAYERS = 10, 40.0, 64, 1000, 5
RATE = 1e-4
LOG_EPSILON = 1e-8
# Trainable parameters of the published architecture.
PARAMETERS = {"encoder": 249_172, "decoder": 248_833, "discriminator": 4_017_002}


def build_encoder() -> nn.Sequential:
    """q(z|x): an image to the mean and the log variance of z."""
    layers: list[nn.Module] = []
    channels = 1
    for filters in (32, 32, 64, 64):
        layers += [nn.Conv2d(channels, filters, 4, 2, 1), nn.ReLU()]
        channels = filters
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 128), nn.Linear(128, 2 * LATENT_SIZE))


def build_decoder() -> nn.Sequential:
    """p(x|z): z to the logits of an image."""
    layers: list[nn.Module] = [nn.Linear(LATENT_SIZE, 128), nn.ReLU(), nn.Linear(128, 1024), nn.ReLU()]
    layers.append(nn.Unflatten(1, (64, 4, 4)))
    channels = 64
    for filters in (64, 32, 32):
        layers += [nn.ConvTranspose2d(channels, filters, 4, 2, 1), nn.ReLU()]
        channels = filters
    return nn.Sequential(*layers, nn.ConvTranspose2d(channels, 1, 4, 2, 1))


def build_discriminator() -> nn.Sequential:
    """z to the logits of being drawn jointly, and of being permuted."""
    layers: list[nn.Module] = []
    size = LATENT_SIZE
    for _ in range(HIDDEN_LAYERS):
        layers += [nn.Linear(size, UNITS), nn.LeakyReLU(0.2)]
        size = UNITS
    return nn.Sequential(*layers, nn.Linear(size, 2))


def permute_columns(z: torch.Tensor) -> torch.Tensor:
    """Every column of `[batch, size]` permuted on its own."""
    return torch.stack([column[torch.randperm(len(column))] for column in z.unbind(1)], dim=1)


class FactorVAE:
    """The networks, their optimizers, and two ways to write the same training step.

    Args:
        style: `usual` is what one writes with `backward` and zeroed gradients: the VAE's loss then also leaves
            gradients in the discriminator that nobody uses, and joint and permuted z pass one after the other. `lean`
            asks for the needed gradients only, lets both pass together, keeps channels last, and updates weights by
            PyTorch's fused Adam.
        bfloat16: run the networks under autocast.
        images: uint8 `[n, 1, 64, 64]`, 0 or 255; kept in memory, drawn at random.
        seed: of weights and noise.

    Raises:
        ValueError: a network whose parameters are not those of the published architecture.
    """

    def __init__(self, style: Style, bfloat16: bool, images: torch.Tensor, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.style = style
        self.bfloat16 = bfloat16
        self.images = images
        self.networks = {
            "encoder": build_encoder(),
            "decoder": build_decoder(),
            "discriminator": build_discriminator(),
        }
        for name, network in self.networks.items():
            network.apply(initialize)
            if style == "lean":
                network.to(memory_format=torch.channels_last)
            found = sum(parameter.numel() for parameter in network.parameters())
            if found != PARAMETERS[name]:
                raise ValueError(f"{name} has {found:,} parameters; the published one has {PARAMETERS[name]:,}")
        self.vae_parameters = [
            parameter for name in ("encoder", "decoder") for parameter in self.networks[name].parameters()
        ]
        self.d_parameters = list(self.networks["discriminator"].parameters())
        fused = True if style == "lean" else None
        self.vae_optimizer = torch.optim.Adam(self.vae_parameters, RATE, (0.9, 0.999), fused=fused)
        self.d_optimizer = torch.optim.Adam(self.d_parameters, RATE, (0.5, 0.9), fused=fused)

    def step(self) -> tuple[torch.Tensor, torch.Tensor]:
        """One training step; returns the losses of the VAE and of the discriminator."""
        images = self.images[torch.randint(len(self.images), [BATCH])].float() / 255.0
        with self._autocast():
            vae_loss = self._vae_loss(images)
        update(self.style, self.vae_optimizer, self.vae_parameters, vae_loss)
        with self._autocast():
            d_loss = self._discriminator_loss(images)
        update(self.style, self.d_optimizer, self.d_parameters, d_loss)
        return vae_loss.detach(), d_loss.detach()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.images.device.type, torch.bfloat16, enabled=self.bfloat16)

    def _draw(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mean, log_variance = self.networks["encoder"](images).float().chunk(2, dim=1)
        return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean), mean, log_variance

    def _vae_loss(self, images: torch.Tensor) -> torch.Tensor:
        z, mean, log_variance = self._draw(images)
        logits = self.networks["decoder"](z).float()
        reconstruction = functional.binary_cross_entropy_with_logits(logits, images, reduction="sum") / BATCH
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).sum(1).mean()
        joint = self.networks["discriminator"](z).float()
        return reconstruction + divergence + GAMMA * (joint[:, 0] - joint[:, 1]).mean()

    def _discriminator_loss(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            z, _, _ = self._draw(images)
            permuted = permute_columns(z)
        network = self.networks["discriminator"]
        if self.style == "lean":
            joint_logits, permuted_logits = network(torch.cat([z, permuted])).float().chunk(2)
        else:
            joint_logits, permuted_logits = network(z).float(), network(permuted).float()
        joint, product = joint_logits.softmax(1)[:, 0], permuted_logits.softmax(1)[:, 1]
        return -0.5 * (torch.log(joint + LOG_EPSILON).mean() + torch.log(product + LOG_EPSILON).mean())


def step_runner(style: Style, bfloat16: bool, threads: int) -> Callable[[int], None]:
    """Builds the model for timing.

    Args:
        style: see `FactorVAE`.
        bfloat16: run the networks under autocast.
        threads: threads of one operation.

    Returns:
        a function that runs so many training steps.
    """
    torch.set_num_threads(threads)
    model = FactorVAE(style, bfloat16, blobs(4096))
    return repeating(model.step)
