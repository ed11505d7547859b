"""InfoGAN-CR on dSprites in PyTorch: the contestant that ours is timed beside. Written for this benchmark.

Networks, objective and order of updates are those of the authors' code; see `models/infogan_cr.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from benchmarks.pytorch_common import blobs, repeating, update

Style = Literal["usual", "lean"]

CODES, NOISE, CHANNELS, BATCH = 5, 5, 1, 64
INFORMATION_WEIGHT, CONTRASTIVE_WEIGHT, GENERATOR_UPDATES = 0.05, 2.0, 2
GENERATOR_RATE, JUDGES_RATE = 1e-3, 2e-3
GUARD, TINY = 1e-8, 1e-12
# Trainable parameters of the published architecture.
PARAMETERS = {
    "generator": 251_393,
    "front": 246_592,
    "discriminator": 129,
    "recognition": 17_157,
    "contrastive": 247_749,
}


def unit(vector: torch.Tensor) -> torch.Tensor:
    """The vector divided by its length."""
    return vector / (vector.norm() + TINY)


class Spectral(nn.Module):
    """A layer whose weight is divided by an estimate of its largest singular value, differentiated all the way.

    PyTorch's own `spectral_norm` stops the gradient in the power iteration and keeps its vector in every pass.

    Args:
        layer: a linear layer or a convolution.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("u", torch.randn(len(layer.weight)).clamp(-2.0, 2.0))

    def estimate(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The estimate, and the vector of one power iteration."""
        matrix = self.layer.weight.flatten(1)
        product = matrix @ unit(self.u @ matrix)
        vector = unit(product)
        return product @ vector, vector

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        weight = self.layer.weight / self.estimate()[0]
        if isinstance(self.layer, nn.Linear):
            return functional.linear(inputs, weight, self.layer.bias)
        return functional.conv2d(inputs, weight, self.layer.bias, self.layer.stride, self.layer.padding)

    @torch.no_grad()
    def update(self) -> None:
        """Keeps the vector."""
        self.u.copy_(self.estimate()[1])


def build_generator() -> nn.Sequential:
    """Latents to an image in [0, 1]; activations come before batch normalization."""
    layers: list[nn.Module] = []
    width = CODES + NOISE
    for units in (128, 1024):
        layers += [nn.Linear(width, units), nn.ReLU(), nn.BatchNorm1d(units)]
        width = units
    layers.append(nn.Unflatten(1, (64, 4, 4)))
    channels = 64
    for filters in (64, 32, 32):
        layers += [nn.ConvTranspose2d(channels, filters, 4, 2, 1), nn.LeakyReLU(0.2), nn.BatchNorm2d(filters)]
        channels = filters
    return nn.Sequential(*layers, nn.ConvTranspose2d(channels, CHANNELS, 4, 2, 1), nn.Sigmoid())


def build_front(channels: int) -> nn.Sequential:
    """An image to 128 features."""
    layers: list[nn.Module] = []
    for filters in (32, 32, 64, 64):
        layers += [Spectral(nn.Conv2d(channels, filters, 4, 2, 1)), nn.LeakyReLU(0.2)]
        channels = filters
    return nn.Sequential(*layers, nn.Flatten(), Spectral(nn.Linear(1024, 128)), nn.LeakyReLU(0.2))


def initialize(module: nn.Module) -> None:
    """Weights from N(0, 0.02), those of convolutions cut off at two deviations; biases 0."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        if isinstance(module, nn.Conv2d):
            nn.init.trunc_normal_(module.weight, 0.0, 0.02, -0.04, 0.04)
        else:
            nn.init.normal_(module.weight, 0.0, 0.02)
        nn.init.zeros_(module.bias)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Within this context batch normalization uses the moving statistics."""
    network.eval()
    try:
        yield
    finally:
        network.train()


class InfoGANCR:
    """The networks, their optimizers, and two ways to write the same training step.

    Args:
        style: `usual` is what one writes with `backward` and zeroed gradients: every update makes its own fakes, and
            G's losses also leave gradients in the judges that nobody uses. `lean` asks for the needed gradients only,
            judges real and fake images as one batch, and keeps channels last.
        bfloat16: run the networks under autocast.
        images: uint8 `[n, 1, 64, 64]`, 0 or 255; kept in memory, drawn at random.
        contrastive: whether G sees the contrastive loss yet: the state after the switch.
        seed: of weights and noise.

    Raises:
        ValueError: a network whose parameters are not those of the published architecture.
    """

    def __init__(self, style: Style, bfloat16: bool, images: torch.Tensor, contrastive: bool, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.style, self.bfloat16, self.images, self.is_contrastive = style, bfloat16, images, contrastive
        self.networks = {
            "generator": build_generator(),
            "front": build_front(CHANNELS),
            "discriminator": nn.Sequential(Spectral(nn.Linear(128, 1))),
            "recognition": nn.Sequential(
                Spectral(nn.Linear(128, 128)), nn.LeakyReLU(0.2), Spectral(nn.Linear(128, CODES))
            ),
            "contrastive": nn.Sequential(build_front(2 * CHANNELS), nn.Linear(128, CODES)),
        }
        for name, network in self.networks.items():
            network.apply(initialize)
            if style == "lean":
                network.to(memory_format=torch.channels_last)
            found = sum(parameter.numel() for parameter in network.parameters())
            if found != PARAMETERS[name]:
                raise ValueError(f"{name} has {found:,} parameters; the published one has {PARAMETERS[name]:,}")
        rates = {"generator": GENERATOR_RATE, "judges": JUDGES_RATE, "contrastive": JUDGES_RATE}
        members = {
            "generator": ("generator",),
            "judges": ("front", "discriminator", "recognition"),
            "contrastive": ("contrastive",),
        }
        self.parameters = {
            player: [parameter for name in names for parameter in self.networks[name].parameters()]
            for player, names in members.items()
        }
        self.optimizers = {
            player: torch.optim.Adam(self.parameters[player], rates[player], betas=(0.5, 0.999), eps=1e-8)
            for player in members
        }
        self.spectral = [m for network in self.networks.values() for m in network.modules() if isinstance(m, Spectral)]

    def step(self) -> dict[str, torch.Tensor]:
        """One training step; returns the losses of H, of the judges, and of the last update of G."""
        reals = self.images[torch.randint(len(self.images), [BATCH])].float() / 255.0
        latents = torch.rand(BATCH, CODES + NOISE) * 2.0 - 1.0
        pairs = draw_pairs()
        losses = {"contrastive": self._update("contrastive", lambda: self._contrastive_loss(pairs, learns=False))}
        losses["judges"] = self._update("judges", lambda: self._judges_loss(reals, latents))
        for _ in range(GENERATOR_UPDATES):
            losses["generator"] = self._update("generator", lambda: self._generator_loss(latents, pairs))
        for layer in self.spectral:
            layer.update()
        return losses

    def _update(self, player: str, loss_of: Callable[[], torch.Tensor]) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            loss = loss_of()
        update(self.style, self.optimizers[player], self.parameters[player], loss)
        return loss.detach()

    def _contrastive_loss(self, pairs: tuple[torch.Tensor, ...], learns: bool) -> torch.Tensor:
        """L_CR; `learns`: whether the generator does."""
        first, second, fixed = pairs
        generator = self.networks["generator"]
        with torch.set_grad_enabled(learns):
            if self.is_contrastive:
                images = torch.cat([generator(first), generator(second)], dim=1)
            else:
                with evaluating(generator):
                    images = torch.cat(generator(torch.cat([first, second])).chunk(2), dim=1)
        return functional.cross_entropy(self.networks["contrastive"](images.float()).float(), fixed)

    def _judge(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.networks["front"](images)
        return self.networks["discriminator"](features).float(), self.networks["recognition"](features).float()

    def _judges_loss(self, reals: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            fakes = self.networks["generator"](latents).float()
        if self.style == "lean":
            logits, means = self._judge(torch.cat([reals, fakes]))
            real_logits, fake_logits = logits.chunk(2)
            means = means[BATCH:]
        else:
            real_logits, _ = self._judge(reals)
            fake_logits, means = self._judge(fakes)
        adversarial = log_loss(real_logits) + log_loss(-fake_logits)
        return adversarial + INFORMATION_WEIGHT * information_loss(latents, means)

    def _generator_loss(self, latents: torch.Tensor, pairs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        logits, means = self._judge(self.networks["generator"](latents).float())
        loss = log_loss(logits) + INFORMATION_WEIGHT * information_loss(latents, means)
        return loss + CONTRASTIVE_WEIGHT * self._contrastive_loss(pairs, learns=True) if self.is_contrastive else loss


def log_loss(logits: torch.Tensor) -> torch.Tensor:
    """-log(D + 1e-8)."""
    return -torch.log(torch.sigmoid(logits) + GUARD).mean()


def information_loss(latents: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """-log N(c; Q, 1), its constant left out."""
    return 0.5 * (latents[:, :CODES] - means).square().sum(1).mean()


def draw_pairs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents of two images that agree in one code and in the noise, without a gap; and the number of that code."""
    fixed = torch.randint(CODES, [BATCH])
    first, second = torch.rand(2, BATCH, CODES + NOISE) * 2.0 - 1.0
    second[:, CODES:] = first[:, CODES:]
    rows = torch.arange(BATCH)
    second[rows, fixed] = first[rows, fixed]
    return first, second, fixed


def step_runner(style: Style, bfloat16: bool, threads: int, contrastive: bool) -> Callable[[int], None]:
    """Builds the model for timing.

    Args:
        style: see `InfoGANCR`.
        bfloat16: run the networks under autocast.
        threads: threads of one operation.
        contrastive: whether G sees the contrastive loss yet.

    Returns:
        a function that runs so many training steps.
    """
    torch.set_num_threads(threads)
    model = InfoGANCR(style, bfloat16, blobs(4096), contrastive)
    return repeating(model.step)
