"""What torch does to whole uint8 batches on any device: random-resized crops and colour jitter."""

from __future__ import annotations

from typing import Any

import torch

from datastage.batches.augment import pixels_of
from datastage.decode import Fit


def resized(images: Any, box: Any, flip: Any, size: tuple[int, int]) -> Any:
    """Cut a box, as `pixels_of` reads it, from uint8 images (B, C, H, W); mirror it, resize it bilinearly to `size`."""
    top, left, tall, wide = (pixels.long()[:, None] for pixels in pixels_of(box, *images.shape[2:]))

    def along(start: Any, side: Any, n: int) -> tuple[Any, Any, Any]:
        at = (torch.arange(n, dtype=torch.float32, device=images.device) + 0.5)[None] * (side.float() / n) - 0.5
        at = torch.minimum(at.clamp(min=0), (side - 1).float())
        low = at.floor().long()
        high = torch.minimum(low + 1, side - 1)
        return low + start, high + start, at - low

    def between(source: Any, dim: int, low: Any, high: Any, share: Any) -> Any:
        shape = [-1, 1, 1, 1]
        shape[dim] = low.shape[1]
        whole = list(source.shape)
        whole[dim] = low.shape[1]
        first, second = (source.gather(dim, at.view(shape).expand(whole)).float() for at in (low, high))
        return torch.lerp(first, second, share.view(shape))

    rows = between(images, 2, *along(top, tall, size[0]))
    columns = along(left, wide, size[1])
    if flip is not None:
        columns = tuple(torch.where(flip[:, None], part.flip(1), part) for part in columns)  # type: ignore[assignment]
    return between(rows, 3, *columns).round().to(torch.uint8)


def jittered(images: Any, factors: Any) -> Any:
    """Change brightness, contrast, saturation and hue of uint8 images, in this order, each by its own `Draws.jitter`.

    As torchvision's ColorJitter with its order fixed, but that between the steps nothing is rounded.
    """
    brightness, contrast, saturation, *hue = factors[..., None, None, None].unbind(1)
    colours = (images.float() * brightness).clamp_(0, 255)
    mean = _grey(colours).mean((1, 2, 3), keepdim=True)
    colours = ((colours - mean) * contrast + mean).clamp_(0, 255)
    if images.shape[1] == 3:
        grey = _grey(colours)
        colours = ((colours - grey) * saturation + grey).clamp_(0, 255)
        if hue:
            colours = _turned(colours, hue[0])
    return colours.round_().to(torch.uint8)


def _turned(colours: Any, hue: Any) -> Any:
    """Turn hues by a share (B, 1, 1, 1) of their circle; value and saturation, as HSV has them, stay.

    A. R. Smith, "Color gamut transform pairs", SIGGRAPH 1978.
    """
    highest, lowest = colours.amax(1, keepdim=True), colours.amin(1, keepdim=True)
    span = highest - lowest
    red, green, blue = colours.split(1, 1)
    # Sixths of the circle from red. Where a colour is grey its hue is of no account.
    along = torch.where(
        highest == red,
        green - blue,
        torch.where(highest == green, blue - red + 2 * span, red - green + 4 * span),
    )
    at = along / span.clamp(min=1e-6) + 6 * hue
    # A channel is at the highest up to a sixth to either side of where it is strongest, and at the lowest from two on.
    strongest = 2 * torch.arange(3, device=colours.device).view(1, 3, 1, 1)  # made there: a copy would be waited for
    apart = ((at - strongest + 3) % 6 - 3).abs()
    return lowest + span * (2 - apart).clamp(0, 1)


def _grey(images: Any) -> Any:
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)  # ITU-R BT.601, as torchvision


def fitted(batch: Any, fit: Fit) -> Any:
    """Bring uint8 images (B, C, H, W) to one size, smoothed where they shrink."""
    (height, width), (h, w) = batch.shape[-2:], fit.shape
    if (height, width) == (h, w):
        return batch
    top, left, high, wide = fit.cut(height, width)
    part = batch[..., top : top + high, left : left + wide].float()
    into = fit.room(height, width)
    part = torch.nn.functional.interpolate(
        part, into, mode="bilinear", antialias=high > into[0] or wide > into[1], align_corners=False
    )
    down, across = h - into[0], w - into[1]
    part = torch.nn.functional.pad(part, (across // 2, across - across // 2, down // 2, down - down // 2))
    return part.round_().clamp_(0, 255).to(torch.uint8)
