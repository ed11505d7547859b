"""VGAN on CIFAR-10 in PyTorch: the contestant that ours is timed beside. Written for this benchmark.

Networks, objective and order of updates are those of the authors' code; see `models/vgan.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from benchmarks.pytorch_common import repeating, seeded, update

Style = Literal["usual", "lean"]

SIDE, Z_DIM, WIDTH, MAX_WIDTH, SIZE, BATCH = 32, 256, 32, 256, 256, 64
RATE = 1e-4
BETA, BETA_STEP, CONSTRAINT, PENALTY_WEIGHT, DECAY = 0.1, 1e-5, 0.1, 10.0, 0.999
# Trainable parameters of the published architecture; one of the generator's is the embedding of the only label.
PARAMETERS = {"generator": 1_700_196, "discriminator": 779_361}


class Block(nn.Module):
    """`shortcut + 0.1 * branch`."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        hidden = min(before, after)
        self.first = nn.Conv2d(before, hidden, 3, padding=1)
        self.second = nn.Conv2d(hidden, after, 3, padding=1)
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The map after the block."""
        branch = self.first(functional.leaky_relu(x, 0.2))
        branch = self.second(functional.leaky_relu(branch, 0.2))
        return self.shortcut(x) + 0.1 * branch


def widths() -> list[int]:
    """Channels of the maps from the image's side down to 4."""
    count = (SIDE // 4).bit_length()
    return [min(MAX_WIDTH, WIDTH * 2**level) for level in range(count)]


class Generator(nn.Module):
    """z and the scaled embedding of the only label to an image in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.label = nn.Parameter(torch.randn(1))
        channels = widths()[::-1]
        self.dense = nn.Linear(Z_DIM + 1, channels[0] * 16)
        layers: list[nn.Module] = [nn.Unflatten(1, (channels[0], 4, 4))]
        for before, after in itertools.pairwise(channels):
            layers += [Block(before, after), nn.Upsample(scale_factor=2)]
        layers += [Block(WIDTH, WIDTH), nn.LeakyReLU(0.2), nn.Conv2d(WIDTH, 3, 3, padding=1), nn.Tanh()]
        self.maps = nn.Sequential(*layers)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """The images."""
        label = (self.label / self.label.norm()).expand(len(z), 1)
        return self.maps(self.dense(torch.cat([z, label.to(z.dtype)], dim=1)))


class Discriminator(nn.Module):
    """An image to its score, and the divergence of the bottleneck."""

    def __init__(self) -> None:
        super().__init__()
        channels = widths()
        layers: list[nn.Module] = [nn.Conv2d(3, WIDTH, 3, padding=1), Block(WIDTH, WIDTH)]
        for before, after in itertools.pairwise(channels):
            layers += [nn.AvgPool2d(3, 2, 1), Block(before, after)]
        self.maps = nn.Sequential(*layers)
        self.mean = nn.Conv2d(channels[-1], SIZE, 1)
        self.log_deviation = nn.Conv2d(channels[-1], SIZE, 1)
        self.score = nn.Linear(16 * SIZE, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores `[batch]` of samples of the bottleneck, and its divergence `[batch]`."""
        maps = self.maps(images)
        mean, log_deviation = self.mean(maps).float(), self.log_deviation(maps).float()
        deviation = log_deviation.exp()
        # Not randn_like, whose order follows the memory's.
        code = mean + deviation * torch.randn(mean.shape)
        terms = 0.5 * (mean.square() + deviation.square() - 1.0) - log_deviation
        return self.score(functional.leaky_relu(code, 0.2).flatten(1))[:, 0].float(), terms.sum(1).mean((1, 2))


class VGAN:
    """The networks, their optimizers, and two ways to write the same training step.

    Args:
        style: `usual` is what one writes with `backward` and zeroed gradients: the generator's loss then also leaves
            gradients in the discriminator that nobody uses, and reals and fakes pass one after the other. `lean` asks
            for the needed gradients only, lets both pass together where nothing speaks against it, keeps channels last,
            and averages weights by one call.
        bfloat16: run the networks under autocast.
        images: uint8 `[n, 3, 32, 32]`; kept in memory, drawn at random.
        penalized: VGAN-GP: with R1.
        seed: of weights and noise.

    Raises:
        ValueError: a network whose parameters are not those of the published architecture.
    """

    def __init__(self, style: Style, bfloat16: bool, images: torch.Tensor, penalized: bool, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.style, self.bfloat16, self.images, self.penalized = style, bfloat16, images, penalized
        self.generator, self.average, self.discriminator = Generator(), Generator(), Discriminator()
        self.average.load_state_dict(self.generator.state_dict())
        self.networks: dict[str, nn.Module] = {"generator": self.generator, "discriminator": self.discriminator}
        for name, network in self.networks.items():
            found = sum(parameter.numel() for parameter in network.parameters())
            if found != PARAMETERS[name]:
                raise ValueError(f"{name} has {found:,} parameters; the published one has {PARAMETERS[name]:,}")
        if style == "lean":
            for network in (self.generator, self.average, self.discriminator):
                network.to(memory_format=torch.channels_last)
        self.optimizers = {
            name: torch.optim.RMSprop(network.parameters(), RATE, alpha=0.99, eps=1e-8)
            for name, network in self.networks.items()
        }
        self.beta = torch.tensor(BETA)

    def step(self) -> tuple[torch.Tensor, torch.Tensor]:
        """One training step; returns the losses of the discriminator and of the generator."""
        reals = self._reals()
        with torch.no_grad(), self._autocast():
            fakes = self.generator(torch.randn(BATCH, Z_DIM)).float()
        discriminator_loss, divergence = self._discriminator_loss(reals, fakes)
        self._update("discriminator", discriminator_loss)
        with torch.no_grad():
            self.beta = torch.clamp(self.beta + BETA_STEP * (divergence - CONSTRAINT), min=0.0)
        with self._autocast():
            score, _ = self.discriminator(self.generator(torch.randn(BATCH, Z_DIM)).float())
        generator_loss = functional.softplus(-score).mean()
        self._update("generator", generator_loss)
        self._average()
        return discriminator_loss.detach(), generator_loss.detach()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.images.device.type, torch.bfloat16, enabled=self.bfloat16)

    def _reals(self) -> torch.Tensor:
        """Reals in [-1, 1], mirrored at random and dequantized."""
        images = self.images[torch.randint(len(self.images), [BATCH])].float() / 127.5 - 1.0
        mirrored = (torch.rand(BATCH) < 0.5).view(-1, 1, 1, 1)
        return torch.where(mirrored, images.flip(3), images) + torch.rand_like(images) / 128.0

    def _discriminator_loss(self, reals: torch.Tensor, fakes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        reals.requires_grad_(self.penalized)
        with self._autocast():
            if self.style == "lean" and not self.penalized:
                scores, divergences = self.discriminator(torch.cat([reals, fakes]))
                (real, fake), (real_kl, fake_kl) = scores.chunk(2), divergences.chunk(2)
            else:
                real, real_kl = self.discriminator(reals)
                fake, fake_kl = self.discriminator(fakes)
        divergence = 0.5 * (real_kl.mean() + fake_kl.mean())
        loss = functional.softplus(-real).mean() + functional.softplus(fake).mean() + self.beta * divergence
        if self.penalized:
            (gradient,) = torch.autograd.grad(real.sum(), reals, create_graph=True)
            loss = loss + PENALTY_WEIGHT * gradient.square().flatten(1).sum(1).mean()
        return loss, divergence.detach()

    def _update(self, name: str, loss: torch.Tensor) -> None:
        update(self.style, self.optimizers[name], list(self.networks[name].parameters()), loss)

    @torch.no_grad()
    def _average(self) -> None:
        average, present = list(self.average.parameters()), list(self.generator.parameters())
        if self.style == "lean":
            torch._foreach_lerp_(average, present, 1.0 - DECAY)
            return
        for old, new in zip(average, present, strict=True):
            old.mul_(DECAY).add_(new, alpha=1.0 - DECAY)


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    """Smooth colors, uint8 `[count, 3, 32, 32]`: as much to compute as photographs."""
    generator = seeded(seed)
    coarse = torch.rand([count, 3, 4, 4], generator=generator)
    smooth = functional.interpolate(coarse, size=[SIDE, SIDE], mode="bilinear", align_corners=False)
    return (smooth * 255.0).to(torch.uint8)


def step_runner(style: Style, bfloat16: bool, threads: int, penalized: bool = False) -> Callable[[int], None]:
    """Builds the model for timing.

    Args:
        style: see `VGAN`.
        bfloat16: run the networks under autocast.
        threads: threads of one operation.
        penalized: VGAN-GP.

    Returns:
        a function that runs so many training steps.
    """
    torch.set_num_threads(threads)
    model = VGAN(style, bfloat16, pictures(4096), penalized)
    return repeating(model.step)
