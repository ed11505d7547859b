"""What the PyTorch contestants share: pictures to train on, an update of weights, and the loop that is timed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def seeded(seed: int) -> torch.Generator:
    """A source of random numbers on PyTorch's default device, which may be a GPU."""
    return torch.Generator(torch.get_default_device()).manual_seed(seed)


def rectangles(
    count: int,
    size: int,
    corners: tuple[int, int],
    sides: tuple[int, int],
    brightness: int = 255,
    seed: int = 0,
) -> torch.Tensor:
    """Bright rectangles on black, uint8 `[count, 1, size, size]`: as much to compute as real data.

    Args:
        count: of images.
        size: height and width of the images.
        corners: range of the upper left corner's row and column, the second number left out.
        sides: range of height and width, likewise.
        brightness: of the rectangles.
        seed: decides on them.
    """
    generator = seeded(seed)
    corner = torch.randint(*corners, [count, 2, 1, 1], generator=generator)
    side = torch.randint(*sides, [count, 2, 1, 1], generator=generator)
    rows, columns = torch.arange(size).view(1, size, 1), torch.arange(size).view(1, 1, size)
    inside_rows = (rows >= corner[:, 0]) & (rows < corner[:, 0] + side[:, 0])
    inside_columns = (columns >= corner[:, 1]) & (columns < corner[:, 1] + side[:, 1])
    return (inside_rows & inside_columns).unsqueeze(1).to(torch.uint8) * brightness


def blobs(count: int, seed: int = 0) -> torch.Tensor:
    """Rectangles of the sizes of dSprites' shapes, uint8 `[count, 1, 64, 64]`."""
    return rectangles(count, 64, (0, 48), (6, 16), seed=seed)


def update(style: str, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], loss: torch.Tensor) -> None:
    """Updates weights by a loss: `lean` with the gradients of these parameters alone, else as one usually writes it."""
    if style == "lean":
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
    else:
        optimizer.zero_grad()
        loss.backward()
    optimizer.step()


def repeating(step: Callable[[], object]) -> Callable[[int], None]:
    """A function that takes so many steps."""

    def run(steps: int) -> None:
        for _ in range(steps):
            step()

    return run
