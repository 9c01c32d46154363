"""A small ResNet that two CPU cores can train, for images from 16 pixels up."""

from __future__ import annotations

import torch
from torch import nn


def small_resnet(channels: int, classes: int, width: int = 16) -> nn.Module:
    """Return a ResNet of three stages; each halves the picture and doubles the width, which is that of the first."""
    return nn.Sequential(
        convolution(channels, width),
        Residual(width),
        convolution(width, 2 * width, stride=2),
        Residual(2 * width),
        convolution(2 * width, 4 * width, stride=2),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )


def convolution(before: int, after: int, stride: int = 1) -> nn.Module:
    """Return a 3 x 3 convolution with what usually follows it."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    """Two convolutions that learn what to add to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(convolution(width, width), convolution(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what was learned."""
        return x + self.inner(x)
