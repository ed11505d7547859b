"""InfoGAN on MNIST in PyTorch: the contestant that ours is timed beside. Written for this benchmark.

Layers, objective and order of updates are those of `models/infogan.py` with its default options.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from benchmarks.pytorch_common import rectangles, repeating, update

Style = Literal["usual", "lean"]

NOISE, CATEGORIES, CONTINUOUS, BATCH = 62, 10, 2, 128
LAMBDA_CATEGORICAL, LAMBDA_CONTINUOUS, LEAST_LOG_VARIANCE = 1.0, 0.1, -6.0
GENERATOR_RATE, DISCRIMINATOR_RATE = 1e-3, 2e-4
# Trainable parameters; a batch normalization has two for each channel.
PARAMETERS = {
    "generator": 6_645_185,
    "trunk": 6_558_144,
    "discriminator": 1_025,
    "recognition": 131_456,
    "categorical": 1_290,
    "mean": 258,
    "log_variance": 258,
}


def build_networks() -> dict[str, nn.Module]:
    """All networks by name."""
    features, hidden = 1024, 128
    return {
        "generator": nn.Sequential(
            nn.Linear(NOISE + CATEGORIES + CONTINUOUS, 1024, bias=False), nn.BatchNorm1d(1024), nn.ReLU(),
            nn.Linear(1024, 7 * 7 * 128, bias=False), nn.BatchNorm1d(7 * 7 * 128), nn.ReLU(),
            nn.Unflatten(1, (128, 7, 7)),
            nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Sigmoid(),
        ),
        "trunk": nn.Sequential(
            nn.Conv2d(1, 64, 4, 2, 1), nn.LeakyReLU(0.1),
            nn.Conv2d(64, 128, 4, 2, 1), nn.BatchNorm2d(128), nn.LeakyReLU(0.1),
            nn.Flatten(), nn.Linear(7 * 7 * 128, features), nn.BatchNorm1d(features), nn.LeakyReLU(0.1),
        ),
        "discriminator": nn.Linear(features, 1),
        "recognition": nn.Sequential(nn.Linear(features, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(0.1)),
        "categorical": nn.Linear(hidden, CATEGORIES),
        "mean": nn.Linear(hidden, CONTINUOUS),
        "log_variance": nn.Linear(hidden, CONTINUOUS),
    }  # fmt: skip


def initialize(module: nn.Module) -> None:
    """Convolutions from N(0, 0.02), batch normalization's scales from N(1, 0.02), the rest as PyTorch has it."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class InfoGAN:
    """The networks, their optimizers, and two ways to write the same training step.

    Args:
        style: `usual` is what one writes with `backward` and zeroed gradients: G's losses then also leave gradients in
            D that nobody uses. `lean` asks for the needed gradients only, leaves Q out where only its batch statistics
            would move, takes Adam's fused form, and keeps channels last, which PyTorch's convolutions like best.
        bfloat16: run the networks under autocast.
        images: uint8 `[n, 1, 28, 28]`; kept in memory, drawn at random.
        seed: of weights and noise.

    Raises:
        ValueError: a network whose parameters are not those of the experiment.
    """

    def __init__(self, style: Style, bfloat16: bool, images: torch.Tensor, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.style = style
        self.bfloat16 = bfloat16
        self.images = images
        self.networks = build_networks()
        for name, network in self.networks.items():
            network.apply(initialize)
            if style == "lean":
                network.to(memory_format=torch.channels_last)
            found = sum(parameter.numel() for parameter in network.parameters())
            if found != PARAMETERS[name]:
                raise ValueError(f"{name} has {found:,} parameters; the experiment has {PARAMETERS[name]:,}")
        judges = ("trunk", "discriminator")
        self.d_parameters = [p for name in judges for p in self.networks[name].parameters()]
        self.g_parameters = [p for name, net in self.networks.items() if name not in judges for p in net.parameters()]
        fused = True if style == "lean" else None
        betas = (0.5, 0.999)
        self.d_optimizer = torch.optim.Adam(self.d_parameters, DISCRIMINATOR_RATE, betas, fused=fused)
        self.g_optimizer = torch.optim.Adam(self.g_parameters, GENERATOR_RATE, betas, fused=fused)

    def step(self) -> tuple[torch.Tensor, torch.Tensor]:
        """One training step; returns the losses of D, and of G and Q."""
        reals = self.images[torch.randint(len(self.images), [BATCH])].float() / 255.0
        categories = torch.randint(CATEGORIES, [BATCH])
        codes = torch.rand(BATCH, CONTINUOUS) * 2.0 - 1.0
        latents = torch.cat([torch.randn(BATCH, NOISE), functional.one_hot(categories, CATEGORIES), codes], dim=1)
        with torch.autocast(self.images.device.type, torch.bfloat16, enabled=self.bfloat16):
            fakes = self.networks["generator"](latents).float()
            real_logits, fake_logits = self._judge(reals)[0], self._judge(fakes.detach())[0]
        cross_entropy = functional.binary_cross_entropy_with_logits
        ones, zeros = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)
        d_loss = cross_entropy(real_logits, ones) + cross_entropy(fake_logits, zeros)
        update(self.style, self.d_optimizer, self.d_parameters, d_loss)
        with torch.autocast(self.images.device.type, torch.bfloat16, enabled=self.bfloat16):
            fake_logits, logits, mean, log_variance = self._judge(fakes, recognize=True)
        log_variance = log_variance.clamp(min=LEAST_LOG_VARIANCE)
        variance = log_variance.exp()
        distance = (codes - mean) ** 2 / (2.0 * variance + 1e-6) + 0.5 * torch.log(2.0 * math.pi * variance + 1e-6)
        g_loss = (
            cross_entropy(fake_logits, ones)
            + LAMBDA_CATEGORICAL * functional.cross_entropy(logits, categories)
            + LAMBDA_CONTINUOUS * distance.sum(1).mean()
        )
        update(self.style, self.g_optimizer, self.g_parameters, g_loss)
        return d_loss.detach(), g_loss.detach()

    def _judge(self, images: torch.Tensor, recognize: bool = False) -> tuple[torch.Tensor, ...]:
        """The logit of D and, with `recognize`, the three outputs of Q; in the usual style Q runs with D always."""
        nets = self.networks
        features = nets["trunk"](images)
        hidden = nets["recognition"](features) if recognize or self.style == "usual" else None
        heads = ("categorical", "mean", "log_variance") if recognize or self.style == "usual" else ()
        return nets["discriminator"](features).float(), *(nets[name](hidden).float() for name in heads)


def strokes(count: int, seed: int = 0) -> torch.Tensor:
    """Rectangles of the sizes of digits' strokes, uint8 `[count, 1, 28, 28]`."""
    return rectangles(count, 28, (4, 14), (2, 12), 230, seed)


def step_runner(style: Style, bfloat16: bool, threads: int) -> Callable[[int], None]:
    """Builds the model for timing.

    Args:
        style: see `InfoGAN`.
        bfloat16: run the networks under autocast.
        threads: threads of one operation.

    Returns:
        a function that runs so many training steps.
    """
    torch.set_num_threads(threads)
    model = InfoGAN(style, bfloat16, strokes(4096))
    return repeating(model.step)
