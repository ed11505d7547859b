"""IB-GAN on dSprites in PyTorch: the contestant that ours is timed beside. Written for this benchmark.

Networks, objective and order of updates are those of the authors' code with separate towers; see `models/ibgan.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from benchmarks.pytorch_common import blobs, repeating

Style = Literal["usual", "lean"]

Z_DIM, R_DIM, WIDTH, CHANNELS, BATCH = 16, 10, 16, 1, 64
BETA, NOISE_STEPS = 0.141, 100_000
GENERATOR_RATE, DISCRIMINATOR_RATE = 5e-5, 1e-6
# Trainable parameters of the published architecture; a batch normalization has two for each channel.
PARAMETERS = {
    "encoder": 2_260,
    "generator_dense": 1_064_192,
    "generator_deconvolutions": 115_297,
    "reconstructor": 2_283_488,
    "discriminator": 2_213_329,
}


def build_encoder() -> nn.Sequential:
    """e(r|z): the noise to mean and log variance of the bottleneck."""
    return nn.Sequential(nn.Linear(Z_DIM, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2 * R_DIM))


def build_dense() -> nn.Sequential:
    """The generator's first half: the bottleneck to an 8 x 8 map."""
    units = 8 * 8 * 4 * WIDTH
    return nn.Sequential(
        nn.Linear(R_DIM, 16 * WIDTH), nn.BatchNorm1d(16 * WIDTH), nn.ReLU(),
        nn.Linear(16 * WIDTH, units), nn.BatchNorm1d(units), nn.ReLU(),
        nn.Unflatten(1, (4 * WIDTH, 8, 8)),
    )  # fmt: skip


def build_deconvolutions() -> nn.Sequential:
    """The generator's second half: the 8 x 8 map to an image in [-1, 1]."""
    layers: list[nn.Module] = []
    channels = 4 * WIDTH
    for filters, kernel, stride in ((4 * WIDTH, 3, 1), (4 * WIDTH, 3, 1), (2 * WIDTH, 4, 2), (WIDTH, 4, 2)):
        layers += [nn.ConvTranspose2d(channels, filters, kernel, stride, 1, bias=False), nn.BatchNorm2d(filters)]
        layers += [nn.ReLU()]
        channels = filters
    return nn.Sequential(*layers, nn.ConvTranspose2d(channels, CHANNELS, 4, 2, 1), nn.Tanh())


def build_tower(outputs: int, hidden_layer: bool) -> nn.Sequential:
    """The discriminator, or the reconstructor, which has one hidden layer more: an image to `outputs` numbers."""
    layers: list[nn.Module] = [nn.Conv2d(CHANNELS, WIDTH, 4, 2, 1), nn.LeakyReLU(0.2)]
    channels = WIDTH
    plan = [(2, 4, 2, 1), (4, 4, 2, 1), (8, 3, 1, 1), (16, 8, 1, 0)]
    if hidden_layer:
        plan.append((16, 1, 1, 0))
    for factor, kernel, stride, padding in plan:
        filters = factor * WIDTH
        bias = kernel == 1
        layers += [nn.Conv2d(channels, filters, kernel, stride, padding, bias=bias), nn.BatchNorm2d(filters)]
        layers += [nn.LeakyReLU(0.2)]
        channels = filters
    return nn.Sequential(*layers, nn.Conv2d(channels, outputs, 1), nn.Flatten())


