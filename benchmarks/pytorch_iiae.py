"""IIAE in PyTorch: the contestant that ours is timed beside. Written for this benchmark.

Networks, objective and update are those of the authors' settings for MNIST-CDCB (`spatial`); see `models/iiae.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from benchmarks.pytorch_common import repeating, seeded, update

Style = Literal["usual", "lean"]

BATCH, EXCLUSIVE, SHARED, WIDTH = 8, 8, 128, 32
LAMBDA, BETA, L1_WEIGHT, ANNEALING_STEPS = 1.0, 0.2, 1000.0, 25_000
LARGEST_LOG_VARIANCE = math.log(1e4)
RATE = 2e-4
# Trainable parameters of the published networks.
PARAMETERS = 16_801_830

Gaussian = tuple[torch.Tensor, torch.Tensor]


def _convolutions(width: int, channels: int = 3) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for factor in (1, 2, 4, 8):
        layers += [
            nn.Conv2d(channels, factor * width, 4, 2, 1),
            nn.BatchNorm2d(factor * width),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        channels = factor * width
    return layers


def build_exclusive(side: int, width: int) -> nn.Sequential:
    """q(z_x|x): an image to mean and log variance."""
    features = 8 * width * (side // 16) ** 2
    return nn.Sequential(*_convolutions(width), nn.Flatten(), nn.Linear(features, 2 * EXCLUSIVE))


def build_trunk(width: int) -> nn.Sequential:
    """An image to the features from which the heads of z_s start."""
    return nn.Sequential(*_convolutions(width))


def build_head(width: int, joint: bool = False) -> nn.Conv2d:
    """Features of one domain, or of both, to mean and log variance of z_s."""
    return nn.Conv2d(8 * width * (2 if joint else 1), 2 * SHARED, 4, 2, 1)


def build_decoder(width: int) -> nn.Sequential:
    """A map of [z_s, z_x] to an image in [-1, 1]."""
    layers: list[nn.Module] = []
    channels = SHARED + EXCLUSIVE
    for number, factor in enumerate((16, 8, 4, 2)):
        layers += [nn.ConvTranspose2d(channels, factor * width, 4, 2, 1), nn.BatchNorm2d(factor * width)]
        layers += [nn.Dropout(0.5)] if number < 2 else []
        layers.append(nn.ReLU(inplace=True))
        channels = factor * width
    return nn.Sequential(*layers, nn.ConvTranspose2d(channels, 3, 4, 2, 1), nn.Tanh())


def initialize(module: nn.Module) -> None:
    """N(0, 0.02) for convolutions, N(1, 0.02) for scales, Glorot's uniform for linear layers."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def divergence(q: Gaussian, r: Gaussian) -> torch.Tensor:
    """KL(q || r), summed over all dimensions, averaged over the batch."""
    (mean, log_variance), (other_mean, other_log_variance) = q, r
    distance = ((mean - other_mean) ** 2 + log_variance.exp()) * (-other_log_variance).exp()
    return 0.5 * (other_log_variance - log_variance - 1.0 + distance).flatten(1).sum(1).mean()


def divergence_from_prior(q: Gaussian) -> torch.Tensor:
    """KL(q || N(0, I)), likewise."""
    mean, log_variance = q
    return 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).flatten(1).sum(1).mean()


class IIAE:
    """The networks, their optimizer, and two ways to write the same training step.

    Args:
        style: `usual` is what one writes with `backward` and zeroed gradients. `lean` asks for the gradients alone,
            keeps channels last, and updates weights by PyTorch's fused Adam. Both decode once; the authors' code eight
            times.
        bfloat16: run the networks under autocast.
        pairs: uint8 x and y, `[n, 3, side, side]` each; kept in memory, drawn at random.
        batch: pairs of a step.
        width: filters of the first convolution.
        seed: of weights and noise.

    Raises:
        ValueError: networks whose parameters are not those of the published ones, at their size.
    """

    def __init__(
        self,
        style: Style,
        bfloat16: bool,
        pairs: tuple[torch.Tensor, torch.Tensor],
        batch: int = BATCH,
        width: int = WIDTH,
        seed: int = 0,
    ) -> None:
        torch.manual_seed(seed)
        self.style, self.bfloat16, self.pairs, self.batch = style, bfloat16, pairs, batch
        self.steps = 0
        side = pairs[0].shape[-1]
        self.networks: dict[str, nn.Module] = {"joint": build_head(width, joint=True)}
        for domain in ("x", "y"):
            self.networks[f"exclusive_{domain}"] = build_exclusive(side, width)
            self.networks[f"trunk_{domain}"] = build_trunk(width)
            self.networks[f"shared_{domain}"] = build_head(width)
            self.networks[f"decoder_{domain}"] = build_decoder(width)
        for network in self.networks.values():
            network.apply(initialize)
            network.to(pairs[0].device)
            if style == "lean":
                network.to(memory_format=torch.channels_last)
        self.parameters = [parameter for network in self.networks.values() for parameter in network.parameters()]
        found = sum(parameter.numel() for parameter in self.parameters)
        if (side, width) == (256, WIDTH) and found != PARAMETERS:
            raise ValueError(f"the networks have {found:,} parameters; the published ones have {PARAMETERS:,}")
        fused = True if style == "lean" else None
        self.optimizer = torch.optim.Adam(self.parameters, RATE, (0.5, 0.999), eps=1e-8, fused=fused)

    def step(self) -> torch.Tensor:
        """One training step; returns the loss."""
        self.steps += 1
        rows = torch.randint(len(self.pairs[0]), [self.batch], device=self.pairs[0].device)
        x, y = (images[rows].float() / 127.5 - 1.0 for images in self.pairs)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16):
            loss = self.loss(x, y, 1.0 - math.exp(-self.steps / ANNEALING_STEPS))
        update(self.style, self.optimizer, self.parameters, loss)
        return loss.detach()

    def infer(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, Gaussian]:
        """All posteriors of inputs in [-1, 1]."""
        images = {"x": x, "y": y}
        features = {domain: self.networks[f"trunk_{domain}"](images[domain]) for domain in images}
        outputs = {"shared": self.networks["joint"](torch.cat([features["x"], features["y"]], 1))}
        for domain in images:
            outputs[f"exclusive_{domain}"] = self.networks[f"exclusive_{domain}"](images[domain])
            outputs[f"shared_{domain}"] = self.networks[f"shared_{domain}"](features[domain])
        found = {}
        for name, values in outputs.items():
            mean, log_variance = values.float().chunk(2, dim=1)
            found[name] = mean, log_variance.clamp(max=LARGEST_LOG_VARIANCE)
        return found

    def decode(self, shared: torch.Tensor, exclusive: torch.Tensor, domain: str) -> torch.Tensor:
        """An image in [-1, 1]."""
        tiled = exclusive[:, :, None, None].expand(-1, -1, *shared.shape[2:])
        decoded: torch.Tensor = self.networks[f"decoder_{domain}"](torch.cat([shared, tiled], 1))
        return decoded.float()

    def loss(self, x: torch.Tensor, y: torch.Tensor, annealing: float) -> torch.Tensor:
        """The objective of a batch in [-1, 1]."""
        found = self.infer(x, y)
        drawn = {
            name: mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            for name, (mean, log_variance) in found.items()
            if name in ("shared", "exclusive_x", "exclusive_y")
        }
        total = annealing * BETA * divergence_from_prior(found["shared"])
        for domain, images in (("x", x), ("y", y)):
            again = self.decode(drawn["shared"], drawn[f"exclusive_{domain}"], domain)
            total = total + (LAMBDA + BETA) * L1_WEIGHT * (again - images).abs().mean()
            total = total + annealing * (LAMBDA + BETA) * divergence_from_prior(found[f"exclusive_{domain}"])
            total = total + LAMBDA * divergence(found["shared"], found[f"shared_{domain}"])
        return total


def step_runner(
    style: Style, bfloat16: bool, threads: int, side: int = 256, width: int = WIDTH, batch: int = BATCH
) -> Callable[[int], None]:
    """Builds the model for timing.

    Args:
        style: see `IIAE`.
        bfloat16: run the networks under autocast.
        threads: threads of one operation.
        side: height and width of the images.
        width: filters of the first convolution.
        batch: pairs per step.

    Returns:
        a function that runs so many training steps.
    """
    torch.set_num_threads(threads)
    generator = seeded(0)
    x, y = (torch.randint(0, 256, [64, 3, side, side], dtype=torch.uint8, generator=generator) for _ in range(2))
    model = IIAE(style, bfloat16, (x, y), batch, width)
    return repeating(model.step)