def initialize(module: nn.Module) -> None:
    """Weights from N(0, 0.02), biases 0."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class IBGAN:
    """The networks, their optimizers, and two ways to write the same training step.

    The published step updates D and then back-propagates G's losses through the pass that D's update has made stale,
    which PyTorch refuses. Both ways therefore take all gradients first and then make both updates: the same numbers.

    Args:
        style: `usual` is what one writes with `backward` and zeroed gradients: G's losses then also leave gradients
            in D that nobody uses. `lean` asks for the needed gradients only, skips the graph of the pass that only
            feeds q's batch statistics, and keeps channels last, which PyTorch's convolutions like best.
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
        self.step_count = 0
        self.networks = {
            "encoder": build_encoder(),
            "generator_dense": build_dense(),
            "generator_deconvolutions": build_deconvolutions(),
            "reconstructor": build_tower(Z_DIM, hidden_layer=True),
            "discriminator": build_tower(1, hidden_layer=False),
        }
        for name, network in self.networks.items():
            network.apply(initialize)
            if style == "lean":
                network.to(memory_format=torch.channels_last)
            found = sum(parameter.numel() for parameter in network.parameters())
            if found != PARAMETERS[name]:
                raise ValueError(f"{name} has {found:,} parameters; the published one has {PARAMETERS[name]:,}")
        self.d_parameters = list(self.networks["discriminator"].parameters())
        self.g_parameters = [
            parameter
            for name, network in self.networks.items()
            if name != "discriminator"
            for parameter in network.parameters()
        ]
        self.d_optimizer = torch.optim.RMSprop(self.d_parameters, DISCRIMINATOR_RATE, momentum=0.9)
        self.g_optimizer = torch.optim.RMSprop(self.g_parameters, GENERATOR_RATE, momentum=0.9)

    def step(self) -> tuple[torch.Tensor, torch.Tensor]:
        """One training step; returns the losses of D and of e, G and q."""
        drawn = torch.randint(len(self.images), [BATCH])
        reals = self.images[drawn].float() / 127.5 - 1.0
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            d_loss, g_loss = self._losses(reals)
        if self.style == "lean":
            d_gradients = torch.autograd.grad(d_loss, self.d_parameters, retain_graph=True)
            g_gradients = torch.autograd.grad(g_loss, self.g_parameters)
            for parameter, gradient in zip(self.d_parameters, d_gradients, strict=True):
                parameter.grad = gradient
            for parameter, gradient in zip(self.g_parameters, g_gradients, strict=True):
                parameter.grad = gradient
        else:
            self.g_optimizer.zero_grad()
            g_loss.backward(retain_graph=True)
            self.d_optimizer.zero_grad()
            d_loss.backward(inputs=self.d_parameters)
        self.d_optimizer.step()
        self.g_optimizer.step()
        self.step_count += 1
        return d_loss.detach(), g_loss.detach()

    def _losses(self, reals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        nets = self.networks
        z = torch.randn(BATCH, Z_DIM)
        mean, log_variance = nets["encoder"](z).float().chunk(2, dim=1)
        codes = mean + torch.exp(0.5 * log_variance) * torch.randn(BATCH, R_DIM)
        fakes = nets["generator_deconvolutions"](nets["generator_dense"](codes)).float()
        sigma = max(0.0, 1.0 - self.step_count / NOISE_STEPS)
        noisy_fakes, noisy_reals = corrupt(fakes, sigma), corrupt(reals, sigma)
        fake_logits, reconstruction = nets["discriminator"](noisy_fakes).float(), nets["reconstructor"](noisy_fakes)
        real_logits = nets["discriminator"](noisy_reals).float()
        # Only for its batch statistics, which are those of fakes and reals in turn.
        with torch.set_grad_enabled(self.style != "lean"):
            nets["reconstructor"](noisy_reals)
        ones, zeros = torch.ones_like(real_logits), torch.zeros_like(fake_logits)
        cross_entropy = functional.binary_cross_entropy_with_logits
        d_loss = cross_entropy(real_logits, ones) + cross_entropy(fake_logits, zeros)
        lower_bound = 0.5 * (z**2 - (z - reconstruction.float()) ** 2).sum(1).mean()
        upper_bound = -0.5 * (1.0 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
        return d_loss, cross_entropy(fake_logits, ones) - lower_bound + BETA * upper_bound


def corrupt(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Adds instance noise of deviation `sigma` and clips to [-1, 1]; 0 leaves the images as they are."""
    return (images + sigma * torch.randn_like(images)).clamp(-1.0, 1.0) if sigma > 0 else images


def step_runner(style: Style, bfloat16: bool, threads: int) -> Callable[[int], None]:
    """Builds the model for timing.

    Args:
        style: see `IBGAN`.
        bfloat16: run the networks under autocast.
        threads: threads of one operation.

    Returns:
        a function that runs so many training steps.
    """
    torch.set_num_threads(threads)
    model = IBGAN(style, bfloat16, blobs(4096))
    return repeating(model.step)
